"""Where the faces are: dlib's frontal detector (extra ``demo``), and a rectangle's square crop."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.errors import MachineError
from edgekd.pictures import Picture

Box = NDArray[np.float32]  # (4,) x0, y0, x1, y1 in px; 0 is the left (top) edge of the first pixel

# Measured on 211 faces (a talking head, small snapshots, a portrait): in units of the rectangle's width,
# dlib's 68 points span about ±0.49 across and -0.42 to 0.61 down from its centre; 5 % of the faces reach ±0.6
# and 0.73. A square of 1.4 widths, lowered by 0.08, leaves a margin around all but the most turned faces.
CROP_SIDE = 1.4
CROP_DROP = 0.08
# The points' own bounding box is about 1.05 widths high and centred, so that crop is 1.33 of its longer side.
POINTS_SIDE = 1.33

THUMBNAIL = 64  # px; a picture this small is all face: give the detector some surroundings
SMALL, LARGE = 800, 1600  # px, longer side: below, the detector sees the picture doubled; above, scaled down
DETECTOR_SIDE = 400  # px that a padded thumbnail is enlarged to; dlib's smallest face is 80 px
# The detector's score above which further faces beside the best are believed; a patch on a sleeve scored 0.13.
SURE = 0.3


def detector_box(left: float, top: float, right: float, bottom: float) -> Box:
    """The square crop for a detector's rectangle, whose right and bottom pixels are included (dlib's way).

    Returns:
        (4,) float32, 1.4 times the rectangle's width; it may exceed the picture.
    """
    side = CROP_SIDE * (right - left + 1)
    x = (left + right + 1) / 2
    y = (top + bottom + 1) / 2 + CROP_DROP * (right - left + 1)
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)


def detector_rectangle(box: NDArray) -> tuple[int, int, int, int]:
    """The inverse of :func:`detector_box`, rounded to pixels: left, top, right, bottom."""
    width = float(box[2] - box[0]) / CROP_SIDE
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2 - CROP_DROP * width
    left, top = round(x - width / 2), round(y - width / 2)
    return left, top, left + round(width) - 1, top + round(width) - 1


def points_box(points: NDArray) -> Box:
    """The square crop for known points (N, 2), about where the detector's would be (A8: crop by points)."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, side = (low + high) / 2, POINTS_SIDE * float((high - low).max())
    return np.concatenate([middle - side / 2, middle + side / 2]).astype(np.float32)


def detector_installed() -> bool:
    """Whether dlib is here; does not import it."""
    return importlib.util.find_spec("dlib") is not None


@lru_cache(maxsize=1)
def _detector() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise MachineError("faces cannot be found here", f"dlib: {error}", 'pip install "edgekd[demo]"') from None
    return dlib.get_frontal_face_detector()


def find_faces(picture: Picture) -> list[Box]:
    """Crop boxes of the frontal faces in a picture (H, W, 3), largest first; empty where there is none.

    The detector's best find is always taken, others only where it is fairly sure of them.

    Pictures below 64 px are padded and enlarged, below 800 px doubled, above 1600 px scaled down for the
    search (there a face below about 5 % of the longer side is missed).

    Raises:
        MachineError: dlib is not installed.
    """
    detector = _detector()
    height, width = picture.shape[:2]
    longer, pad = max(height, width), 0
    if longer < THUMBNAIL:
        pad = longer // 2
        picture = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        factor = float(round(DETECTOR_SIDE / (longer + 2 * pad)))
    else:
        factor = 2.0 if longer < SMALL else min(1.0, LARGE / longer)
    if factor != 1.0:
        size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    found, scores, _ = detector.run(np.ascontiguousarray(picture), 0, 0.0)
    best = max(scores, default=0.0)
    boxes = [
        detector_box(r.left(), r.top(), r.right(), r.bottom()) / factor - pad
        for r, score in zip(found, scores, strict=True)
        if score >= min(best, SURE)
    ]
    return sorted((box.astype(np.float32) for box in boxes), key=lambda box: float(box[0] - box[2]))
