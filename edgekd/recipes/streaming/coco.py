"""Sequences from COCO JSON: Argoverse-HD, and any set of frames on disk in its form.

``argoverse:DIR`` or ``coco:DIR``. Annotations are ``DIR/annotations/{train,val}.json``, or the same below
``DIR/Argoverse-HD``. An image has ``sid`` and ``fid`` (or ``video_id`` and ``frame_id``): which sequence, and which
frame of it. Its file is ``name`` (or ``file_name``) in its sequence's folder ``seq_dirs[sid]``, if there are any, of
``DIR``, ``DIR/images``, or Argoverse 1.1's own folders beside the annotations.

What is done with what is odd: categories outside of the eight, crowds, and boxes without area inside of the picture
are left out, and boxes are cut off at its edges; the set's provenance counts each. A gap in the frame numbers ends a
run of frames. Anything that would make the labels wrong is refused.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, Field

from edgekd.errors import InputError, nearest
from edgekd.pictures import Picture, existing, read_picture
from edgekd.recipes.streaming.classes import CLASSES
from edgekd.recipes.streaming.clips import Clip
from edgekd.recipes.streaming.metrics import ARGOVERSE
from edgekd.schema import validated
from edgekd.storage import read_json, sha256_file

WHOLE = (39_384, 15_062)  # frames of Argoverse-HD's halves (A2)
KINDS = ("argoverse", "coco")
LICENCES = {
    "argoverse": "as the set's own: CC BY-NC-SA, not for commercial use (stated elsewhere, not verified by edgekd)",
    "coco": "not known to edgekd: the user's own set",
}
_ROOTS = ("Argoverse-1.1/tracking", "Argoverse-1.1/images", "images", ".")


class _Image(BaseModel):
    id: int
    width: int = Field(gt=0, lt=2**16)
    height: int = Field(gt=0, lt=2**16)
    name: str = Field(validation_alias=AliasChoices("name", "file_name"))
    sequence: int = Field(validation_alias=AliasChoices("sid", "video_id"))
    frame: int = Field(validation_alias=AliasChoices("fid", "frame_id"))


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: bool = False


class _Category(BaseModel):
    id: int
    name: str


class _File(BaseModel):
    images: list[_Image] = Field(min_length=1)
    annotations: list[_Annotation]
    categories: list[_Category]
    sequences: list[str] = []
    seq_dirs: list[str] = []


class FileFrames:
    """Frames that are files, read when asked for."""

    def __init__(self, paths: Sequence[Path], size: tuple[int, int]) -> None:
        self.paths, self.size = paths, size

    def __getitem__(self, index: int) -> Picture:
        picture = read_picture(self.paths[index], as_stored=True)
        if (picture.shape[1], picture.shape[0]) != self.size:
            raise InputError(
                f"{self.paths[index]} is {picture.shape[1]}x{picture.shape[0]} px",
                f"its annotations speak of {self.size[0]}x{self.size[1]}",
                "restore the file, or annotate the one that is there",
            )
        return picture

    def content(self, index: int) -> bytes:
        """Name and length: reading all of a set of tens of gigabytes would take longer than training on some of it."""
        path = self.paths[index]
        return f"{path.name}\0{path.stat().st_size}".encode()


@dataclass(frozen=True)
class CocoSet:
    """One annotation file's clips, in order of their sequences, and what was left out or mended, by kind."""

    clips: Sequence[Clip]
    paths: frozenset[Path]
    sha256: str
    notes: dict[str, int]


def read_coco(folder: Path, split: str, fps: float) -> CocoSet:
    """The ``train`` or ``val`` half of a set.

    Raises:
        InputError: something is missing, or contradicts itself.
    """
    file = _annotation_file(folder, split)
    data = read_json(file)
    fix = "give a set in Argoverse-HD's form: COCO JSON with sid and fid"
    if not isinstance(data, dict):
        raise InputError(f"{file} holds no annotations", "it is no JSON object", fix)
    content = validated(_File, data, file, fix)
    images = _in_order(content, file)
    boxes, notes = _boxes(content, file)
    root = _root(folder, content)
    clips, every = [], []
    for sequence in sorted({image.sequence for image in images}):
        own = [image for image in images if image.sequence == sequence]
        sizes = {(image.width, image.height): image.name for image in own}
        if len(sizes) > 1:
            (one, first), (other, second) = list(sizes.items())[:2]
            raise InputError(
                f"{file}: sequence {_called(content, sequence)} changes size",
                f"{first} is {one[0]}x{one[1]} px, {second} {other[0]}x{other[1]}",
                "give each size as a sequence of its own",
            )
        ids = np.array([image.frame for image in own], np.int64)
        notes["gaps in frame numbers"] += int((np.diff(ids) > 1).sum())
        place = root / content.seq_dirs[sequence] if content.seq_dirs else root
        paths = [place / image.name for image in own]
        every += paths
        clips.append(Clip(sequence, FileFrames(paths, *sizes), ids, [boxes[image.id] for image in own], fps))
    _all_there(every, file)
    return CocoSet(clips, frozenset(every), sha256_file(file), {name: count for name, count in notes.items() if count})


def called(kind: str, train: CocoSet, val: CocoSet) -> str:
    """The set's name if it is whole. Anything less is called so, and is never compared with published figures."""
    if kind != "argoverse":
        return kind
    counts = tuple(sum(map(len, half.clips)) for half in (train, val))
    if counts == WHOLE:
        return ARGOVERSE
    return f"{ARGOVERSE} in part ({counts[0]} of {WHOLE[0]} training and {counts[1]} of {WHOLE[1]} test frames)"


def _annotation_file(folder: Path, split: str) -> Path:
    existing(folder)
    places = [folder / part / f"{split}.json" for part in ("annotations", "Argoverse-HD/annotations")]
    for file in places:
        if file.is_file():
            return file
    raise InputError(f"{folder} has no {split} half", f"neither {places[0]} nor {places[1]} is there", "check the path")


def _root(folder: Path, content: _File) -> Path:
    """Where frames are: the first place at which there is any."""
    image = content.images[0]
    inner = Path(content.seq_dirs[image.sequence] if content.seq_dirs else "", image.name)
    for root in (folder / name for name in _ROOTS):
        if (root / inner).is_file():
            return root
    tried = ", ".join(str(folder / name / inner) for name in _ROOTS)
    raise InputError(f"the frames of {folder} are missing", f"there is none of {tried}", "fetch the frames, too")


def _called(content: _File, sequence: int) -> str:
    return content.sequences[sequence] if 0 <= sequence < len(content.sequences) else str(sequence)


def _in_order(content: _File, file: Path) -> list[_Image]:
    images = sorted(content.images, key=lambda image: (image.sequence, image.frame))
    for before, image in itertools.pairwise(images):
        if (before.sequence, before.frame) == (image.sequence, image.frame):
            where = f"frame {image.frame} of sequence {_called(content, image.sequence)}"
            raise InputError(f"{file}: {where} is there twice", f"as {before.name} and {image.name}")
    if len({image.id for image in images}) < len(images):
        raise InputError(f"{file}: two images have one id", "nobody knows whose the annotations are")
    for image in images:
        if content.seq_dirs and not 0 <= image.sequence < len(content.seq_dirs):
            have = f"seq_dirs has {len(content.seq_dirs)} entries"
            raise InputError(f"{file}: {image.name} is of sequence {image.sequence}", have)
        parts = Path(content.seq_dirs[image.sequence] if content.seq_dirs else "", image.name)
        if parts.is_absolute() or ".." in parts.parts:
            raise InputError(f"{file}: {parts} is outside of the set", "a frame's path must be below its folder")
    return images


def _boxes(content: _File, file: Path) -> tuple[dict[int, NDArray[np.float32]], Counter[str]]:
    """Per image id (m, 5): class, x0, y0, x1, y1 px inside of the picture; and what was left out or mended."""
    names = {c.id: c.name.strip().lower().replace(" ", "_").replace("-", "_") for c in content.categories}
    kinds = {number: CLASSES.index(name) for number, name in names.items() if name in CLASSES}
    if not kinds:
        asked = next(iter(names.values()), "")
        raise InputError(f"{file} has none of the eight classes", nearest(asked, CLASSES), "rename its categories")
    sizes = {image.id: (image.width, image.height) for image in content.images}
    found: dict[int, list[tuple[float, ...]]] = {number: [] for number in sizes}
    notes: Counter[str] = Counter()
    for k, box in enumerate(content.annotations):
        if box.image_id not in sizes:
            raise InputError(f"{file}: annotations[{k}] is of image {box.image_id}", "there is no image with that id")
        if box.category_id not in names:
            known = ", ".join(map(str, sorted(names)))
            raise InputError(f"{file}: annotations[{k}] has category {box.category_id}", f"its categories are {known}")
        if box.category_id not in kinds:
            notes[f"left out: {names[box.category_id]}"] += 1
            continue
        if box.iscrowd:
            notes["left out: crowds"] += 1
            continue
        width, height = sizes[box.image_id]
        x, y, w, h = box.bbox
        x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
        if not (x1 > x0 and y1 > y0):  # no number at all, too
            notes["left out: boxes without area in the picture"] += 1
            continue
        notes["cut off at the picture's edge"] += (x0, y0) != (x, y) or x + w > width or y + h > height
        found[box.image_id].append((kinds[box.category_id], x0, y0, x1, y1))
    if not any(found.values()):
        raise InputError(
            f"{file} has no boxes", f"none of its {len(content.annotations)} annotations can be used", "annotate it"
        )
    return {number: np.array(own, np.float32).reshape(-1, 5) for number, own in found.items()}, notes


def _all_there(paths: Sequence[Path], file: Path) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(paths)} frames of {file} are missing",
            f"the first is {missing[0]}",
            "fetch them, or take them out of the annotations",
        )
