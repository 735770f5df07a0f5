"""Labelled faces on disk: made once, whole or absent, read back without filling the memory.

A store is a folder ``KIND-HASH`` below the cache: ``images.u8`` (raw bytes, mapped when read, so that a large
set needs no memory of its own), ``points.npy``, ``boxes.npy``, ``pictures.npy`` and ``meta.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import EdgekdError, InputError
from edgekd.recipes.cache import cached_folder
from edgekd.storage import read_array, read_json


@dataclass(frozen=True)
class Faces:
    """M labelled faces of one source.

    Attributes:
        images: (M, S, S, 3) uint8 RGB.
        points: (M, N, 2) float32, px of the image.
        boxes: (M, 4) float32, px of the image: the crop that the pipeline would take.
        pictures: (M,) int64, ascending: number of the source's picture that the face is from.
        meta: what the writer noted (counts); plain JSON values.
    """

    images: NDArray[np.uint8]
    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    pictures: NDArray[np.int64]
    meta: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.points)


class Rows:
    """Chosen rows of a mapped array, which is never copied as a whole; as much of an array as a set needs.

    Args:
        array: (M, ...).
        rows: (m,) row numbers.
    """

    def __init__(self, array: NDArray, rows: NDArray[np.int64]) -> None:
        self._array, self._rows = array, rows
        self.shape, self.ndim, self.dtype = (len(rows), *array.shape[1:]), array.ndim, array.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: int | slice) -> NDArray:
        """One row, or a copy of some."""
        return self._array[self._rows[which]]


class FacesWriter:
    """Takes faces a few at a time; images go straight to the file."""

    def __init__(self, images: BinaryIO) -> None:
        self._images = images
        self._parts: dict[str, list[NDArray]] = {"points": [], "boxes": [], "pictures": []}
        self._shape: tuple[int, ...] = ()
        self.meta: dict[str, Any] = {}

    def add(self, images: NDArray, points: NDArray, boxes: NDArray, pictures: NDArray) -> None:
        """Appends n faces: images (n, S, S, 3), points (n, N, 2), boxes (n, 4), pictures (n,)."""
        if self._shape and images.shape[1:] != self._shape:
            raise ValueError(f"images of {images.shape[1:]} after images of {self._shape}")
        self._shape = images.shape[1:]
        self._images.write(np.ascontiguousarray(images, np.uint8).data)
        self._parts["points"].append(np.asarray(points, np.float32))
        self._parts["boxes"].append(np.asarray(boxes, np.float32))
        self._parts["pictures"].append(np.asarray(pictures, np.int64))

    def close(self, folder: Path) -> None:
        """Writes what is not images. A store without any face is a store too."""
        for name, parts in self._parts.items():
            np.save(folder / f"{name}.npy", np.concatenate(parts) if parts else np.empty((0,), np.float32))
        text = json.dumps({"shape": self._shape, "meta": self.meta}, indent=1)
        (folder / "meta.json").write_text(text, encoding="utf-8")


def stored_faces(cache: Path, kind: str, key: Mapping[str, Any], write: Callable[[FacesWriter], None]) -> Faces:
    """The store of ``kind`` for ``key``, written first if it is not there.

    Args:
        cache: folder of stores; made if missing.
        key: JSON values that decide the content; the folder's name is their hash.
        write: adds the faces.

    Raises:
        MachineError: the cache cannot be written (disk full, no permission).
        InputError: the store was changed.
    """

    def fill(folder: Path) -> None:
        with open(folder / "images.u8", "wb") as file:
            writer = FacesWriter(file)
            write(writer)
        writer.close(folder)

    return _open(cached_folder(cache, kind, key, fill))


def _open(folder: Path) -> Faces:
    try:
        about = read_json(folder / "meta.json")
        points, boxes, pictures = (read_array(folder / f"{name}.npy") for name in ("points", "boxes", "pictures"))
        if not len(points) == len(boxes) == len(pictures) or not isinstance(about["meta"], dict):
            raise ValueError("its parts do not hold the same faces")
        shape = (len(points), *about["shape"])
        images: NDArray[np.uint8]
        if len(points):
            if (folder / "images.u8").stat().st_size != math.prod(shape):
                raise ValueError("images.u8 has another size than its labels say")
            images = np.memmap(folder / "images.u8", np.uint8, mode="r", shape=shape)
        else:
            images = np.empty((0, 0, 0, 3), np.uint8)
        return Faces(images, points, boxes, pictures.astype(np.int64), about["meta"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, EdgekdError) as error:
        raise InputError(f"the face cache {folder} was changed", str(error), f"delete {folder}") from error
