"""From what a user names to people and garments: pictures, folders of them, a video; which belongs to which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.pictures import (
    Picture,
    check_box,
    existing,
    folder_pictures,
    is_video,
    parse_box,
    read_cutout,
    read_picture,
    video_frames,
)
from edgekd.storage import read_text

Mask = NDArray[np.uint8]
Item = tuple[str, dict[str, Any]]

NAMES = ("person", "clothes", "clothes_edge", "mask", "box", "pairs")
_EXAMPLE = "edgekd predict BUNDLE person=photo.jpg clothes=garment.png --out result.png"
_MASK_FIX = (
    "give the garment with a transparent background (PNG, WebP), or its mask: clothes_edge=mask.png, white where the "
    "garment is"
)


def read_items(inputs: Mapping[str, str]) -> Iterator[Item]:
    """(label, raw) items of ``person=PATH clothes=PATH``.

    ``person`` is a picture, a folder or a video, ``clothes`` a picture or a folder; two folders are paired by the
    files' names, or by the lines ``PERSON CLOTHES`` of ``pairs=FILE``. ``clothes_edge`` (white where the garment is)
    and ``mask`` (white where the person is) are a picture, or a folder with the names of the garments and people;
    ``box=x0,y0,x1,y1`` is the part of every photograph that is looked at.

    Raises:
        InputError: unknown or missing names, files that cannot be read, a garment without a mask; at once, but for
            what is inside of folders and videos.
        MachineError: a video, and PyAV is not installed.
    """
    if not {"person", "clothes"} <= set(inputs) or set(inputs) - set(NAMES):
        odd = sorted(set(inputs) - set(NAMES)) or sorted({"person", "clothes"} - set(inputs))
        word = "unknown" if set(inputs) - set(NAMES) else "missing"
        why = "this student takes person=PATH clothes=PATH, and, if you like, " + ", ".join(NAMES[2:])
        raise InputError(f"{word} inputs: {', '.join(odd)}", why, _EXAMPLE)
    person, clothes = existing(Path(inputs["person"])), existing(Path(inputs["clothes"]))
    box = parse_box(inputs["box"]) if "box" in inputs else None
    garments = _Garments(clothes, Path(inputs["clothes_edge"]) if "clothes_edge" in inputs else None)
    if "pairs" in inputs and not (person.is_dir() and clothes.is_dir()):
        raise InputError(
            "pairs= is for two folders", "it says which person of the one tries which garment of the other"
        )
    if is_video(person):
        if clothes.is_dir() or "mask" in inputs:
            what = "clothes is a folder" if clothes.is_dir() else "mask is one picture"
            raise InputError(f"{person.name} is a video and {what}", "its frames try one garment on", "leave it out")
        return _frames(person, garments(clothes), box)
    masks = Path(inputs["mask"]) if "mask" in inputs else None
    if not person.is_dir():
        return _one_person(person, masks, clothes, garments, box)
    return _people(_pairs(person, clothes, inputs.get("pairs")), masks, garments, box, person, clothes)


class _Garments:
    """Garments by path, with their masks; the last one read is kept, for it is tried on by many."""

    def __init__(self, clothes: Path, edges: Path | None) -> None:
        self._root, self._edges = clothes, edges
        self._last: tuple[Path, Picture, Mask] | None = None

    def __call__(self, path: Path) -> tuple[Picture, Mask]:
        if self._last is None or self._last[0] != path:
            picture, alpha = read_cutout(path)
            self._last = (path, picture, self._mask(path, picture, alpha))
        return self._last[1:]

    def _mask(self, path: Path, picture: Picture, alpha: Mask | None) -> Mask:
        if self._edges is not None:
            file = _beside(self._edges, path)
            mask = read_mask(file)
            if mask.shape != picture.shape[:2]:
                sizes = f"{mask.shape[1]}x{mask.shape[0]} px, and the garment {picture.shape[1]}x{picture.shape[0]}"
                raise InputError(f"the mask {file} does not fit {path}", f"it is {sizes}", "make it of the same size")
            return checked_mask(mask, str(file))
        if alpha is None or alpha.min() > 127:
            why = "its picture has no transparency" if alpha is None else "nothing in its picture is transparent"
            raise InputError(f"the garment {path} has no mask", f"{why}, and what is garment is not guessed", _MASK_FIX)
        return checked_mask(alpha, f"{path}: its transparency")


def read_mask(path: Path) -> Mask:
    """A mask picture of any mode, (H, W) uint8: its transparency where it has some, else its brightness."""
    picture, alpha = read_cutout(path)
    if alpha is not None and alpha.min() < 255:
        return alpha
    return np.asarray(picture.max(2))


def checked_mask(mask: Mask, name: str) -> Mask:
    """Raises InputError for a mask that is empty."""
    if not (mask > 127).any():
        raise InputError(f"the mask of {name} is empty", "no pixel of it is white", "white is garment, black is not")
    return mask


def _beside(where: Path, of: Path) -> Path:
    """The picture in ``where`` with the name of ``of``, whatever its suffix; ``where`` itself if it is a file."""
    if not existing(where).is_dir():
        return where
    found = [path for path in folder_pictures(where) if path.stem == of.stem]
    if not found:
        raise InputError(f"{where} has no mask for {of.name}", f"there is no picture {of.stem}.*", "add it")
    return found[0]


def _pairs(people: Path, clothes: Path, pairs: str | None) -> list[tuple[Path, Path]]:
    if not clothes.is_dir():
        return [(path, clothes) for path in folder_pictures(people)]
    if pairs is not None:
        found = []
        for number, line in enumerate(read_text(Path(pairs)).splitlines(), start=1):
            if line.strip():
                names = line.split()
                if len(names) != 2:
                    why = f"it has {len(names)} names"
                    raise InputError(f"{pairs}:{number} is no pair", why, "each line: PERSON CLOTHES")
                found.append((existing(people / names[0]), existing(clothes / names[1])))
        if not found:
            raise InputError(f"{pairs} holds no pair", "it is empty", "each line: PERSON CLOTHES")
        return found
    garments = {path.stem: path for path in folder_pictures(clothes)}
    both = [(path, garments[path.stem]) for path in folder_pictures(people) if path.stem in garments]
    if not both:
        why = "two folders are paired by the files' names"
        raise InputError(
            f"no picture of {people} has the name of one of {clothes}", why, "pairs=FILE says who tries what"
        )
    return both


def _one_person(
    person: Path, masks: Path | None, clothes: Path, garments: _Garments, box: NDArray | None
) -> Iterator[Item]:
    raw = _person(person, masks, box)  # read now: what is wrong is said now
    if not clothes.is_dir():
        picture, edge = garments(clothes)
        return iter([(person.name, {**raw, "clothes": picture, "clothes_edge": edge})])

    def each() -> Iterator[Item]:
        for path in folder_pictures(clothes):
            picture, edge = garments(path)
            # A picture of its own: items that share theirs would be drawn into one.
            yield (
                f"{person.stem} {path.name}",
                {**raw, "person": raw["person"].copy(), "clothes": picture, "clothes_edge": edge},
            )

    return each()


def _people(
    pairs: list[tuple[Path, Path]],
    masks: Path | None,
    garments: _Garments,
    box: NDArray | None,
    root: Path,
    clothes: Path,
) -> Iterator[Item]:
    if masks is not None and not existing(masks).is_dir():
        raise InputError(
            f"mask={masks} is one picture for {len(pairs)} people", "each has a mask of its own", "a folder"
        )
    if not clothes.is_dir():
        garments(clothes)

    def each() -> Iterator[Item]:
        for path, worn in pairs:
            picture, edge = garments(worn)
            yield (
                path.relative_to(root).as_posix(),
                {**_person(path, masks, box), "clothes": picture, "clothes_edge": edge},
            )

    return each()


def _person(path: Path, masks: Path | None, box: NDArray | None) -> dict[str, Any]:
    picture = read_picture(path)
    raw: dict[str, Any] = {"person": picture}
    if masks is not None:
        file = _beside(masks, path)
        mask = read_mask(file)
        if mask.shape != picture.shape[:2]:
            sizes = f"{mask.shape[1]}x{mask.shape[0]} px, and the person {picture.shape[1]}x{picture.shape[0]}"
            raise InputError(f"the mask {file} does not fit {path}", f"it is {sizes}", "make it of the same size")
        raw["mask"] = checked_mask(mask, str(file))
    if box is not None:
        check_box(box, picture.shape[1], picture.shape[0])
        raw["box"] = box
    return raw


def _frames(path: Path, garment: tuple[Picture, Mask], box: NDArray | None) -> Iterator[Item]:
    frames = video_frames(path)
    first = next(frames)[0]  # what is wrong with the file is said now, not at the first item
    if box is not None:
        check_box(box, first.shape[1], first.shape[0])
    more = {} if box is None else {"box": box}

    def each() -> Iterator[Item]:
        picture, edge = garment
        for number, frame in enumerate(chain([first], (frame for frame, _ in frames))):
            yield f"{path.name} frame {number}", {"person": frame, "clothes": picture, "clothes_edge": edge, **more}

    return each()
