"""What an app's command line takes, as raw items of its pipeline. An app has those of these functions that it needs.

``given`` is NAME -> text of the command line; ``readers`` turn a text into an array.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.pictures import PICTURE_SUFFIXES, Picture, existing, parse_box, read_cutout, read_picture

Readers = Mapping[str, Callable[[str], Any]]
NOT_FEATURES = ("id", "label")  # columns of a table that are none


def picture_at(path: str) -> Picture:
    """(H, W, 3) uint8 RGB."""
    return read_picture(Path(path))


def mask_at(path: str) -> NDArray[np.uint8]:
    """(H, W) uint8: a picture's transparency where it has some, else its brightness."""
    picture, alpha = read_cutout(Path(path))
    return alpha if alpha is not None and alpha.min() < 255 else np.asarray(picture.max(2))


def box_of(text: str) -> NDArray[np.float32]:
    """(4,) of ``x0,y0,x1,y1``."""
    return parse_box(text)


def rows_at(path: str, columns: tuple[str, ...] = ()) -> NDArray[np.float32]:
    """(rows, features) of a CSV; with a header, columns are found by name where the model knows names."""
    with existing(Path(path)).open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        raise InputError(f"{path} is empty", "a table has a line per row")
    header = [] if all(_is_number(cell) for cell in lines[0]) else [cell.strip() for cell in lines[0]]
    rows = lines[1:] if header else lines
    if columns and header:
        if missing := [name for name in columns if name not in header]:
            raise InputError(f"{path} has no column {missing[0]!r}", "the model learnt it", "give it, in any order")
        places = [header.index(name) for name in columns]
    else:
        places = [k for k in range(len(lines[0])) if not header or header[k] not in NOT_FEATURES]
    try:
        return np.array([[float(row[k]) for k in places] for row in rows], np.float32)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} is no table of numbers", str(error), "a line per row, a number per cell") from None


def single_item(given: Mapping[str, str], readers: Readers, cutouts: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """One item; a mask that is not given is the transparency of its picture (``cutouts``: mask -> picture)."""
    raw = {name: readers[name](text) for name, text in given.items()}
    for mask, picture in cutouts.items():
        if mask not in raw:
            alpha = read_cutout(Path(given[picture]))[1]
            if alpha is None or alpha.min() > 127:
                raise InputError(f"{given[picture]} has no mask", "nothing of it is transparent", f"{mask}=MASK.png")
            raw[mask] = alpha
    yield Path(next(iter(given.values()))).name, raw


def frame_items(given: Mapping[str, str], readers: Readers) -> Iterator[tuple[str, Any]]:
    """A picture, or a folder's pictures by name: frames of one sequence."""
    ((name, text),) = given.items()
    place = existing(Path(text))
    files = sorted(p for p in place.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES) if place.is_dir() else [place]
    if not files:
        raise InputError(f"no picture in {place}", "its frames are pictures", "give a folder of JPEG or PNG files")
    for number, file in enumerate(files):
        yield file.name, {name: readers[name](str(file)), "sequence": np.int64(0), "frame": np.int64(number)}


def row_items(given: Mapping[str, str], readers: Readers) -> Iterator[tuple[str, Any]]:
    """An item for each row of a table."""
    ((name, text),) = given.items()
    for number, row in enumerate(readers[name](text)):
        yield f"row {number}", {name: row}


def array_items(given: Mapping[str, str], readers: Readers) -> Iterator[tuple[str, Any]]:
    """One item of ``.npy`` files."""
    yield Path(next(iter(given.values()))).name, {name: readers[name](text) for name, text in given.items()}


def array_at(path: str) -> NDArray[Any]:
    """A ``.npy`` file's array; never a pickled object."""
    return np.asarray(np.load(existing(Path(path)), allow_pickle=False))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
