"""Real pictures without labels: faces are found, cropped and labelled by a black-box teacher, once.

A source is ``images:DIR`` or ``video:FILE``. Every source's last share of pictures is held out.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError, MachineError
from edgekd.pictures import (
    Picture,
    crop,
    existing,
    folder_pictures,
    read_picture,
    video_frames,
)
from edgekd.recipes.landmarks.detector import Box, detector_rectangle, find_faces
from edgekd.recipes.landmarks.store import Faces, FacesWriter, stored_faces
from edgekd.recipes.rows import store_folder
from edgekd.recipes.teachers import named_callable

VERSION = 1  # of how faces are found, cropped and labelled; part of the cache's key
PIECE = 32  # pictures that are labelled and kept together: what a killed process loses, what several share
MARGIN = 1.5  # a stored image is this many boxes wide, so that augmentation finds pixels beyond the box
VAL_SHARE = 0.1  # of what is not held out
DLIB68_FILE = "shape_predictor_68_face_landmarks.dat"
DLIB68_LICENCE = (
    "dlib's 68-point shape predictor was trained on iBUG 300-W, whose licence excludes commercial use; "
    "labels made with it, and students trained on them, are for research only"
)

Labeller = Callable[[Picture, Box], "NDArray[np.float32] | None"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class BlackBox:
    """A teacher that only gives outputs: (picture, box) to (N, 2) px, or None where it sees no face."""

    name: str
    label: Labeller
    provenance: Mapping[str, Any] = field(default_factory=dict)


def black_box(name: str) -> BlackBox:
    """``dlib68``, or ``package.module:callable`` that the user names.

    The callable takes (uint8 (H, W, 3) RGB, float32 (4,) box in px) and returns (N, 2) px, or None.

    Raises:
        InputError: no such teacher.
        MachineError: what ``dlib68`` needs is not installed.
    """
    if name == "dlib68":
        path = _dlib68_file()
        provenance = {
            "teacher": name,
            "file": path.name,
            "sha256": _sha256([path]),
            "licence": DLIB68_LICENCE,
        }
        return BlackBox(name, _label_with_dlib68, provenance)
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise InputError(
            f"no teacher {name!r}" if name else "no teacher for pictures without labels",
            "a black-box teacher is dlib68 or package.module:callable",
            "--teacher dlib68",
        )
    return BlackBox(name, *named_callable(name))


def _dlib68_file() -> Path:
    # The package is never imported: it needs pkg_resources, which recent setuptools no longer have.
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "models" / DLIB68_FILE
        if path.is_file():
            return path
    raise MachineError("the teacher dlib68 is not here", f"no {DLIB68_FILE} is installed", 'pip install "edgekd[demo]"')


@lru_cache(maxsize=1)
def _dlib68() -> tuple[Any, Any]:
    path = _dlib68_file()
    try:
        import dlib
    except ImportError as error:
        raise MachineError("the teacher dlib68 is not here", str(error), 'pip install "edgekd[demo]"') from None
    return dlib.shape_predictor(str(path)), dlib.rectangle


def _label_with_dlib68(picture: Picture, box: Box) -> NDArray[np.float32]:
    predictor, rectangle = _dlib68()
    # The predictor compares single pixels, so every face is brought to one scale first, small ones above all.
    around, side = _widened(box, MARGIN), 336
    face = crop(picture, around, (side, side), "bicubic")
    scale = side / float(around[2] - around[0])
    shift = np.array([around[0], around[1]], np.float64)
    inner = (np.asarray(box, np.float64).reshape(2, 2) - shift) * scale
    shape = predictor(np.ascontiguousarray(face), rectangle(*detector_rectangle(inner.reshape(4))))
    points = np.array([(shape.part(k).x, shape.part(k).y) for k in range(shape.num_parts)], np.float64)
    return ((points + 0.5) / scale + shift).astype(np.float32)  # dlib counts pixels, we measure: their centres


def _widened(box: NDArray, factor: float) -> Box:
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * factor
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def stored_size(input_size: int) -> int:
    """Side in px of a stored image: its box is then as large as the student's input."""
    return round(input_size * MARGIN)


class Source(NamedTuple):
    """One ``images:DIR`` or ``video:FILE``."""

    kind: Literal["images", "video"]
    path: Path

    @property
    def name(self) -> str:
        """As in the provenance: without the folders above."""
        return f"{self.kind}:{self.path.name}"

    def files(self) -> list[Path]:
        """What its content is made of."""
        return folder_pictures(self.path) if self.kind == "images" else [existing(self.path)]

    def pictures(self, skip: Callable[[int], bool] = lambda number: False) -> Iterator[tuple[Picture | None, float]]:
        """Pictures in order (of name, of time), each with the share of the source read so far.

        Args:
            skip: the numbers of pictures that need not be read; None is in their places.
        """
        if self.kind == "video":
            for k, (frame, share) in enumerate(video_frames(self.path)):
                yield None if skip(k) else frame, share
            return
        files = self.files()
        for k, file in enumerate(files):
            yield None if skip(k) else read_picture(file), (k + 1) / len(files)


def parse_source(text: str) -> Source:
    """``images:DIR`` or ``video:FILE``.

    Raises:
        InputError: another kind, or nothing at that path.
    """
    kind, _, rest = text.partition(":")
    if kind not in ("images", "video") or not rest:
        raise InputError(
            f"data source {text!r} is unknown",
            "it must be drawn, images:DIR, video:FILE, 300w:DIR, cofw:DIR or wflw:DIR",
            "--data images:DIR",
        )
    try:
        path = existing(Path(rest).expanduser())
    except RuntimeError as error:  # ~NAME of no such user
        raise InputError(f"data source {text!r} cannot be found", str(error), "write the path out") from None
    if kind == "video" and path.is_dir():
        raise InputError(f"{path} is a folder", "video: takes a file", f"--data images:{rest}")
    return Source("images" if kind == "images" else "video", path.resolve())


def _sha256(files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256()
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
        total.update(f"{file.name}\0{content.hexdigest()}\0".encode())
    return total.hexdigest()


def labelled_faces(
    source: Source,
    teacher: BlackBox,
    points: int,
    size: int,
    cache: Path,
    progress: Callable[[str, float], None],
) -> Faces:
    """Every face of a source, labelled; found once and cached.

    Args:
        points: how many the student has.
        size: side of the stored images, px.
        progress: (what is being done, share done).

    Raises:
        InputError: no pictures, no faces, or the teacher gives another number of points.
        MachineError: dlib or PyAV is not installed, or the cache cannot be written.
    """
    key = _key(source, teacher, points, size)

    def write(writer: FacesWriter) -> None:
        read = without_face = 0
        for piece in _pieces(source, teacher, points, size, cache, key, progress):
            if len(piece):
                writer.add(piece.images, piece.points, piece.boxes, piece.pictures)
            read += piece.meta["pictures"]
            without_face += piece.meta["without_face"]
        writer.meta = {"pictures": read, "without_face": without_face, "sha256": key["content"]}

    faces = stored_faces(cache, source.kind, key, write)
    shutil.rmtree(_pieces_folder(cache, source, key), ignore_errors=True)
    if not len(faces):
        raise InputError(
            f"no face in {source.path}",
            f"dlib's frontal detector looked at {faces.meta['pictures']} pictures",
            "give pictures with upright, roughly frontal faces of at least 40 px",
        )
    return faces


def label_share(
    source: Source,
    teacher: BlackBox,
    points: int,
    size: int,
    cache: Path,
    progress: Callable[[str, float], None],
    share: tuple[int, int],
) -> None:
    """Labels one of several processes' pictures into the cache; ``labelled_faces`` then finds its work done.

    Args:
        share: (which, of how many); the rest as there.
    """
    key = _key(source, teacher, points, size)
    if not store_folder(cache, source.kind, key).exists():
        for _ in _pieces(source, teacher, points, size, cache, key, progress, share):
            pass


def _key(source: Source, teacher: BlackBox, points: int, size: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "content": _sha256(source.files()),
        "teacher": {k: v for k, v in teacher.provenance.items() if k != "licence"},
        "points": points,
        "size": size,
    }


def _pieces_folder(cache: Path, source: Source, key: Mapping[str, Any]) -> Path:
    whole = store_folder(cache, source.kind, key)
    return whole.with_name(f".{whole.name}.pieces")


def _pieces(
    source: Source,
    teacher: BlackBox,
    points: int,
    size: int,
    cache: Path,
    key: Mapping[str, Any],
    progress: Callable[[str, float], None],
    share: tuple[int, int] = (0, 1),
) -> Iterator[Faces]:
    """The source's faces, ``PIECE`` pictures at a time, each piece labelled once and kept: every ``share[1]``-th."""
    folder = _pieces_folder(cache, source, key)

    def key_of(piece: int) -> dict[str, Any]:
        return {**key, "piece": piece}

    def skip(number: int) -> bool:
        piece = number // PIECE
        return piece % share[1] != share[0] or store_folder(folder, "piece", key_of(piece)).exists()

    def write(pictures: Iterator[tuple[int, tuple[Picture | None, float]]], writer: FacesWriter) -> None:
        read = without_face = 0
        for number, (picture, done) in pictures:
            assert picture is not None, "skipped, and yet to be labelled"
            read += 1
            labelled = list(_label_all(picture, teacher, points, size))
            without_face += not labelled
            for image, own_points, own_box in labelled:
                writer.add(image[None], own_points[None], own_box[None], np.array([number]))
            progress(f"finding faces in {source.name}", done)
        writer.meta = {"pictures": read, "without_face": without_face}

    numbered = enumerate(source.pictures(skip))
    for piece, pictures in itertools.groupby(numbered, key=lambda item: item[0] // PIECE):
        if piece % share[1] == share[0]:
            yield stored_faces(folder, "piece", key_of(piece), partial(write, pictures))


def _label_all(
    picture: Picture, teacher: BlackBox, points: int, size: int
) -> Iterator[tuple[Picture, NDArray[np.float32], Box]]:
    for box in find_faces(picture):
        found = teacher.label(picture, box)
        if found is None:
            continue
        own = np.asarray(found, np.float32)
        if own.shape != (points, 2):
            raise InputError(
                f"teacher {teacher.name} gives an array of {own.shape}",
                f"the student has {points} points",
                f"--set data.points={own.shape[0]}" if own.shape in {(68, 2), (98, 2), (29, 2)} else "",
            )
        if not np.isfinite(own).all():
            raise InputError(f"teacher {teacher.name} gives values that are no numbers")
        around = _widened(box, MARGIN)
        scale = size / (around[2:] - around[:2])
        image = crop(picture, around, (size, size), "bicubic")
        inner = ((box.reshape(2, 2) - around[:2]) * scale).reshape(4)
        yield image, ((own - around[:2]) * scale).astype(np.float32), inner.astype(np.float32)


def split(faces: Faces, held_out: float) -> dict[Split, slice]:
    """Where a source's faces belong, in the order of its pictures, which are never shared between two splits.

    The last ``held_out`` of the pictures with a face are the test set (at least one picture), the last tenth
    of the rest the validation set (at least one, if two are left). A source of one picture is all test.
    """
    pictures = np.unique(faces.pictures)
    test = max(1, round(held_out * len(pictures)))
    rest = len(pictures) - test
    val = max(1, round(VAL_SHARE * rest)) if rest >= 2 else 0
    ends = [rest - val, rest]
    first_val, first_test = (
        int(np.searchsorted(faces.pictures, pictures[end])) if end < len(pictures) else len(faces) for end in ends
    )
    return {
        "train": slice(0, first_val),
        "val": slice(first_val, first_test),
        "test": slice(first_test, len(faces)),
    }


def split_sources(
    sources: Sequence[tuple[Source, Faces]], held_out: float
) -> dict[Split, tuple[NDArray, NDArray, NDArray]]:
    """(images, points, boxes) of each split over all sources.

    Raises:
        InputError: too few faces for three sets.
    """
    parts: dict[Split, list[tuple[NDArray, NDArray, NDArray]]] = {name: [] for name in SPLITS}
    for _, faces in sources:
        for name, where in split(faces, held_out).items():
            if where.stop > where.start:
                parts[name].append((faces.images[where], faces.points[where], faces.boxes[where]))
    for name in SPLITS:
        if not parts[name]:
            total = sum(len(faces) for _, faces in sources)
            raise InputError(
                f"too few faces: none is left for {name}",
                f"{total} faces in {', '.join(source.name for source, _ in sources)}",
                "give a source with at least three pictures with a face, or another --set data.held_out",
            )
    return {
        name: own[0]
        if len(own) == 1
        else (
            np.concatenate([p[0] for p in own]),
            np.concatenate([p[1] for p in own]),
            np.concatenate([p[2] for p in own]),
        )
        for name, own in parts.items()
    }
