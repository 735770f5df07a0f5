"""Non-maximum suppression, class by class, in numpy: short enough for every frame of a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # boxes that are compared at once: mostly as many as are wanted stay of the first block or two


def suppressed(boxes: NDArray[np.float32], kinds: NDArray, threshold: float, most: int) -> NDArray[np.int64]:
    """Numbers of the first ``most`` boxes that stay, in order: none overlaps one before it of its class by more.

    Args:
        boxes: (n, 4) x0, y0, x1, y1, best first.
        kinds: (n,) classes.
        threshold: intersection over union above which the later box goes.
    """
    stay = np.empty(0, np.int64)
    for start in range(0, len(boxes), BLOCK):
        own = np.arange(start, min(start + BLOCK, len(boxes)))
        if len(stay):
            own = own[~_clashes(boxes, kinds, stay, own, threshold).any(axis=0)]
        clash = np.triu(_clashes(boxes, kinds, own, own, threshold), 1)
        gone = np.zeros(len(own), bool)
        for k in np.flatnonzero(clash.any(axis=1)):
            if not gone[k]:
                gone |= clash[k]
        stay = np.concatenate([stay, own[~gone]])
        if len(stay) >= most:
            break
    return stay[:most]


def _clashes(boxes: NDArray, kinds: NDArray, some: NDArray, others: NDArray, threshold: float) -> NDArray[np.bool_]:
    """(len(some), len(others)): same class, and overlapping by more than the threshold."""
    a, b = boxes[some].T[:, :, None], boxes[others].T[:, None]
    across = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    down = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    inter = np.maximum(across, 0.0) * np.maximum(down, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return (inter > threshold * union) & (kinds[some][:, None] == kinds[others])
