"""Correlation of two feature maps over a square of displacements (FlowNet, Dosovitskiy et al. 2015)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from edgekd.nn.lowering import Lowerable, constant

TILE = (8, 16)  # rows and columns of the pixels whose products one matrix multiplication gives


class Correlation(Lowerable):
    """How well each pixel of ``first`` matches the pixels around it in ``second``.

    (B, C, H, W) twice -> (B, (2·radius+1)², H, W): the mean over channels of ``first(x) · second(x + d)``, for
    d from -radius to radius, y slow and x fast; ``second`` is 0 outside its map.

    Forms:
        shifts: one product of maps per displacement, each read from memory again.
        tiles: a tile of pixels times the window around it is one matrix product, of which the displacements are
            picked. It multiplies two and a half times as much (8x16 pixels, 14x22 around them), out of the cache.
    """

    op: ClassVar[str] = "correlation"
    FORMS: ClassVar[tuple[str, ...]] = ("shifts", "tiles")

    def __init__(self, radius: int = 3) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self._tiles(first, second) if self.form == "tiles" else self._shifts(first, second)

    def _shifts(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        height, width = first.shape[-2:]
        padded = F.pad(second, (self.radius,) * 4)
        span = range(2 * self.radius + 1)
        shifted = (padded[:, :, y : y + height, x : x + width] for y in span for x in span)
        return torch.stack([(first * other).mean(1) for other in shifted], 1)

    def _tiles(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = first.shape
        side = 2 * self.radius + 1
        ys, xs = _Axis(height, TILE[0], self.radius), _Axis(width, TILE[1], self.radius)
        # (B, H·W, C): one row per pixel; a tile's and its window's are gathered.
        mine, theirs = (m.permute(0, 2, 3, 1).reshape(batch, height * width, channels) for m in (first, second))
        tiles, pixels, around = ys.count * xs.count, ys.tile * xs.tile, ys.window * xs.window
        mine = mine.index_select(1, constant(_cells(ys.own, xs.own, width), mine))
        theirs = theirs.index_select(1, constant(_cells(ys.around, xs.around, width), mine))
        mine, theirs = mine.reshape(batch, tiles, pixels, channels), theirs.reshape(batch, tiles, around, channels)
        products = (theirs @ mine.transpose(2, 3)).reshape(batch, tiles * around * pixels)
        # Where pixel (y, x) with displacement (dy, dx) stands among them is a sum of what each of the four adds.
        down = np.arange(height) // ys.tile * xs.count * around * pixels
        down += np.arange(height) % ys.tile * (xs.window * pixels + xs.tile)
        right = np.arange(width) // xs.tile * around * pixels + np.arange(width) % xs.tile * (pixels + 1)
        moved = np.arange(side)[:, None] * xs.window * pixels + np.arange(side) * pixels
        places = constant(down[:, None] + right, mine)[:, :, None] + constant(moved.ravel(), mine)
        picked = products.index_select(1, places.reshape(-1)).reshape(batch, height, width, side, side)
        # A displacement that leaves the map found the border's pixel: it counts for nothing. 1/C makes the mean.
        rows = constant(ys.inside / channels, first)[:, None, :, None]
        columns = constant(xs.inside, first)[:, None, :]
        return (picked * rows * columns).reshape(batch, height, width, side * side).permute(0, 3, 1, 2)


class _Axis:
    """One axis of a map cut into tiles: as many as cover it, the last one reaching over the end where need be.

    Attributes:
        count, tile, window: tiles; pixels of each; pixels of the window around each.
        own, around: (count, tile) and (count, window), each pixel's place, at most the border's.
        inside: (size, 2·radius+1), 1 where a displacement stays on the map.
    """

    def __init__(self, size: int, tile: int, radius: int) -> None:
        self.count = -(-size // tile)
        self.tile = -(-size // self.count)
        self.window = self.tile + 2 * radius
        starts = np.arange(self.count)[:, None] * self.tile
        self.own = np.minimum(starts + np.arange(self.tile), size - 1)
        self.around = np.clip(starts - radius + np.arange(self.window), 0, size - 1)
        seen = np.arange(size)[:, None] + np.arange(-radius, radius + 1)
        self.inside = ((seen >= 0) & (seen < size)).astype(np.float64)


def _cells(ys: np.ndarray, xs: np.ndarray, width: int) -> np.ndarray:
    """The pixels' places in a row-major map, tile by tile, row by row."""
    places: np.ndarray = ys[:, None, :, None] * width + xs[None, :, None, :]
    return places.ravel()
