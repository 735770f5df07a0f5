"""Appearance flow: from a coarse to a fine level, where on the garment each pixel of the person looks (ClothFlow,
PF-AFN; DM-VTON, B3).

A flow is an absolute sampling grid (B, 2, H, W) of x, y in [-1, 1], where -1 and 1 are the centres of the outermost
pixels (``align_corners=True`` everywhere). It is float32 whatever the maps are: in bf16 a position in a picture of 192
pixels would move in steps of half a pixel. So all that computes one is a ``KeepFloat``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.joined_convolution import JoinedConvolution
from edgekd.nn.keep_float import KeepFloat
from edgekd.nn.warping import Warp

LEVELS = 5  # of the paper's pyramid: maps of 1/32 to 1/2 of the picture


@dataclass(frozen=True)
class Flows:
    """What a warping network thought of one pair, from the coarsest level on.

    Attributes:
        person, clothes: the pyramids' maps (B, C, H/32, W/32) ... (B, C', H/2, W/2), as many as it has levels.
        grids: ``LEVELS`` grids (B, 2, H/16, W/16) ... (B, 2, H, W): each level's, enlarged twice.
        offsets: what the levels' networks said, two per level, in pixels of the level.
    """

    person: Sequence[torch.Tensor]
    clothes: Sequence[torch.Tensor]
    grids: Sequence[torch.Tensor]
    offsets: Sequence[torch.Tensor]

    @property
    def grid(self) -> torch.Tensor:
        """(B, 2, H, W), of the picture's own size."""
        return self.grids[-1]


def sampling_grid(offset: torch.Tensor) -> torch.Tensor:
    """Offsets x, y in pixels (B, 2, H, W) to the grid that looks there; offsets of 0 look at every pixel itself."""
    height, width = offset.shape[-2:]
    ys = torch.arange(height, dtype=offset.dtype, device=offset.device)
    xs = torch.arange(width, dtype=offset.dtype, device=offset.device)
    pixel = torch.stack([xs.expand(height, width), ys[:, None].expand(height, width)])
    half = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=offset.dtype, device=offset.device)
    return (offset + pixel) / half[:, None, None] - 1


class OffsetConvolution(KeepFloat, nn.Conv2d):
    """A convolution that says a position."""


class Move(KeepFloat):
    """(offsets, the grid so far) -> the grid that looks where that one does at the offset places; (B, 2, H, W) each."""

    def __init__(self) -> None:
        super().__init__()
        self.warp = Warp("border")

    def forward(self, offset: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        grid = sampling_grid(offset)
        return grid if before is None else self.warp(before, grid)


class Enlargement(KeepFloat):
    """A grid of twice the size, bilinear, as the paper's code does (``align_corners=False``)."""

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return F.interpolate(grid, scale_factor=2.0, mode="bilinear", align_corners=False)


class OffsetHead(nn.Module):
    """Four 3x3 convolutions with LeakyReLU 0.1 between: maps (B, c, H, W) -> offsets (B, 2, H, W) in pixels, float32.

    A fresh head's offsets start near 0.

    Args:
        parts: channels of each map.
        width: channels of the first; the next two have a half and a quarter.
        separable: the first two are depthwise and 1x1.
    """

    def __init__(self, parts: Sequence[int], width: int = 128, separable: bool = False) -> None:
        super().__init__()
        sizes = (sum(parts), width, width // 2, width // 4)
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(sizes)):
            layers.extend(convolutions(before, after, separable and index < 2))
            layers.append(nn.LeakyReLU(0.1))
        if len(parts) > 1 and not separable:
            layers[0] = JoinedConvolution(parts, width)
        self.body = nn.Sequential(*layers)
        self.last = OffsetConvolution(sizes[-1], 2, 3, padding=1)
        nn.init.normal_(self.last.weight, std=1e-3)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        first, *rest = self.body
        alone = isinstance(first, JoinedConvolution) or len(maps) == 1
        features = first(*maps) if alone else first(torch.cat(maps, 1))
        for layer in rest:
            features = layer(features)
        if torch.is_autocast_enabled(features.device.type):
            with torch.autocast(features.device.type, enabled=False):
                return self.last(features.float())
        return self.last(features)


def convolutions(before: int, after: int, separable: bool) -> list[nn.Module]:
    """A 3x3 convolution, or a depthwise and a 1x1 one in its place."""
    if separable:
        return [nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False), nn.Conv2d(before, after, 1)]
    return [nn.Conv2d(before, after, 3, padding=1)]


class AppearanceFlow(nn.Module, ABC):
    """Refines a grid level by level. What proposes a level's first offsets is the subclass's (``propose``).

    Args:
        channels: of the two pyramids' maps, coarsest first; as many as there are levels.
        widths: of the refining heads, likewise.
        separable: likewise.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int], separable: Sequence[bool]) -> None:
        super().__init__()
        heads = zip(channels, widths, separable, strict=True)
        self.refine = nn.ModuleList([OffsetHead((own, own), width, thin) for own, width, thin in heads])
        self.warp, self.move, self.enlarge = Warp("border"), Move(), Enlargement()

    @abstractmethod
    def propose(
        self, level: int, clothes: torch.Tensor, person: torch.Tensor, style: torch.Tensor | None
    ) -> torch.Tensor:
        """Offsets (B, 2, h, w) from the level's clothes map, warped by what is known so far, and its person map."""

    def style(self, person: torch.Tensor, clothes: torch.Tensor) -> torch.Tensor | None:
        """What ``propose`` is to know of the whole pair, from the coarsest maps."""
        return None

    def forward(self, person: Sequence[torch.Tensor], clothes: Sequence[torch.Tensor]) -> Flows:
        """Maps of both pyramids, coarsest first."""
        style = self.style(person[0], clothes[0])
        grids: list[torch.Tensor] = []
        offsets: list[torch.Tensor] = []
        for level, (body, cloth) in enumerate(zip(person, clothes, strict=True)):
            before = grids[-1] if grids else None
            # Where to look from is given, not learned through: the proposal's gradient ends at the level (B3).
            seen = cloth if before is None else self._warped(cloth, before.detach())
            proposed = self.propose(level, seen, body, style)
            grid = self.move(proposed, before)
            refined = self.refine[level](self._warped(cloth, grid), body)
            grids.append(self.enlarge(self.move(refined, grid)))
            offsets += [proposed, refined]
        while len(grids) < LEVELS:  # a student without the finest levels
            grids.append(self.enlarge(grids[-1]))
        return Flows(person, clothes, grids, offsets)

    def _warped(self, maps: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled(maps.device.type):
            return self.warp(maps.float(), grid)
        return self.warp(maps, grid)
