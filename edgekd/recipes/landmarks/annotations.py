"""What the readers of published data sets have in common: a face whose picture is read later, and its checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.pictures import Picture
from edgekd.recipes.landmarks.detector import Box
from edgekd.recipes.landmarks.metrics import EYE_PAIRS
from edgekd.recipes.landmarks.published import PublishedSet

PartName = Literal["train", "test"]
FARTHEST = 1e6  # px; what is beyond is no place in a picture


@dataclass(frozen=True)
class Annotation:
    """One annotated face.

    Attributes:
        origin: file, and line or column in it, for messages.
        photo: faces with the same name are of one photo, and never in two sets.
        points: (N, 2) float32, px of the picture; 0 is the left (top) edge of the first pixel.
        box: (4,) float32, px: the crop (KD-Loss, A8).
        read: gives the picture, upright as it was annotated.
        subsets: of the test set that it is in.
    """

    origin: str
    photo: str
    points: NDArray[np.float32]
    box: Box
    read: Callable[[], Picture]
    subsets: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Part:
    """The training or the test set: faces in a fixed order, and every file that its content is made of."""

    faces: Sequence[Annotation]
    files: Sequence[Path]


def missing(path: Path, own: PublishedSet, what: str = "is missing") -> InputError:
    """The error that names the file or folder that a set lacks, and shows what is expected."""
    layout = "; ".join(" ".join(line.split()) for line in own.layout.splitlines())
    return InputError(f"{path} {what}", f"{own.name} is expected as {layout}", f"--data {own.kind}:DIR")


def checked_points(values: NDArray, origin: str, fields: Sequence[str] | None = None) -> NDArray[np.float32]:
    """Points (N, 2) as float32, all of them numbers and the eyes apart.

    Args:
        fields: what each point is called in its file (``line 7``); by default ``point 0``, ...

    Raises:
        InputError: naming ``origin`` and the field.
    """
    wrong = np.flatnonzero(~(np.abs(values) < FARTHEST).all(axis=1))  # a NaN compares false
    if len(wrong):
        at, (x, y) = int(wrong[0]), values[wrong[0]]
        field = fields[at] if fields else f"point {at}"
        raise InputError(f"{origin}, {field}: {x:g} {y:g} is no place in a picture", "pixels are expected")
    for one, other in EYE_PAIRS[len(values)].values():
        if np.array_equal(values[one], values[other]):
            raise InputError(f"{origin}: points {one} and {other} coincide", "errors are measured by their distance")
    return values.astype(np.float32)


def bounds(points: NDArray) -> NDArray[np.float64]:
    """(4,) the smallest box with all points."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float64)


def grown(box: NDArray, x: float, y: float) -> Box:
    """``box``, larger by ``x`` to the left and right and by ``y`` above and below."""
    return (box + np.array([-x, -y, x, y])).astype(np.float32)
