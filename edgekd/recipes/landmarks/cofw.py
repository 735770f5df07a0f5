"""COFW as its authors publish it: MATLAB 7.3 files, which are HDF5 (extra ``datasets``).

MATLAB stores arrays by columns, so every one of them is transposed: ``IsTr`` (1, n) are references to pictures
of (3, W, H) or (W, H), ``phisTr`` is (87, n): 29 x, 29 y, 29 times whether it is hidden; ``bboxesTr`` (4, n):
x, y, width, height. The test file's end in ``T``. The centre of MATLAB's first pixel is 1; here it is 0.5.

A file can send its reader to other files. Nothing is ever read but what lies in the file itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError, MachineError
from edgekd.pictures import Picture
from edgekd.recipes.landmarks.annotations import (
    FARTHEST,
    Annotation,
    Part,
    PartName,
    bounds,
    checked_points,
    grown,
    missing,
)
from edgekd.recipes.landmarks.published import SETS

SET = SETS["cofw"]
PAD = 0.05  # of the crop's sides, on each side (A8)
FIRST_PIXEL = 1.0  # centre of the first pixel in MATLAB
ROWS = 3 * SET.points
MOST_FACES, MOST_PIXELS = 1_000_000, 100_000_000  # a damaged file may claim any size


def read(folder: Path, part: PartName) -> Part:
    """The faces of one part, in the file's order; the crop is the file's box and the points' together (A8).

    Raises:
        InputError: the file is missing, no MATLAB 7.3 file, or lacks something.
        MachineError: h5py is not installed.
    """
    names = (f"COFW_{part}_color.mat", f"COFW_{part}.mat")
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise missing(folder / names[0], SET, f"is missing, and there is no {names[1]}")
    path, suffix = found[0], "Tr" if part == "train" else "T"
    with _opened(path) as file:
        cells = f"Is{suffix}"
        count = _dataset(file, cells, path).size
        if not 0 < count <= MOST_FACES:
            raise InputError(f"{path}: {cells} has {count} pictures")
        labels = _table(file, f"phis{suffix}", ROWS, count, path)
        boxes = _table(file, f"bboxes{suffix}", 4, count, path)
    faces = []
    for k in range(count):
        origin = f"{path}, face {k}"
        points = checked_points(labels[: 2 * SET.points, k].reshape(2, -1).T + (0.5 - FIRST_PIXEL), origin)
        x, y, width, height = boxes[:, k]
        if not ((np.abs(boxes[:, k]) < FARTHEST).all() and width > 0 and height > 0):
            raise InputError(f"{origin}: its box is {boxes[:, k].tolist()}", "x, y, width and height are expected")
        left, top = x + 0.5 - FIRST_PIXEL, y + 0.5 - FIRST_PIXEL
        whole = bounds(np.concatenate([points, [[left, top], [left + width, top + height]]]))
        box = grown(whole, PAD * (whole[2] - whole[0]), PAD * (whole[3] - whole[1]))
        faces.append(Annotation(origin, f"{part} {k}", points, box, partial(_picture, path, cells, k)))
    return Part(faces, [path])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, whose damages become one message."""
    try:
        import h5py
    except ImportError as error:
        raise MachineError(f"{path} cannot be read here", str(error), 'pip install "edgekd[datasets]"') from None
    with path.open("rb") as start:
        head = start.read(116)
    if not h5py.is_hdf5(path):
        old = head.startswith(b"MATLAB 5.0")
        why = "it is a MATLAB 5 file" if old else "it is no HDF5 file"
        raise InputError(f"{path} is no MATLAB 7.3 file", why, "save it in MATLAB with -v7.3" if old else "")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # what h5py makes of damaged files
        raise InputError(f"{path} is damaged", str(error), "is the file complete?") from None


def _dataset(file: Any, name: str, path: Path) -> Any:
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise InputError(f"{path} has no {name}", f"it has {', '.join(sorted(file)) or 'nothing'}")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{path}: {name} is a link", "only what lies in the file itself is read")
    return _inside(file[name], f"{path}: {name}")


def _inside(found: Any, where: str) -> Any:
    """``found``, if it is an array whose values lie in the file."""
    import h5py

    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{where} is no array", f"it is a {type(found).__name__}")
    if found.external or found.is_virtual:
        raise InputError(f"{where} lies in another file", "only what lies in the file itself is read")
    return found


def _table(file: Any, name: str, rows: int, columns: int, path: Path) -> NDArray[np.float64]:
    found = _dataset(file, name, path)
    if found.shape != (rows, columns) or found.dtype.kind not in "fiu":
        said = f"it must hold numbers, {rows} rows for each of {columns} pictures (MATLAB's {columns}x{rows})"
        raise InputError(f"{path}: {name} is {found.dtype} {found.shape}", said)
    return np.asarray(found[()], np.float64)


def _picture(path: Path, cells: str, k: int) -> Picture:
    """Picture ``k`` as (H, W, 3); grey ones get three equal channels."""
    import h5py

    where = f"{path}: {cells}, face {k}"
    with _opened(path) as file:
        references = _dataset(file, cells, path)
        if h5py.check_ref_dtype(references.dtype) is not h5py.Reference:
            raise InputError(f"{path}: {cells} is {references.dtype}", "it must be a cell array of pictures")
        reference = references[()].reshape(-1)[k]
        if not reference:
            raise InputError(f"{where} is empty", "a picture is expected")
        found = _inside(file[reference], where)
        grey = found.ndim == 2
        if found.dtype != np.uint8 or not (grey or (found.ndim == 3 and found.shape[0] == 3)):
            raise InputError(f"{where} is {found.dtype} {found.shape}", "it must be uint8, (3, W, H) or (W, H)")
        if not 0 < found.size <= MOST_PIXELS:
            raise InputError(f"{where} has {found.size} values", f"at most {MOST_PIXELS} are read")
        values = found[()]
    return np.repeat(values.T[:, :, None], 3, axis=2) if grey else np.ascontiguousarray(values.transpose(2, 1, 0))
