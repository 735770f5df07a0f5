"""The numeric distance that every gate and ``verify`` records."""

from __future__ import annotations

import numpy as np

from edgekd.bundle.manifest import Distance
from edgekd.contracts import Array


def distance(found: Array, reference: Array) -> Distance:
    """max|a-b| / max(1, max|b|); SQNR = 10 log10(sum b² / sum (a-b)²) in dB, None if equal; cosine.

    A NaN or infinity on either side, or another shape, gives an infinite ``relative_max``, so that no gate
    lets it pass. Integers and truth values also get the share that is equal.
    """
    equal = None
    if found.shape == reference.shape and not np.issubdtype(reference.dtype, np.floating):
        equal = float(np.mean(found == reference)) if reference.size else 1.0
    a, b = found.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    if found.shape != reference.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Distance(relative_max=float("inf"), sqnr_db=float("-inf"), cosine=0.0, equal=equal)
    error, signal = float(np.square(a - b).sum()), float(np.square(b).sum())
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return Distance(
        relative_max=float(np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(b).max(initial=0.0))),
        sqnr_db=None if error == 0 else float(10 * np.log10(signal / error)) if signal > 0 else float("-inf"),
        cosine=float(a @ b / norm) if norm > 0 else float(error == 0),
        equal=equal,
    )
