"""VITON and VITON-Clean as their users lay them out (B5): 256 x 192 pictures, for research without commercial use.

    DIR/VITON_traindata/  train_pairs.txt (PERSON GARMENT a line)  train_img  train_color  train_edge  train_label
                          train_densepose (.npy, 0..24)  train_pose (.json of OpenPose, 18 points)
    DIR/VITON_test/       test_pairs.txt  test_img  test_color  test_edge

Either folder may also be DIR itself. Garments may lie in ``*_clothes``, poses be called ``NAME_keypoints.json``, labels be
``.png`` or ``.jpg``. A training pair is a person in that garment; a test pair is a person who is to try that garment on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.errors import InputError
from edgekd.pictures import crop, read_labels, read_picture
from edgekd.recipes.contract import Datasets, Sample
from edgekd.recipes.tryon.data import POINTS, Garment, Photo, TryonSet
from edgekd.storage import read_array, read_json, read_text

Progress = Callable[[str, float], None]
Size = tuple[int, int]

PICTURE = (256, 192)  # height, width of the published pictures
COUNTS = {"viton": (14_221, 2_032), "viton-clean": (6_824, 416)}  # training and test pairs
NAMES = {"viton": "VITON", "viton-clean": "VITON-Clean"}
LICENCE = "VITON (Han et al. 2018): research only, no commercial use; the pictures belong to their owners"
LARGEST_LABEL = 20  # parsers know up to 20 classes
_LAYOUT = "DIR/VITON_traindata/train_{pairs.txt,img,color,edge,label,densepose,pose}, DIR/VITON_test/test_{pairs.txt,img,color,edge}"  # noqa: E501


@dataclass(frozen=True)
class Pair:
    """Where a person and a garment are; the labels' files only where they are needed for training."""

    person: Path
    clothes: Path
    edge: Path
    label: Path | None = None
    part: Path | None = None
    pose: Path | None = None


def viton_datasets(kind: str, root: Path, size: Size, seed: int, held: int, progress: Progress) -> Datasets:
    """Train and val of the training pairs, ``held`` of them for val, and test of the test pairs.

    Args:
        kind: ``viton`` or ``viton-clean``.
        root: see the module.
        size: (height, width) that pictures are given in.
        progress: (what is being done, share done 0..1).

    Raises:
        InputError: a missing part, a pair that names no file, a picture of another size, an empty mask; with the file.
    """
    train = read_pairs(_part(root, "train"), "train", progress)
    test = read_pairs(_part(root, "test"), "test", progress)
    if len(train) < held + 2:
        why = f"{held} of its {len(train)} training pairs are for validation (data.val)"
        raise InputError(f"{root} holds too few people", why, "fewer for validation: --set data.val=1")
    # The last ones by a fixed order that is not the files', so that both hold all kinds.
    order = np.random.Generator(np.random.Philox(key=[seed, 0x717])).permutation(len(train))
    fitted, selected = [train[k] for k in order[held:]], [train[k] for k in order[:held]]
    counts = {"train": len(fitted), "val": len(selected), "test": len(test)}
    published = COUNTS[kind]
    provenance = {
        "sources": [
            {
                "source": NAMES[kind],
                "pairs": {"train": len(train), "test": len(test)},
                "published_pairs": {"train": published[0], "test": published[1]},
                "complete": (len(train), len(test)) == published,
                "licence": LICENCE,
            }
        ],
        "labels": {
            "parsing": "as published with the set", "truth": "test people in the garments they try on are not known: "
            "their own photographs stand for the truth, as in the authors' LPIPS", "licence": LICENCE,
        },
        "split": counts,
    }  # fmt: skip
    sets = [_set(name, pairs, size, seed) for name, pairs in (("train", fitted), ("val", selected), ("test", test))]
    return Datasets(*sets, provenance)


def _part(root: Path, phase: str) -> Path:
    for folder in (root / ("VITON_traindata" if phase == "train" else "VITON_test"), root):
        if (folder / f"{phase}_pairs.txt").is_file():
            return folder
    why = f"there is no {phase}_pairs.txt in {root} or its VITON_{'traindata' if phase == 'train' else 'test'}"
    raise InputError(f"{root} is not laid out as VITON", why, _LAYOUT)


def read_pairs(folder: Path, phase: str, progress: Progress) -> list[Pair]:
    """The pairs of ``PHASE_pairs.txt``, each of whose files is there and has the size of the set.

    Raises:
        InputError: as ``viton_datasets``.
    """
    listed = folder / f"{phase}_pairs.txt"
    lines = [line.split() for line in read_text(listed).splitlines()]
    numbered = [(number, names) for number, names in enumerate(lines, start=1) if names]
    if not numbered:
        raise InputError(f"{listed} holds no pair", "it is empty", "each line: PERSON GARMENT")
    clothes = f"{phase}_clothes" if (folder / f"{phase}_clothes").is_dir() else f"{phase}_color"
    pairs = []
    for k, (number, names) in enumerate(numbered):
        where = f"{listed}:{number}"
        if len(names) != 2:
            raise InputError(f"{where} is no pair", f"it has {len(names)} names", "each line: PERSON GARMENT")
        person, garment = names
        found = [_file(folder, part, [name], where) for part, name in ((f"{phase}_img", person), (clothes, garment))]
        edge = _file(folder, f"{phase}_edge", [garment, *_stems(garment)], where)
        labels: list[Path] = []
        if phase == "train":
            stem = Path(person).stem
            labels = [
                _file(folder, "train_label", _stems(person), where),
                _file(folder, "train_densepose", [f"{stem}.npy"], where),
                _file(folder, "train_pose", [f"{stem}.json", f"{stem}_keypoints.json"], where),
            ]
        for file in (*found, edge, *labels[:1]):
            _check_size(file)
        pairs.append(Pair(*found, edge, *labels))
        if k % 64 == 0:
            progress(f"checking {phase} pairs", (k + 1) / len(numbered))
    return pairs


def _stems(name: str) -> list[str]:
    return [f"{Path(name).stem}{suffix}" for suffix in (".png", ".jpg")]


def _file(folder: Path, part: str, names: Sequence[str], where: str) -> Path:
    for name in names:
        if Path(name).name != name:  # a list from elsewhere names files of its own folder only
            raise InputError(f"{where} names {name!r}", "that is a path, not the name of a file", "names of files only")
        if (folder / part / name).is_file():
            return folder / part / name
    fix = (
        "the set is not complete: unpack it again" if (folder / part).is_dir() else f"the folder is missing: {_LAYOUT}"
    )
    raise InputError(f"{folder / part / names[0]} is missing", f"{where} names it", fix)


def _check_size(path: Path) -> None:
    """Without decoding it: only its header is read."""
    try:
        with Image.open(path) as image:
            size = (image.height, image.width)
    except OSError as error:
        raise InputError(f"{path} is not a picture", str(error), "is the file complete?") from None
    if size != PICTURE:
        why = f"it has {size[1]}x{size[0]} px, and the set's pictures have {PICTURE[1]}x{PICTURE[0]}"
        raise InputError(f"{path} has another size", why, "resize the whole set, labels and key points with it")


def _set(name: str, pairs: Sequence[Pair], size: Size, seed: int) -> TryonSet:
    def garment(index: int) -> Garment:
        return read_garment(pairs[index], size)

    def sample(index: int) -> Sample:
        pair = pairs[index]
        person = _picture(read_picture(pair.person), size)
        clothes = garment(index)
        worn = np.zeros(size, np.uint8)
        if pair.label is not None:
            label = _labels(read_labels(pair.label), size)
            worn = np.where((label == 4) | (label == 7), 255, 0).astype(np.uint8)
        raw = {"person": person, "clothes": clothes.picture, "clothes_edge": clothes.mask}
        no_warp = {"grid": np.zeros((*size, 2), np.float32), "seen": np.zeros(size, np.uint8)}
        return Sample(raw, {"tryon": person, "worn": worn, **no_warp})

    def fingerprint() -> str:
        digest = hashlib.sha256(f"{size}".encode())
        for pair in pairs:
            for file in (pair.person, pair.clothes, pair.edge, pair.label, pair.part, pair.pose):
                if file is not None:
                    digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    return TryonSet(len(pairs), lambda index: read_photo(pairs[index], size), garment, sample, fingerprint, seed)


def read_photo(pair: Pair, size: Size) -> Photo:
    """The person with the labels that the teacher needs.

    Raises:
        InputError: a label that is none; or the pair is a test pair, which has none.
    """
    if pair.label is None or pair.part is None or pair.pose is None:
        raise InputError(f"{pair.person} has no labels", "VITON's test people have none", "train on its training pairs")
    label = read_labels(pair.label)
    if label.max() > LARGEST_LABEL:
        raise InputError(f"{pair.label} is no parsing", f"it has the label {label.max()}", "labels are 0 to 20")
    parts = read_array(pair.part)
    if parts.shape != PICTURE or parts.min() < 0 or parts.max() > 24:
        why = f"it is {parts.shape}, {parts.min():g} to {parts.max():g}"
        raise InputError(f"{pair.part} holds no body parts", why, f"{PICTURE}, 0 to 24")
    points = read_points(pair.pose)
    points[:, :2] *= np.float32([size[1] / PICTURE[1], size[0] / PICTURE[0]])
    person = _picture(read_picture(pair.person), size)
    return Photo(person, _labels(label, size), _labels(parts.astype(np.uint8), size), points)


def read_points(path: Path) -> NDArray[np.float32]:
    """(18, 3) x, y in px of the published picture, and 1 where the point was found; nobody found: all 0.

    Raises:
        InputError: not a file of OpenPose.
    """
    try:
        people = read_json(path)["people"]
        values = people[0].get("pose_keypoints", people[0].get("pose_keypoints_2d")) if people else [0.0] * 3 * POINTS
        points = np.asarray(values, np.float32).reshape(-1, 3)[:POINTS].copy()
        if len(points) < POINTS or not np.isfinite(points).all():
            raise ValueError(f"it has {len(points)} points")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} holds no pose", str(error), "a file of OpenPose with 18 points") from None
    points[:, 2] = (points[:, 0] > 1) & (points[:, 1] > 1)  # what OpenPose did not find is at (0, 0)
    return points


def read_garment(pair: Pair, size: Size) -> Garment:
    """The garment and its mask.

    Raises:
        InputError: the mask is empty.
    """
    mask = read_picture(pair.edge).max(2)
    if not (mask > 127).any():
        raise InputError(
            f"the mask {pair.edge} is empty", "no pixel of it is white", "leave the garment out of the pairs"
        )
    fitted = _labels(np.where(mask > 127, 255, 0).astype(np.uint8), size)
    return Garment(_picture(read_picture(pair.clothes), size), fitted)


def _picture(picture: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    if picture.shape[:2] == size:
        return picture
    return crop(picture, np.array([0, 0, picture.shape[1], picture.shape[0]]), (size[1], size[0]), "bilinear")


def _labels(labels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    if labels.shape == size:
        return labels
    return crop(labels, np.array([0, 0, labels.shape[1], labels.shape[0]]), (size[1], size[0]), "nearest")
