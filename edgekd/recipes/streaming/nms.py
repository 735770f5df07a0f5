"""Non-maximum suppression, class by class, in numpy: short enough for every frame of a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def suppressed(boxes: NDArray[np.float32], kinds: NDArray, threshold: float) -> NDArray[np.int64]:
    """Numbers of the boxes that stay, in their order: none overlaps an earlier one of its class by more.

    Args:
        boxes: (n, 4) x0, y0, x1, y1, best first.
        kinds: (n,) classes.
        threshold: intersection over union above which the later box goes.
    """
    if not len(boxes):
        return np.empty(0, np.int64)
    # Classes are moved apart, so that one matrix of overlaps does for all.
    apart = boxes - boxes.min() + (kinds.astype(np.float32) * (boxes.max() - boxes.min() + 1.0))[:, None]
    x0, y0, x1, y1 = apart.T
    area = (x1 - x0) * (y1 - y0)
    across = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    down = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    inter = np.maximum(across, 0.0) * np.maximum(down, 0.0)
    clash = np.triu(inter > threshold * (area[:, None] + area - inter), 1)
    gone = np.zeros(len(boxes), bool)
    for k in np.flatnonzero(clash.any(axis=1)):
        if not gone[k]:
            gone |= clash[k]
    return np.flatnonzero(~gone)
