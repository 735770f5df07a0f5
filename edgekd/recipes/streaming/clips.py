"""Sequences of frames with boxes: what drawn streets and sets on disk have in common, and the drawn ones' cache.

A drawn sequence is a folder ``street-HASH`` of the cache: ``frames.u8`` (raw bytes, mapped when read), ``boxes.npy``,
``counts.npy`` and ``meta.json``. Each sequence is a folder of its own, so that drawing goes on where it was stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import EdgekdError, InputError
from edgekd.recipes.cache import cached_folder
from edgekd.recipes.streaming.street import VERSION, Boxes, Picture, drive
from edgekd.storage import read_array, read_json

Progress = Callable[[str, float], None]


class Frames(Protocol):
    """Pictures of one size, (H, W, 3) uint8 RGB, by number."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""

    def __getitem__(self, index: int) -> Picture: ...

    def content(self, index: int) -> bytes:
        """What a frame is known by, in a set's fingerprint."""


class MappedFrames:
    """Frames in one array, which may be a memory map."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array
        self.size = (int(array.shape[2]), int(array.shape[1]))

    def __getitem__(self, index: int) -> Picture:
        return np.array(self.array[index])

    def content(self, index: int) -> bytes:
        return self.array[index].tobytes()


@dataclass(frozen=True)
class Clip:
    """Frames of one sequence, in order.

    Attributes:
        number: of the sequence within its set.
        ids: (n,) the camera's frame numbers, ascending; a step of more than one is a gap.
        boxes: per frame (m, 5) float32: class, x0, y0, x1, y1 in px of the frame.
        fps: frames per second.
    """

    number: int
    frames: Frames
    ids: NDArray[np.int64]
    boxes: Sequence[Boxes]
    fps: float

    def __len__(self) -> int:
        return len(self.ids)


def drawn_clip(seed: int, number: int, frames: int, size: tuple[int, int], cache: Path, progress: Progress) -> Clip:
    """Sequence ``number`` of the procedural street, (width, height), drawn now or before.

    Raises:
        InputError: the cache was changed.
        MachineError: it cannot be written.
    """
    key = {"version": VERSION, "seed": seed, "number": number, "frames": frames, "size": list(size)}

    def write(folder: Path) -> None:
        boxes = []
        with open(folder / "frames.u8", "wb") as file:
            for k, (picture, own) in enumerate(drive(seed, number, frames, size)):
                file.write(picture.data)
                boxes.append(own)
                progress(f"drawing street {number}", (k + 1) / frames)
        np.save(folder / "boxes.npy", np.concatenate(boxes))
        np.save(folder / "counts.npy", np.array([len(own) for own in boxes], np.int64))
        (folder / "meta.json").write_text(json.dumps(key), encoding="utf-8")

    folder = cached_folder(cache, "street", key, write)
    try:
        if read_json(folder / "meta.json") != key:
            raise ValueError("it is of another street")
        boxes, counts = read_array(folder / "boxes.npy"), read_array(folder / "counts.npy")
        shape = (frames, size[1], size[0], 3)
        if (folder / "frames.u8").stat().st_size != math.prod(shape) or counts.sum() != len(boxes):
            raise ValueError("its parts do not hold the same frames")
        pictures = np.memmap(folder / "frames.u8", np.uint8, mode="r", shape=shape)
        each = np.split(boxes.astype(np.float32), np.cumsum(counts)[:-1])
    except (OSError, ValueError, EdgekdError) as error:
        raise InputError(f"the street cache {folder} was changed", str(error), f"delete {folder}") from error
    return Clip(number, MappedFrames(pictures), np.arange(frames), each, 30.0)
