"""The recipe's data: drawn streets, or a set in Argoverse-HD's form."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.recipes.contract import Batch, Datasets, Key, Sample
from edgekd.recipes.streaming.classes import PADDING
from edgekd.recipes.streaming.clips import Clip, drawn_clip
from edgekd.recipes.streaming.coco import KINDS, LICENCES, called, read_coco
from edgekd.recipes.streaming.pipeline import GREY, fit, letterbox
from edgekd.recipes.streaming.street import Boxes, Picture

Progress = Callable[[str, float], None]

# Far apart, so that a set's streets do not depend on the other sets' sizes, and no set meets another.
FIRST_DRAWN = {"test": 0, "val": 1_000_000, "train": 2_000_000}


class StreamSet:
    """Frames with the ones before and after; ``contract.SampleSet`` of the streaming recipe.

    Samples are in order, clip by clip. A run of frames without a gap ends where the next frame is missing: its last
    frame is its own next one in training (A5), and no sample of a set that is judged, for nobody knows what comes.

    Args:
        clips: sequences in order.
        size: (width, height) of the network's input.
        past: frames before the one of a sample that ``batch`` gives.
        flip: share of batches' samples that are mirrored.
        seed: of the mirroring.
        judged: leave out frames without a next one.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        size: tuple[int, int],
        *,
        past: int = 3,
        flip: float = 0.0,
        seed: int = 0,
        judged: bool = True,
    ) -> None:
        self.clips, self.size, self.past, self.flip, self.seed = clips, size, past, flip, seed
        places = []
        for number, clip in enumerate(clips):
            follows = np.append(np.diff(clip.ids) == 1, False)
            starts = np.maximum.accumulate(np.where(np.append(True, ~follows[:-1]), np.arange(len(clip)), 0))
            for k in range(len(clip)):
                if follows[k] or not judged:
                    places.append((number, k, int(starts[k]), k + int(follows[k])))
        self._places = places  # clip, frame, first frame of its run, next frame
        self._most = max((len(own) for clip in clips for own in clip.boxes), default=1) or 1
        self._widest = tuple(max((clip.frames.size[axis] for clip in clips), default=size[axis]) for axis in (0, 1))

    def __len__(self) -> int:
        return len(self._places)

    def batch(self, keys: Sequence[Key]) -> Batch:
        """``frames`` (B, past+1, 3, H, W) float32 BGR 0..255, newest first, the oldest there is repeated;
        ``next_frame`` (B, 3, H, W); ``boxes`` of that one and ``support`` of the sample's own frame, (B, M, 5)
        class, centre x, y, width, height in px of the input, rows of class -1 hold none."""
        frames = np.empty((len(keys), self.past + 2, 3, self.size[1], self.size[0]), np.float32)
        boxes = np.zeros((2, len(keys), self._most, 5), np.float32)
        boxes[..., 0] = PADDING
        for row, (epoch, index) in enumerate(keys):
            number, k, first, after = self._places[index]
            clip = self.clips[number]
            mirrored = np.random.default_rng([self.seed, epoch, index]).random() < self.flip
            seen: dict[int, NDArray] = {}
            for slot, at in enumerate((after, k, *(max(first, k - back) for back in range(1, self.past + 1)))):
                if at not in seen:
                    seen[at] = self._pixels(clip.frames[at], mirrored)
                frames[row, slot] = seen[at]
            for which, at in enumerate((after, k)):
                own = self._targets(clip, at, mirrored)
                boxes[which, row, : len(own)] = own
        pictures = torch.from_numpy(frames)
        return {
            "frames": pictures[:, 1:],
            "next_frame": pictures[:, 0],
            "boxes": torch.from_numpy(boxes[0]),
            "support": torch.from_numpy(boxes[1]),
        }

    def sample(self, index: int) -> Sample:
        """The frame as the pipeline takes it; true boxes of the next frame and of this one, in px of it.

        Frames of sets whose clips differ in size are padded at the right and bottom, which moves no box.
        """
        number, k, _, after = self._places[index]
        clip = self.clips[number]
        picture = clip.frames[k]
        if (picture.shape[1], picture.shape[0]) != self._widest:
            padded = np.full((self._widest[1], self._widest[0], 3), GREY, np.uint8)
            padded[: picture.shape[0], : picture.shape[1]] = picture
            picture = padded
        where = {"sequence": np.asarray(clip.number, np.int64), "frame": np.asarray(clip.ids[k], np.int64)}
        truth = {"boxes": self._padded(clip.boxes[after]), "current": self._padded(clip.boxes[k])}
        return Sample({"image": picture, **where}, {**truth, **where, "fps": np.asarray(clip.fps, np.float64)})

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over frames and boxes; of frames that are files, over their names and lengths."""
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(f"{clip.number}{clip.frames.size}{clip.fps}".encode())
            digest.update(np.ascontiguousarray(clip.ids).data)
            for k, own in enumerate(clip.boxes):
                digest.update(clip.frames.content(k))
                digest.update(np.ascontiguousarray(own, np.float32).data)
        return digest.hexdigest()

    def _pixels(self, picture: Picture, mirrored: bool) -> NDArray:
        """(3, H, W) uint8 BGR of the network's size."""
        if mirrored:
            picture = np.ascontiguousarray(picture[:, ::-1])
        return letterbox(picture, self.size)[:, :, ::-1].transpose(2, 0, 1)

    def _targets(self, clip: Clip, k: int, mirrored: bool) -> NDArray[np.float32]:
        kind, x0, y0, x1, y1 = np.asarray(clip.boxes[k], np.float32).T
        if mirrored:
            x0, x1 = clip.frames.size[0] - x1, clip.frames.size[0] - x0
        ratio, _ = fit(clip.frames.size, self.size)
        return np.stack(
            [kind, ratio * (x0 + x1) / 2, ratio * (y0 + y1) / 2, ratio * (x1 - x0), ratio * (y1 - y0)], axis=1
        )

    def _padded(self, boxes: Boxes) -> Boxes:
        rows = np.zeros((self._most, 5), np.float32)
        rows[:, 0] = PADDING
        rows[: len(boxes)] = boxes
        return rows


def datasets(config: Any, cache: Path, progress: Progress) -> Datasets:
    """Train, val and test of the configured source.

    Args:
        config: the recipe's ``Config``.
        cache: folder for drawn streets; made if missing.
        progress: (what is being done, share done 0..1).

    Raises:
        InputError: an unknown source, or a set that cannot be used.
        MachineError: the cache cannot be written.
    """
    if config.data.source == ("street",):
        return _street(config, cache, progress)
    kind, _, place = config.data.source[0].partition(":") if len(config.data.source) == 1 else ("", "", "")
    if kind in KINDS and place:
        return _on_disk(config, kind, Path(place))
    raise InputError(
        f"unknown data source {', '.join(config.data.source) or '(none)'}",
        "one source is taken: street, argoverse:DIR or coco:DIR",
        "--data street",
    )


def _on_disk(config: Any, kind: str, folder: Path) -> Datasets:
    """Training half, the last of it for validation; the validation half is the test set, as everybody's is."""
    fitted, judged = (read_coco(folder, split, config.data.fps) for split in ("train", "val"))
    if shared := fitted.paths & judged.paths:
        raise InputError(f"{folder}: train and val share {len(shared)} frames", f"{min(shared)} is one of them")
    count = min(config.data.val, len(fitted.clips) - 1)
    if count < 1:
        raise InputError(f"{folder}: too few sequences", "the training half has one; validation needs another one")
    parts = {"train": fitted.clips[:-count], "val": fitted.clips[-count:], "test": judged.clips}
    sets = {name: _set(config, name, clips) for name, clips in parts.items()}
    empty = [name for name, own in sets.items() if not len(own)]
    if empty:
        raise InputError(f"{folder}: no frame is left for {empty[0]}", "each needs a frame and the one after it")
    provenance = {
        "sources": [
            {
                "source": called(kind, fitted, judged),
                "licence": LICENCES[kind],
                **{name: {"sha256": half.sha256, **half.notes} for name, half in (("train", fitted), ("val", judged))},
            }
        ],
        "labels": {"teacher": "none: the set's own boxes", "licence": LICENCES[kind]},
        "validation": f"the last {count} of {len(fitted.clips)} training sequences",
        "split": {name: len(own) for name, own in sets.items()},
    }
    return Datasets(sets["train"], sets["val"], sets["test"], provenance)


def _street(config: Any, cache: Path, progress: Progress) -> Datasets:
    size = (config.student.input_width, config.student.input_height)
    sets: dict[str, StreamSet] = {}
    for name, first in FIRST_DRAWN.items():
        count = getattr(config.data, name)
        clips = []
        for k in range(count):
            tell = lambda what, share, k=k, count=count: progress(f"{what} of {count}", (k + share) / count)  # noqa: E731
            clips.append(drawn_clip(config.seed, first + k, config.data.frames, size, cache, tell))
        sets[name] = _set(config, name, clips)
    licence = "drawn by edgekd (Apache-2.0)"
    provenance = {
        "sources": [{"source": "street", "seed": config.seed, "licence": licence}],
        "labels": {"teacher": "none: drawn boxes are exact", "licence": licence},
        "split": {name: len(own) for name, own in sets.items()},
    }
    return Datasets(sets["train"], sets["val"], sets["test"], provenance)


def _set(config: Any, name: str, clips: Sequence[Clip]) -> StreamSet:
    train = name == "train"
    return StreamSet(
        clips,
        (config.student.input_width, config.student.input_height),
        past=config.student.past,
        flip=config.data.flip if train else 0.0,
        seed=config.seed,
        judged=not train,
    )
