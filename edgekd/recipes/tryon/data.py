"""The recipe's data: drawn people and garments, or the published try-on sets (``viton``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.contracts import Array, Arrays
from edgekd.errors import InputError
from edgekd.recipes.contract import Datasets, Sample
from edgekd.recipes.rows import Fields, fingerprint, make_rows, store_folder, stored_rows
from edgekd.recipes.tryon.samples import CLOTHES, POINTS, Garment, Photo, TrueWarp, TryonSet
from edgekd.recipes.tryon.viton import viton_datasets
from edgekd.recipes.tryon.wardrobe import draw_garment, draw_person

Progress = Callable[[str, float], None]
Size = tuple[int, int]  # height, width

WARDROBE_VERSION = 6  # part of the cache's key: raised when drawings change
# Far apart, so that a set's people and garments do not depend on the other sets' sizes, and no set meets another.
FIRST_DRAWN = {"test": 0, "val": 100_000_000, "train": 200_000_000}
STRANGER = 50_000_000  # garments that people wear before they try on the one asked for come from this far off


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
        "picture": ((height, width, 3), "uint8"),
        "label": ((height, width), "uint8"),
        "part": ((height, width), "uint8"),
        "points": ((POINTS, 3), "float32"),
        "clothes": ((height, width, 3), "uint8"),
        "mask": ((height, width), "uint8"),
        "grid": ((height, width, 2), "float32"),
        "seen": ((height, width), "uint8"),
    }
    if name != "train":  # of which only what calibrates is ever judged
        fields["before"] = ((height, width, 3), "uint8")
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
    found: dict[str, Array] = {
        "picture": dressed.image, "label": dressed.label, "part": dressed.part, "points": dressed.points,
        "clothes": clothes, "mask": mask, "grid": dressed.grid, "seen": dressed.seen,
    }  # fmt: skip
    if name != "train":
        found["before"] = _before(seed, number, size)
    return found


def _before(seed: int, number: int, size: Size) -> Array:
    """The person in a stranger's garment."""
    return draw_person(seed, number, number + STRANGER, size).image


def _wardrobe(name: str, count: int, size: Size, seed: int, cache: Path, progress: Progress) -> TryonSet:
    rows = stored_rows(*_store(name, count, size, seed, cache, progress))

    def photo(index: int) -> Photo:
        return Photo(*(np.array(rows[field][index]) for field in ("picture", "label", "part", "points")))

    def sample(index: int) -> Sample:
        row = {field: np.array(values[index]) for field, values in rows.items()}
        if name == "train":
            row["before"] = _before(seed, FIRST_DRAWN[name] + index, size)
        raw = {"person": row["before"], "clothes": row["clothes"], "clothes_edge": row["mask"]}
        worn = np.where(row["label"] == CLOTHES, 255, 0).astype(np.uint8)
        return Sample(raw, {"tryon": row["picture"], "worn": worn, "grid": row["grid"], "seen": row["seen"]})

    def garment(index: int) -> Garment:
        return Garment(np.array(rows["clothes"][index]), np.array(rows["mask"][index]))

    def warp(index: int) -> TrueWarp:
        return TrueWarp(np.array(rows["grid"][index]), np.array(rows["seen"][index]))

    return TryonSet(count, photo, garment, sample, lambda: fingerprint(rows), seed, warp)
