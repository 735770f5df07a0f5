"""A set of people in garments: what is trained on, and what is judged, whatever the people come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.contracts import Array
from edgekd.recipes.contract import Batch, Key, Sample

FACE_AND_HAIR, OTHERS = (1, 12), (5, 6, 8, 9, 10)  # labels that the teacher keeps (B2)
CLOTHES, CLOTHES_TOO, ARMS = 4, 7, (11, 13)
HANDS, BARE_ARMS = (3, 4), tuple(range(15, 23))  # body parts
PARTS, POINTS, POINT_RADIUS = 25, 18, 5 / 256  # a point's square is 11 x 11 px at 256 x 192


class Garment(NamedTuple):
    """(H, W, 3) uint8, and its mask (H, W) uint8, 0 or 255."""

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]


class Photo(NamedTuple):
    """A person: (H, W, 3) uint8; parsing and body parts (H, W) uint8; points (18, 3), x, y in px and 0 where absent."""

    picture: NDArray[np.uint8]
    label: NDArray[np.uint8]
    part: NDArray[np.uint8]
    points: NDArray[np.float32]


class TrueWarp(NamedTuple):
    """Where on the garment each pixel looks: (H, W, 2) x, y in -1..1; and where that is seen, (H, W) uint8, not 0."""

    grid: NDArray[np.float32]
    seen: NDArray[np.uint8]


class TryonSet:
    """``contract.SampleSet`` of the recipe, over people who each wear one of as many garments.

    Args:
        count: how many people.
        photo: person number -> the photo.
        garment: person number -> the garment that the person wears there.
        sample: person number -> what ``sample`` gives.
        fingerprint: sha256 over all of it, when asked.
        seed: of the random other garments.
        warp: person number -> the true warp, of people for whom it is known.
    """

    def __init__(
        self, count: int, photo: Callable[[int], Photo], garment: Callable[[int], Garment],
        sample: Callable[[int], Sample], fingerprint: Callable[[], str], seed: int,
        warp: Callable[[int], TrueWarp] | None = None,
    ) -> None:  # fmt: skip
        self._count, self._photo, self._garment, self._sample = count, photo, garment, sample
        self._fingerprint, self.seed, self._warp = fingerprint, seed, warp

    def __len__(self) -> int:
        return self._count

    def batch(self, keys: Sequence[Key]) -> Batch:
        """Float32, each (B, C, H, W); pictures in -1..1.

        ``person`` in the garment ``clothes``, and what the teacher is told of it: ``worn`` {0, 1}, ``condition`` (45),
        ``preserve`` (3) and ``dense_preserve``, arms by body parts, before the worn garment is cut out of them (B2).
        ``other_clothes`` and ``other_edge`` are another person's garment, drawn anew each epoch. Garments are masked.
        ``true_grid`` (2) and ``seen`` {0, 1} where the true warp is known.
        """
        photos = [self._photo(index) for _, index in keys]
        own = [self._garment(index) for _, index in keys]
        others = [self._garment(self._other(epoch, index)) for epoch, index in keys]
        clothes, edge = _garments(own)
        other_clothes, other_edge = _garments(others)
        told = representation(photos)
        if self._warp is not None:
            warps = [self._warp(index) for _, index in keys]
            told["true_grid"] = torch.from_numpy(np.stack([w.grid for w in warps])).permute(0, 3, 1, 2).float()
            told["seen"] = torch.from_numpy(np.stack([w.seen for w in warps]) > 0)[:, None].float()
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
