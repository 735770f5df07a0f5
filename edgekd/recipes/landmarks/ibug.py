"""300W as iBUG publishes it: a ``.pts`` file beside each picture.

``.pts`` are written by MATLAB tools, where the centre of the first pixel is 1. Here it is 0.5, so half a pixel
is taken away. The test set is ``helen/testset`` and ``lfpw/testset`` (common) with ``ibug`` (challenging).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.pictures import PICTURE_SUFFIXES, read_picture
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

SET = SETS["300w"]
MARGIN = 5.0  # px around the points (A8)
FIRST_PIXEL = 1.0  # centre of the first pixel in a .pts file
MIRRORED = "_mirror"  # copies that some downloads carry; mirroring is augmentation's
LARGEST = 1 << 20  # bytes; a real one has about 2000
FOLDERS: Mapping[PartName, Mapping[str, frozenset[str]]] = {
    "train": dict.fromkeys(("afw", "helen/trainset", "lfpw/trainset"), frozenset()),
    "test": {
        "helen/testset": frozenset({"common"}),
        "lfpw/testset": frozenset({"common"}),
        "ibug": frozenset({"challenging"}),
    },
}


def read(folder: Path, part: PartName) -> Part:
    """The faces of one part, ordered by folder and name.

    Raises:
        InputError: a folder or a picture is missing, or a ``.pts`` file is none of 68 points.
    """
    faces: list[Annotation] = []
    files: list[Path] = []
    for name, subsets in FOLDERS[part].items():
        own = folder / name
        if not own.is_dir():
            raise missing(own, SET)
        listed = sorted(path for path in own.iterdir() if not path.name.startswith("."))
        pictures = {path.stem: path for path in reversed(listed) if path.suffix.lower() in PICTURE_SUFFIXES}
        labels = [path for path in listed if path.suffix.lower() == ".pts" and not path.stem.endswith(MIRRORED)]
        if not labels:
            raise missing(own, SET, "holds no .pts file")
        for label in labels:
            if label.stem not in pictures:
                raise missing(label.with_suffix(".jpg"), SET, f"(or .png) is missing, the picture of {label.name}")
            points = read_pts(label)
            faces.append(
                Annotation(
                    origin=str(label),
                    photo=f"{name}/{_photo(label.stem)}",
                    points=points,
                    box=grown(bounds(points), MARGIN, MARGIN),
                    read=partial(read_picture, pictures[label.stem], as_stored=True),
                    subsets=subsets,
                )
            )
            files += [label, pictures[label.stem]]
    return Part(faces, files)


def _photo(stem: str) -> str:
    """Several faces of one photo have copies of it, numbered from 1: ``134212_1``, ``134212_2``."""
    return re.sub(r"_\d{1,2}$", "", stem)


def read_pts(path: Path) -> NDArray[np.float32]:
    """The (68, 2) points of a ``.pts`` file, in pixels from the picture's left and top edge.

    Raises:
        InputError: naming the file and the line.
    """
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path} is no .pts file", f"it is larger than {LARGEST} bytes")
    try:
        text = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise InputError(f"{path} is no .pts file", "it is no text") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    heads = [line.replace(" ", "").lower() for _, line in lines[:3]]
    if len(heads) < 3 or not heads[0].startswith("version:") or not heads[1].startswith("n_points:") or heads[2] != "{":
        raise InputError(f"{path} is no .pts file", "it must begin with version: 1, n_points: 68 and {")
    if lines[-1][1] != "}":
        raise InputError(f"{path}, line {lines[-1][0]}: the closing }} is missing", "is the file complete?")
    body = lines[3:-1]
    count = heads[1].partition(":")[2]
    if count != str(SET.points) or len(body) != SET.points:
        said = f"it says n_points: {count} and has {len(body)}"
        raise InputError(f"{path} has another number of points than {SET.points}", said)
    values = np.empty((SET.points, 2))
    for k, (number, line) in enumerate(body):
        try:
            x, y = map(float, line.split())
        except ValueError:
            raise InputError(f"{path}, line {number}: {line[:40]!r} are not two numbers", "x and y are") from None
        values[k] = x, y
    return checked_points(values + (0.5 - FIRST_PIXEL), str(path), [f"line {number}" for number, _ in body])
