"""Warping: a map sampled bilinearly where a grid of absolute positions says (spatial transformer, 2015)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch.nn import functional as F

from edgekd.nn.keep_float import KeepFloat
from edgekd.nn.lowering import Lowerable

FEW_CHANNELS = 16  # fewer are not worth turning into rows


class Warp(Lowerable):
    """Samples (B, C, H, W) at a grid (B, 2, H', W') of x, y -> (B, C, H', W').

    The grid is absolute: -1 and 1 are the centres of the outermost pixels (``align_corners=True``).

    Forms:
        grid_sample: the runtime's own operation, channel by channel.
        rows: four gathers of whole pixels (all channels at once) and their weighted sum; maps of few channels stay
            with ``grid_sample``.

    Args:
        padding: what lies outside the map: its ``border`` pixels, or ``zeros``.
    """

    op: ClassVar[str] = "warp"
    FORMS: ClassVar[tuple[str, ...]] = ("grid_sample", "rows")

    def __init__(self, padding: Literal["border", "zeros"] = "border") -> None:
        super().__init__()
        self.padding = padding
        self.corners = Corners()

    def forward(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        if self.form == "rows" and x.shape[1] >= FEW_CHANNELS:
            return self._rows(x, grid)
        places = grid.permute(0, 2, 3, 1)
        return F.grid_sample(x, places, mode="bilinear", padding_mode=self.padding, align_corners=True)

    def _rows(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        around = self.padding == "zeros"  # a frame of zeros, beyond which all is zero
        if around:
            x, height, width = F.pad(x, (1, 1, 1, 1)), height + 2, width + 2
        batch, channels = x.shape[:2]
        corner, *weights = self.corners(grid, height, width, around)
        pixels = x.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
        steps = (0, 1 if width > 1 else 0, width if height > 1 else 0)
        sides = (0, steps[1], steps[2], steps[1] + steps[2])
        a, b, c, d = (
            pixels.index_select(0, corner + step if step else corner) * weight
            for step, weight in zip(sides, weights, strict=True)
        )
        return (a + b + c + d).reshape(batch, *grid.shape[-2:], channels).permute(0, 3, 1, 2)


class Corners(KeepFloat):
    """Which four pixels of a map a grid looks between, and how much each counts."""

    def forward(self, grid: torch.Tensor, height: int, width: int, around: bool) -> tuple[torch.Tensor, ...]:
        """(B, 2, H', W') over B maps of (height, width) in rows of pixels -> the upper left pixels' rows
        (B·H'·W',) int32, and the weights (B·H'·W', 1) of upper left, upper right, lower left and lower right.

        Args:
            around: the maps have a frame of one pixel that the grid does not count.
        """
        inner = (height - 2, width - 2) if around else (height, width)
        column, row = (
            ((part + 1) * ((own - 1) / 2) + int(around)).clamp(0, size - 1).reshape(grid.shape[0], -1)
            # A split, not two selections, which OpenVINO makes anew when it compiles: then in bf16.
            for part, own, size in zip(grid.split(1, dim=1), inner[::-1], (width, height), strict=True)
        )
        # The last pixel of a row is the right one of a pair, so that the four are always i, i+1, i+W, i+W+1.
        left, top = column.floor().clamp(max=max(width - 2, 0)), row.floor().clamp(max=max(height - 2, 0))
        right, bottom = column - left, row - top
        corner = (top * width + left).to(torch.int32)
        if (batch := grid.shape[0]) > 1:
            corner = corner + torch.arange(batch, dtype=torch.int32, device=grid.device)[:, None] * (height * width)
        weights = ((1 - right) * (1 - bottom), right * (1 - bottom), (1 - right) * bottom, right * bottom)
        return corner.reshape(-1), *(weight.reshape(-1, 1) for weight in weights)
