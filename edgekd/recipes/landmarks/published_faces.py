"""A published data set's faces, cropped as its authors' evaluation does, read once and cached.

A stored picture is square and keeps its proportions, so that errors in it are errors in the photo; its box, the
crop of the paper, is as long as the student's input. The sets have no validation part: 70 faces of the training
set, as the authors take (A7), but at most a tenth of it, are held out by the seed, photo by photo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.pictures import Picture, crop
from edgekd.recipes.landmarks import cofw, ibug, wflw
from edgekd.recipes.landmarks.annotations import Annotation, Part, PartName, missing
from edgekd.recipes.landmarks.detector import Box
from edgekd.recipes.landmarks.metrics import SUBSET
from edgekd.recipes.landmarks.pictures import MARGIN, Split, stored_size
from edgekd.recipes.landmarks.published import PublishedSet, published_set
from edgekd.recipes.landmarks.store import Faces, FacesWriter, Rows, stored_faces
from edgekd.storage import sha256_file

VERSION = 1  # of how faces are read and cropped; part of the cache's key
VAL_FACES, VAL_SHARE = 70, 0.1
READERS: Mapping[str, Callable[[Path, PartName], Part]] = {"300w": ibug.read, "cofw": cofw.read, "wflw": wflw.read}

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class SplitFaces:
    """Faces of one split; ``truth`` are further arrays (M, ...) that metrics are given with the points."""

    images: NDArray[np.uint8] | Rows
    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    truth: Mapping[str, NDArray]


def published_faces(
    source: str, input_size: int, seed: int, cache: Path, progress: Progress
) -> tuple[dict[Split, SplitFaces], dict[str, Any]]:
    """Train, val and test of ``300w:DIR``, ``cofw:DIR`` or ``wflw:DIR``, and where they are from.

    Args:
        input_size: the student's, px.
        seed: chooses the validation faces.
        cache: folder of stores.
        progress: (what is being done, share done).

    Raises:
        InputError: a file is missing or wrong; the message names it.
        MachineError: COFW, and h5py is not installed; or the cache cannot be written.
    """
    own = published_set(source)
    assert own is not None
    try:
        folder = Path(source.partition(":")[2]).expanduser()
    except RuntimeError as error:  # ~NAME of no such user
        raise InputError(f"data source {source!r} cannot be found", str(error), "write the path out") from None
    if not folder.is_dir():
        raise missing(folder, own, "is no folder" if folder.exists() else "does not exist")
    both: tuple[PartName, ...] = ("train", "test")
    parts = {name: READERS[own.kind](folder, name) for name in both}  # what is missing is said at once
    content = {name: _content(part, folder, f"{own.name} {name}", progress) for name, part in parts.items()}
    stored = {
        name: _stored(part.faces, f"{own.name} {name}", content[name], stored_size(input_size), cache, progress)
        for name, part in parts.items()
    }
    train, val = validation_split([face.photo for face in parts["train"].faces], seed, own)
    subsets = {
        f"{SUBSET}{name}": np.array([name in face.subsets for face in parts["test"].faces]) for name in own.subsets
    }
    rows = np.arange(len(stored["test"]))
    splits: dict[Split, SplitFaces] = {
        "train": _rows(stored["train"], train, {}),
        "val": _rows(stored["train"], val, {}),
        "test": _rows(stored["test"], rows, subsets),
    }
    return splits, {
        "sources": [
            {
                "source": _named(own, parts),
                "folder": folder.resolve().name,
                "faces": {name: len(part.faces) for name, part in parts.items()},
                "subsets": {name.removeprefix(SUBSET): int(mask.sum()) for name, mask in subsets.items()},
                "sha256": content,
                "licence": own.licence,
            }
        ],
        "labels": {"teacher": "none: the data set's own points", "licence": own.licence},
        "validation": f"{len(val)} of {len(train) + len(val)} training faces, chosen by the seed, photos kept whole",
        "split": {name: len(split.points) for name, split in splits.items()},
    }


def _named(own: PublishedSet, parts: Mapping[PartName, Part]) -> str:
    """The set's name if it is whole. Anything less is called so, and is never compared with published figures."""
    train, test = len(parts["train"].faces), len(parts["test"].faces)
    counts = {name: sum(name in face.subsets for face in parts["test"].faces) for name in own.subsets}
    if (train, test, counts) == (own.train, own.test, dict(own.subsets)):
        return own.name
    return f"{own.name} in part ({train} of {own.train} training and {test} of {own.test} test faces)"


def _content(part: Part, folder: Path, name: str, progress: Progress) -> str:
    """sha256 over every file of a part: names and bytes."""
    total = hashlib.sha256()
    for k, file in enumerate(part.files):
        total.update(f"{file.relative_to(folder).as_posix()}\0{sha256_file(file)}\0".encode())
        progress(f"checking {name}", (k + 1) / len(part.files))
    return total.hexdigest()


def _stored(faces: Sequence[Annotation], name: str, content: str, size: int, cache: Path, progress: Progress) -> Faces:
    def write(writer: FacesWriter) -> None:
        for number, face in enumerate(faces):
            image, points, box = _squared(face, size)
            writer.add(image[None], points[None], box[None], np.array([number]))
            progress(f"reading {name}", (number + 1) / len(faces))
        writer.meta = {"sha256": content}

    return stored_faces(cache, "published", {"version": VERSION, "name": name, "content": content, "size": size}, write)


def _squared(face: Annotation, size: int) -> tuple[Picture, NDArray[np.float32], Box]:
    """The square around a face's crop, resized to ``size``, and its points and box in it."""
    middle = (face.box[:2] + face.box[2:]) / 2
    side = MARGIN * float((face.box[2:] - face.box[:2]).max())
    corner, scale = middle - side / 2, size / side
    picture = face.read()
    try:
        image = crop(picture, np.concatenate([corner, corner + side]), (size, size), "bicubic")
    except InputError as error:
        said = f"points and picture do not belong together: {error.what}; {error.why}"
        raise InputError(f"{face.origin}: the face cannot be cropped", said) from None
    box = (face.box.reshape(2, 2) - corner) * scale
    return image, ((face.points - corner) * scale).astype(np.float32), box.reshape(4).astype(np.float32)


def validation_split(
    photos: Sequence[str], seed: int, own: PublishedSet
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, val): row numbers, ascending. Whole photos, in an order drawn from the seed, until there are enough.

    Raises:
        InputError: fewer than two photos.
    """
    names, photo = np.unique(np.asarray(photos), return_inverse=True)
    if len(names) < 2:
        raise InputError(f"{own.name}: {len(photos)} training faces of one photo", "validation needs another photo")
    sizes = np.bincount(photo)
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 0x76616C)))).permutation(len(names))
    wanted = min(VAL_FACES, max(1, round(VAL_SHARE * len(photos))))
    count = int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1
    chosen = np.isin(photo, order[: min(count, len(names) - 1)])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _rows(faces: Faces, rows: NDArray[np.int64], truth: Mapping[str, NDArray]) -> SplitFaces:
    boxes = faces.boxes[rows]
    return SplitFaces(Rows(faces.images, rows), faces.points[rows], boxes, {"box": boxes, **truth})
