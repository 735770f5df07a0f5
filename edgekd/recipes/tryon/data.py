"""The recipe's data: drawn people and garments, or the published try-on sets (``viton``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.contracts import Array, Arrays
from edgekd.errors import InputError
from edgekd.recipes.contract import Batch, Datasets, Key, Sample
from edgekd.recipes.rows import Fields, fingerprint, make_rows, store_folder, stored_rows
from edgekd.recipes.tryon.wardrobe import draw_garment, draw_person

Progress = Callable[[str, float], None]
Size = tuple[int, int]  # height, width

WARDROBE_VERSION = 1  # part of the cache's key: raised when drawings change
# Far apart, so that a set's people and garments do not depend on the other sets' sizes, and no set meets another.
FIRST_DRAWN = {"test": 0, "val": 100_000_000, "train": 200_000_000}
STRANGER = 50_000_000  # garments that people wear before they try on the one asked for come from this far off

FACE_AND_HAIR, OTHERS = (1, 12), (5, 6, 8, 9, 10)  # labels that the teacher keeps (B2)
CLOTHES, CLOTHES_TOO, ARMS = 4, 7, (11, 13)
HANDS, BARE_ARMS = (3, 4), tuple(range(15, 23))  # body parts
PARTS, POINTS, POINT_RADIUS = 25, 18, 5 / 256  # a point's square is 11 x 11 px at 256 x 192


class Garment(NamedTuple):
    """(H, W, 3) uint8, and its mask (H, W) uint8, 0 or 255."""

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]


class Photo(NamedTuple):
    """A person: (H, W, 3) uint8, parsing and body parts (H, W) uint8, points (18, 3) in px, the third 0 where absent."""

    picture: NDArray[np.uint8]
    label: NDArray[np.uint8]
    part: NDArray[np.uint8]
    points: NDArray[np.float32]


class TryonSet:
    """``contract.SampleSet`` of the recipe, over people who each wear one of as many garments.

    Args:
        count: how many people.
        photo: person number -> the photo.
        garment: person number -> the garment that the person wears there.
        sample: person number -> what ``sample`` gives.
        fingerprint: sha256 over all of it, when asked.
        seed: of the random other garments.
    """

    def __init__(
        self, count: int, photo: Callable[[int], Photo], garment: Callable[[int], Garment],
        sample: Callable[[int], Sample], fingerprint: Callable[[], str], seed: int,
    ) -> None:  # fmt: skip
        self._count, self._photo, self._garment, self._sample = count, photo, garment, sample
        self._fingerprint, self.seed = fingerprint, seed

    def __len__(self) -> int:
        return self._count

    def batch(self, keys: Sequence[Key]) -> Batch:
        """Float32, each (B, C, H, W); pictures in -1..1.

        ``person`` in the garment ``clothes``, and what the teacher is told of it: ``worn`` {0, 1}, ``condition`` (45),
        ``preserve`` (3) and ``dense_preserve``, arms by body parts, before the worn garment is cut out of them (B2).
        ``other_clothes`` and ``other_edge`` are another person's garment, drawn anew each epoch. Garments are masked.
        """
        photos = [self._photo(index) for _, index in keys]
        own = [self._garment(index) for _, index in keys]
        others = [self._garment(self._other(epoch, index)) for epoch, index in keys]
        clothes, edge = _garments(own)
        other_clothes, other_edge = _garments(others)
        told = representation(photos)
        return {
            "person": normalized([p.picture for p in photos]), "clothes": clothes, "clothes_edge": edge,
            "other_clothes": other_clothes, "other_edge": other_edge, **told,
        }  # fmt: skip

    def _other(self, epoch: int, index: int) -> int:
        key = np.array([self.seed, index], np.uint64)
        draw = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, epoch])).integers(1, max(2, self._count))
        return int((index + draw) % self._count)

    def sample(self, index: int) -> Sample:
        """A person in another garment where there is such a picture, the garment to try on, and the truth."""
        return self._sample(index)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over pictures and labels."""
        return self._fingerprint()


def normalized(pictures: Sequence[Array]) -> torch.Tensor:
    """(B, 3, H, W) in -1..1 of (H, W, 3) uint8."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float().div_(127.5).sub_(1)


def _garments(garments: Sequence[Garment]) -> tuple[torch.Tensor, torch.Tensor]:
    """Masked after normalisation, so that the background is 0, mid-grey (B6)."""
    edge = torch.from_numpy(np.stack([g.mask for g in garments]) > 127)[:, None].float()
    return normalized([g.picture for g in garments]) * edge, edge


def representation(photos: Sequence[Photo]) -> Batch:
    """What the teacher is told about people besides the garment (B2): see ``TryonSet.batch``."""
    label = torch.from_numpy(np.stack([p.label for p in photos]))
    part = torch.from_numpy(np.stack([p.part for p in photos]))
    label = torch.where(label == CLOTHES_TOO, CLOTHES, label)

    def one_of(values: torch.Tensor, names: Sequence[int]) -> torch.Tensor:
        return torch.isin(values, torch.tensor(names, dtype=values.dtype))[:, None].float()

    face, others = one_of(label, FACE_AND_HAIR), one_of(label, OTHERS)
    hands = one_of(label, ARMS) * one_of(part, HANDS)
    parts = torch.nn.functional.one_hot(part.long(), PARTS).permute(0, 3, 1, 2).float()
    points = torch.from_numpy(np.stack([point_maps(p.points, p.label.shape) for p in photos]))
    person = normalized([p.picture for p in photos])
    return {
        "worn": one_of(label, (CLOTHES,)),
        "condition": torch.cat([face, others, parts, points], 1),
        "preserve": person * (face + others + hands),
        "dense_preserve": one_of(part, BARE_ARMS),
    }


def point_maps(points: Array, size: tuple[int, ...]) -> NDArray[np.float32]:
    """(18, H, W): 1 in a square about each point, -1 elsewhere, everywhere where the point is absent.

    Args:
        points: (18, 3) x, y in px, and 0 where absent.
    """
    height, width = size
    maps = np.full((len(points), height, width), -1, np.float32)
    radius = round(POINT_RADIUS * height)
    for own, (x, y, there) in zip(maps, points, strict=True):
        if there > 0:
            row, column = int(y), int(x)
            own[
                max(0, row - radius) : max(0, row + radius + 1), max(0, column - radius) : max(0, column + radius + 1)
            ] = 1
    return maps


def datasets(
    sources: Sequence[str], size: Size, seed: int, held: Mapping[str, int], cache: Path, progress: Progress
) -> Datasets:
    """Train, val and test of a source.

    Args:
        sources: one of ``wardrobe:N`` (N drawn people to train on), ``viton:DIR``, ``viton-clean:DIR``.
        size: (height, width) of all pictures.
        held: how many people ``val`` and ``test`` have.
        cache: folder for drawn people; made if missing.
        progress: (what is being done, share done 0..1).

    Raises:
        InputError: an unknown source, several, or one whose files cannot be used.
        MachineError: the cache cannot be written.
    """
    kind, place = parse_source(sources)
    if kind != "wardrobe":
        from edgekd.recipes.tryon.viton import viton_datasets

        return viton_datasets(kind, Path(place), size, seed, held["val"], progress)
    counts = {"train": int(place), **held}
    sets = {name: _wardrobe(name, counts[name], size, seed, cache, progress) for name in ("train", "val", "test")}
    provenance: dict[str, Any] = {
        "sources": [{"source": "wardrobe", "seed": seed, "licence": "drawn by edgekd (Apache-2.0)"}],
        "labels": {"teacher": "none: drawn labels and warps are exact", "licence": "drawn by edgekd (Apache-2.0)"},
        "split": counts,
    }
    return Datasets(sets["train"], sets["val"], sets["test"], provenance)


def parse_source(sources: Sequence[str]) -> tuple[str, str]:
    """(kind, what follows it).

    Raises:
        InputError: none, several, or unknown.
    """
    fix = "--data wardrobe:2000, viton:DIR or viton-clean:DIR"
    if len(sources) != 1:
        raise InputError(f"data.source names {len(sources)} sources", "people are trained on one at a time", fix)
    kind, _, place = sources[0].partition(":")
    if kind not in ("wardrobe", "viton", "viton-clean"):
        raise InputError(f"unknown data source {sources[0]!r}", fix=fix)
    if kind == "wardrobe" and not (place.isdecimal() and 2 <= int(place) <= FIRST_DRAWN["val"] // 2):
        raise InputError(
            f"{sources[0]!r} says no number of people", "at least 2, so that there is another garment", fix
        )
    if not place:
        raise InputError(f"{sources[0]!r} names no folder", fix=fix)
    return kind, place


def draw_share(
    sources: Sequence[str], size: Size, seed: int, held: Mapping[str, int], cache: Path, progress: Progress,
    share: tuple[int, int],
) -> None:  # fmt: skip
    """One of several processes' part of what is slow in ``datasets``: drawing. ``share``: (which, of how many)."""
    kind, place = parse_source(sources)
    if kind == "wardrobe":
        for name, count in {"train": int(place), **held}.items():
            make_rows(*_store(name, count, size, seed, cache, progress), share)


def _fields(name: str, size: Size) -> Fields:
    height, width = size
    fields: dict[str, tuple[tuple[int, ...], str]] = {
        "picture": ((height, width, 3), "uint8"), "label": ((height, width), "uint8"), "part": ((height, width), "uint8"),
        "points": ((POINTS, 3), "float32"), "clothes": ((height, width, 3), "uint8"), "mask": ((height, width), "uint8"),
    }  # fmt: skip
    if name != "train":  # of which only what calibrates is ever judged
        fields |= {"before": ((height, width, 3), "uint8"), "grid": ((height, width, 2), "float32"), "seen": ((height, width), "uint8")}  # fmt: skip  # noqa: E501
    return fields


def _store(
    name: str, count: int, size: Size, seed: int, cache: Path, progress: Progress
) -> tuple[Path, Fields, int, Callable[[int], Arrays], Callable[[float], None]]:
    fields = _fields(name, size)

    def make(index: int) -> Arrays:
        return _drawn(name, index, size, seed)

    key = {"version": WARDROBE_VERSION, "seed": seed, "set": name, "count": count, "size": list(size)}
    return (
        store_folder(cache, "wardrobe", key),
        fields,
        count,
        make,
        lambda share: progress(f"drawing {name} people", share),
    )


def _drawn(name: str, index: int, size: Size, seed: int) -> dict[str, Array]:
    """All that is known of person ``index`` of a set."""
    number = FIRST_DRAWN[name] + index
    dressed = draw_person(seed, number, number, size)
    clothes, mask = draw_garment(seed, number, size)
    found = {
        "picture": dressed.image, "label": dressed.label, "part": dressed.part, "points": dressed.points,
        "clothes": clothes, "mask": mask,
    }  # fmt: skip
    if name != "train":
        found |= {
            "grid": dressed.grid,
            "seen": dressed.seen,
            "before": draw_person(seed, number, number + STRANGER, size).image,
        }
    return found


def _wardrobe(name: str, count: int, size: Size, seed: int, cache: Path, progress: Progress) -> TryonSet:
    rows = stored_rows(*_store(name, count, size, seed, cache, progress))

    def photo(index: int) -> Photo:
        return Photo(*(np.array(rows[field][index]) for field in ("picture", "label", "part", "points")))

    def sample(index: int) -> Sample:
        row = {field: np.array(values[index]) for field, values in rows.items()}
        if name == "train":
            number = FIRST_DRAWN[name] + index
            dressed = draw_person(seed, number, number, size)
            row |= {
                "before": draw_person(seed, number, number + STRANGER, size).image,
                "grid": dressed.grid,
                "seen": dressed.seen,
            }
        raw = {"person": row["before"], "clothes": row["clothes"], "clothes_edge": row["mask"]}
        worn = np.where(row["label"] == CLOTHES, 255, 0).astype(np.uint8)
        return Sample(raw, {"tryon": row["picture"], "worn": worn, "grid": row["grid"], "seen": row["seen"]})

    def garment(index: int) -> Garment:
        return Garment(np.array(rows["clothes"][index]), np.array(rows["mask"][index]))

    return TryonSet(count, photo, garment, sample, lambda: fingerprint(rows), seed)
