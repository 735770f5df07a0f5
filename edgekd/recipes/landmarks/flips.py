"""Which point a point becomes when the face is mirrored left to right.

A flip is an int64 permutation ``p`` of shape (N,): the mirrored face's point ``i`` is the mirror image of the
original's point ``p[i]``. Each is an involution. Written from the point layouts; the tables in the authors'
repositories have errors (KD-Loss, A12).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def _swapping(count: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    flip = np.arange(count, dtype=np.int64)
    for one, other in pairs:
        flip[one], flip[other] = other, one
    return flip


def _facing(first: int, last: int) -> list[tuple[int, int]]:
    """Pairs of a run of points laid out symmetrically: its ends face each other, and so on inwards."""
    return [(first + k, last - k) for k in range((last - first + 1) // 2)]


# COFW, 29 points: brows (outer 0 1, inner 2 3, upper middle 4 6, lower middle 5 7), eyes (outer 8 9, inner 10
# 11, top 12 14, bottom 13 15), pupils 16 17, nostrils 18 19, nose tip and base 20 21, mouth corners 22 23,
# lips and chin.
FLIP_29 = _swapping(
    29, [(0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)]
)

# WFLW, 98 points. A brow's upper edge runs left to right in the picture and its lower edge back, so the upper
# edges face each other (33..37 with 46..42) and so do the lower ones (38..41 with 50..47).
FLIP_98 = _swapping(
    98,
    [
        *_facing(0, 32),  # jaw
        *((33 + k, 46 - k) for k in range(5)),
        *((38 + k, 50 - k) for k in range(4)),
        *_facing(55, 59),  # base of the nose
        *((60 + k, 72 - k) for k in range(5)),  # eyes: upper lids with both corners
        *((65 + k, 75 - k) for k in range(3)),  # lower lids
        *_facing(76, 82),  # outer lips: upper edge with both corners, then lower edge
        *_facing(83, 87),
        *_facing(88, 92),  # inner lips
        *_facing(93, 95),
        (96, 97),  # pupils
    ],
)


def flip_permutation(points: int) -> NDArray[np.int64]:
    """The flip of the layout with this many points: 68 (iBUG), 98 (WFLW) or 29 (COFW).

    Raises:
        ValueError: no layout with that many points is known.
    """
    if points == 29:
        return FLIP_29
    if points == 98:
        return FLIP_98
    if points == 68:
        from edgekd.recipes.landmarks.faces import FLIP_68

        return np.asarray(FLIP_68, dtype=np.int64)
    raise ValueError(f"no layout with {points} points is known; there are 68, 98 and 29")
