"""The recipe's data: drawn faces with exact points, a published set, or pictures that a black box labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.pictures import crop
from edgekd.recipes.contract import Batch, Datasets, Key, Sample
from edgekd.recipes.landmarks import augment, pictures
from edgekd.recipes.landmarks.config import AugmentConfig, Config
from edgekd.recipes.landmarks.detector import points_box
from edgekd.recipes.landmarks.flips import flip_permutation
from edgekd.recipes.landmarks.published import published_set
from edgekd.recipes.landmarks.published_faces import published_faces
from edgekd.recipes.landmarks.store import Faces, FacesWriter, Rows, stored_faces

Progress = Callable[[str, float], None]

DRAWN_VERSION = 2  # part of the cache's key: raised when drawn faces change
DRAWN_CHUNK = 20
# A drawn face fills its picture: its box is about 0.88 of it (0.80..0.94), so about as large as the input.
DRAWN_MARGIN = 1.15
# Far apart, so that a set's faces do not depend on the other sets' sizes, and no set meets another.
FIRST_DRAWN = {"test": 0, "val": 100_000_000, "train": 200_000_000}


class FaceSet:
    """Labelled faces; ``contract.SampleSet`` of the landmarks recipe.

    Args:
        images: (M, S, S, 3) uint8 RGB; may be a memory map, or rows of one.
        points: (M, N, 2) float32, px of the image.
        boxes: (M, 4) float32, px of the image.
        augment: what ``batch`` changes at random; None: nothing, and ``batch`` crops as the pipeline does.
        seed: of the random changes.
        factor: augmented copies of each face per epoch; the set is ``factor`` times as long (A8).
        input_size: side of the student's input, px.
        resampler: the io spec's.
        truth: further arrays (M, ...) that a sample's truth has beside its points.

    Raises:
        ValueError: the arrays do not belong together.
    """

    def __init__(
        self,
        images: NDArray[np.uint8] | Rows,
        points: NDArray[np.float32],
        boxes: NDArray[np.float32],
        *,
        augment: AugmentConfig | None,
        seed: int,
        input_size: int,
        resampler: str = "bilinear",
        factor: int = 1,
        truth: Mapping[str, NDArray] | None = None,
    ) -> None:
        count = len(images)
        if images.ndim != 4 or points.shape[:1] != (count,) or points.shape[2:] != (2,) or boxes.shape != (count, 4):
            raise ValueError(f"images {images.shape}, points {points.shape} and boxes {boxes.shape} do not fit")
        self.images, self.points, self.boxes = images, points, boxes
        self.augment, self.seed, self.input_size, self.resampler = augment, seed, input_size, resampler
        self.factor, self.truth = factor, dict(truth or {})
        self._flip = flip_permutation(points.shape[1])

    def __len__(self) -> int:
        return len(self.images) * self.factor

    def batch(self, keys: Sequence[Key]) -> Batch:
        """``image`` (B, 3, s, s) float32 0..1 and ``landmarks`` (B, 2N), in crop widths from its centre."""
        chosen = [index % len(self.images) for _, index in keys]
        points, boxes = self.points[chosen], self.boxes[chosen]
        if self.augment is None:
            sides = (self.input_size, self.input_size)
            crops = np.stack(
                [crop(self.images[k], box, sides, self.resampler) for k, box in zip(chosen, boxes, strict=True)]
            )
            low, high = boxes[:, None, :2], boxes[:, None, 2:]
            labels = (points - (low + high) / 2) / (high - low)
            return {
                "image": torch.from_numpy(crops).permute(0, 3, 1, 2).float().div_(255.0),
                "landmarks": torch.from_numpy(labels.reshape(len(keys), -1).astype(np.float32)),
            }
        draw = augment.draws(self.seed, keys)
        matrix, centre, flipped = augment.geometry(draw, boxes, points, self.augment)
        images = torch.from_numpy(np.stack([self.images[k] for k in chosen]))
        x = augment.sample_crops(images, matrix, centre, self.input_size)
        labels = augment.crop_coordinates(points, matrix, centre, flipped, self._flip)
        return {
            "image": augment.change_pixels(x, draw, self.augment, self._noise),
            "landmarks": torch.from_numpy(labels),
        }

    def sample(self, index: int) -> Sample:
        """The face as the pipeline takes it, and its points in pixels of the same image."""
        index %= len(self.images)
        raw = {"image": np.array(self.images[index]), "box": np.array(self.boxes[index])}
        truth = {name: np.array(values[index]) for name, values in self.truth.items()}
        return Sample(raw, {"landmarks": np.array(self.points[index]), **truth})

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over images, points, boxes and what else is true of them, with their shapes."""
        digest = hashlib.sha256()
        for array in (self.images, self.points, self.boxes, *self.truth.values()):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            for first in range(0, len(array), 256):
                digest.update(np.ascontiguousarray(array[first : first + 256]).data)
        return digest.hexdigest()

    @cached_property
    def _noise(self) -> torch.Tensor:
        return augment.noise_pool(self.seed)


def datasets(config: Config, cache: Path, progress: Progress) -> Datasets:
    """Train (augmented), val and test (as they are) of the configured sources.

    Args:
        cache: folder for drawn and found faces; made if missing.
        progress: (what is being done, share done 0..1).

    Raises:
        InputError: unknown or mixed sources, no pictures, no faces, or too few points.
        MachineError: what reads or labels pictures is not installed, or the cache cannot be written.
    """
    sources = config.data.source
    if not sources:
        kinds = "--data 300w:DIR, cofw:DIR, wflw:DIR, images:DIR, video:FILE or drawn"
        raise InputError("no data source", "data.source is empty", kinds)
    if any(map(published_set, sources)):
        return _published(config, cache, progress)
    if "drawn" not in sources:
        return _real(config, cache, progress)
    if set(sources) != {"drawn"}:
        raise InputError(
            f"data.source mixes drawn faces with {len(sources) - sources.count('drawn')} real sources",
            "drawn faces have exact points, real ones a teacher's",
            "distil on one of them, then start from that student",
        )
    return _drawn(config, cache, progress)


def _set(
    config: Config,
    name: str,
    images: NDArray | Rows,
    points: NDArray,
    boxes: NDArray,
    truth: Mapping[str, NDArray] | None = None,
) -> FaceSet:
    return FaceSet(
        images,
        points,
        boxes,
        augment=config.augment if name == "train" else None,
        factor=config.augment.factor if name == "train" else 1,
        seed=config.seed,
        input_size=config.student.input_size,
        truth=truth,
    )


def _published(config: Config, cache: Path, progress: Progress) -> Datasets:
    sources = tuple(dict.fromkeys(config.data.source))
    own = next(filter(None, map(published_set, sources)))
    if len(sources) > 1:
        raise InputError(
            f"data.source mixes {own.name} with {len(sources) - 1} other sources",
            "a published set is trained on and judged by itself, so that figures can be compared",
            f"--data {own.kind}:DIR alone",
        )
    if config.data.points != own.points:
        raise InputError(
            f"{own.name} has {own.points} points, not {config.data.points}",
            "data.points says otherwise",
            f"leave it out, or --set data.points={own.points}",
        )
    if config.teacher.black_box:
        raise InputError(
            f"{own.name} needs no black-box teacher",
            f"it has points of its own, and teacher.black_box is {config.teacher.black_box!r}",
            "--preset paper, or leave --teacher out",
        )
    splits, provenance = published_faces(sources[0], config.student.input_size, config.seed, cache, progress)
    sets = {name: _set(config, name, s.images, s.points, s.boxes, s.truth) for name, s in splits.items()}
    return Datasets(sets["train"], sets["val"], sets["test"], provenance)


def _drawn(config: Config, cache: Path, progress: Progress) -> Datasets:
    if config.data.points != 68:
        raise InputError(f"drawn faces have no {config.data.points} points", "they have 68", "--set data.points=68")
    from edgekd.recipes.landmarks.faces import annotator_noise

    sets: dict[str, FaceSet] = {}
    for name, count in (("train", config.data.train), ("val", config.data.val), ("test", config.data.test)):
        faces = _drawn_faces(config.seed, name, count, config.student.input_size, cache, progress)
        points = faces.points
        if name == "train" and config.data.label_noise:
            points = np.asarray(annotator_noise(points, config.seed, config.data.label_noise), np.float32)
        sets[name] = _set(config, name, faces.images, points, faces.boxes)
    provenance: dict[str, Any] = {
        "sources": [{"source": "drawn", "seed": config.seed, "licence": "drawn by edgekd (Apache-2.0)"}],
        "labels": {
            "teacher": "none: drawn points are exact",
            "noise_on_training_labels": config.data.label_noise,
            "licence": "drawn by edgekd (Apache-2.0)",
        },
        "split": {name: len(own) for name, own in sets.items()},
    }
    return Datasets(sets["train"], sets["val"], sets["test"], provenance)


def _drawn_faces(seed: int, name: str, count: int, input_size: int, cache: Path, progress: Progress) -> Faces:
    from edgekd.recipes.landmarks.faces import draw_faces

    size, start = round(input_size * DRAWN_MARGIN), FIRST_DRAWN[name]

    def write(writer: FacesWriter) -> None:
        for first in range(0, count, DRAWN_CHUNK):
            n = min(DRAWN_CHUNK, count - first)
            images, points = draw_faces(seed, start + first, n, size)
            boxes = np.stack([points_box(own) for own in points])
            writer.add(images, points, boxes, np.arange(first, first + n))
            progress(f"drawing {name} faces", (first + n) / count)

    key = {"version": DRAWN_VERSION, "seed": seed, "start": start, "count": count, "size": size}
    return stored_faces(cache, "drawn", key, write)


def label_share(config: Config, cache: Path, progress: Progress, share: tuple[int, int]) -> None:
    """One of several processes' part of what is slow in ``datasets``: labelling real pictures.

    Args:
        share: (which, of how many).
    """
    if "drawn" not in config.data.source:
        teacher, size = pictures.black_box(config.teacher.black_box), pictures.stored_size(config.student.input_size)
        for source in _pictures_of(config):
            pictures.label_share(source, teacher, config.data.points, size, cache, progress, share)


def _pictures_of(config: Config) -> list[pictures.Source]:
    return list(dict.fromkeys(map(pictures.parse_source, config.data.source)))  # twice the same is once


def _real(config: Config, cache: Path, progress: Progress) -> Datasets:
    teacher, size = pictures.black_box(config.teacher.black_box), pictures.stored_size(config.student.input_size)
    found = [
        (source, pictures.labelled_faces(source, teacher, config.data.points, size, cache, progress))
        for source in _pictures_of(config)
    ]
    parts = pictures.split_sources(found, config.data.held_out)
    sets = {name: _set(config, name, *arrays) for name, arrays in parts.items()}
    provenance: dict[str, Any] = {
        "sources": [
            {
                "source": source.name,
                **{k: faces.meta[k] for k in ("pictures", "without_face", "sha256")},
                "faces": len(faces),
                "licence": "not known to edgekd: the user's own pictures",
            }
            for source, faces in found
        ],
        "labels": dict(teacher.provenance),
        "held_out": config.data.held_out,
        "split": {name: len(own) for name, own in sets.items()},
    }
    return Datasets(sets["train"], sets["val"], sets["test"], provenance)
