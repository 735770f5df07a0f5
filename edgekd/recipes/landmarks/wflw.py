"""WFLW as its authors publish it: one list file per part, and pictures below ``WFLW_images``.

A line has 207 columns: 98 times x and y, the four sides of a box, six attributes (0 or 1) and the picture's
name. The lists do not say where their pixels begin. They are taken as OpenCV counts, the centre of the first
pixel at 0, which is 0.5 here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from edgekd.errors import InputError
from edgekd.pictures import read_picture
from edgekd.recipes.landmarks.annotations import (
    Annotation,
    Part,
    PartName,
    bounds,
    checked_points,
    grown,
    missing,
)
from edgekd.recipes.landmarks.published import SETS

SET = SETS["wflw"]
MARGIN = 3.0  # px around the points (A8)
FIRST_PIXEL = 0.0  # centre of the first pixel in a list
ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")  # in the columns' order
PLACES = ("WFLW_annotations/list_98pt_rect_attr_train_test", "list_98pt_rect_attr_train_test", ".")
COORDINATES = 2 * SET.points
COLUMNS = COORDINATES + 4 + len(ATTRIBUTES) + 1


def read(folder: Path, part: PartName) -> Part:
    """The faces of one part, in the list's order. The box of the list is not used: crops follow the points.

    Raises:
        InputError: the list or a picture is missing, or a line cannot be read.
    """
    name = f"list_98pt_rect_attr_{part}.txt"
    found = [folder / place / name for place in PLACES if (folder / place / name).is_file()]
    if not found:
        raise missing(folder / PLACES[0] / name, SET)
    images = folder / "WFLW_images"
    if not images.is_dir():
        raise missing(images, SET)
    faces: list[Annotation] = []
    pictures: dict[Path, None] = {}
    try:
        with found[0].open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    own, picture = _face(line.split(), f"{found[0]}, line {number}", images)
                    faces.append(own)
                    pictures[picture] = None
    except UnicodeDecodeError:
        raise InputError(f"{found[0]} is no list of faces", "it is no text") from None
    if not faces:
        raise InputError(f"{found[0]} is empty", "it has a line for each face")
    return Part(faces, [found[0], *pictures])


def _face(columns: list[str], origin: str, images: Path) -> tuple[Annotation, Path]:
    if len(columns) != COLUMNS:
        expected = f"each line has {COLUMNS}: {COORDINATES} coordinates, 4 of a box, 6 attributes, the picture's name"
        raise InputError(f"{origin}: {len(columns)} columns", expected)
    try:
        values = np.array([float(v) for v in columns[:COORDINATES]])
    except ValueError as error:
        raise InputError(f"{origin}: a coordinate is no number", str(error)) from None
    points = checked_points(values.reshape(-1, 2) + (0.5 - FIRST_PIXEL), origin)
    flags = columns[COORDINATES + 4 : -1]
    if set(flags) - {"0", "1"}:
        raise InputError(f"{origin}: the attributes are {' '.join(flags)}", "each of the six is 0 or 1")
    relative = PurePosixPath(columns[-1])
    if relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"{origin}: {relative} is outside of {images}", "a picture's name is relative to it")
    picture = images / relative
    if not picture.is_file():
        raise missing(picture, SET, f"is missing, the picture of {origin}")
    return (
        Annotation(
            origin=origin,
            photo=str(relative),
            points=points,
            box=grown(bounds(points), MARGIN, MARGIN),
            read=partial(read_picture, picture, as_stored=True),
            subsets=frozenset(name for name, flag in zip(ATTRIBUTES, flags, strict=True) if flag == "1"),
        ),
        picture,
    )
