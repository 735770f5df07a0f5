"""Warping: a map sampled bilinearly where a grid of absolute positions says (spatial transformer, 2015)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch.nn import functional as F

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

    def forward(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        if self.form == "rows" and x.shape[1] >= FEW_CHANNELS:
            return self._rows(x, grid)
        places = grid.permute(0, 2, 3, 1)
        return F.grid_sample(x, places, mode="bilinear", padding_mode=self.padding, align_corners=True)

    def _rows(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        column = (grid[:, 0] + 1) * ((width - 1) / 2)
        row = (grid[:, 1] + 1) * ((height - 1) / 2)
        if self.padding == "zeros":  # a frame of zeros, beyond which all is zero
            x, column, row, height, width = F.pad(x, (1, 1, 1, 1)), column + 1, row + 1, height + 2, width + 2
        batch, channels = x.shape[:2]
        column, row = (_flat(p, size) for p, size in ((column, width), (row, height)))
        # The last pixel of a row is the right one of a pair, so that the four are always i, i+1, i+W, i+W+1.
        left, top = column.floor().clamp(max=max(width - 2, 0)), row.floor().clamp(max=max(height - 2, 0))
        right, bottom = column - left, row - top
        corner = (top * width + left).to(torch.int32)
        if batch > 1:
            corner = corner + torch.arange(batch, dtype=torch.int32, device=x.device)[:, None] * (height * width)
        corner = corner.reshape(-1)
        pixels = x.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
        weights = ((1 - right) * (1 - bottom), right * (1 - bottom), (1 - right) * bottom, right * bottom)
        steps = (0, 1 if width > 1 else 0, width if height > 1 else 0)
        sides = (0, steps[1], steps[2], steps[1] + steps[2])
        a, b, c, d = (
            pixels.index_select(0, corner + step if step else corner) * weight.reshape(-1, 1)
            for step, weight in zip(sides, weights, strict=True)
        )
        return (a + b + c + d).reshape(batch, *grid.shape[-2:], channels).permute(0, 3, 1, 2)


def _flat(position: torch.Tensor, size: int) -> torch.Tensor:
    """(B, H', W') in pixels -> (B, H'·W'), held within the map."""
    return position.clamp(0, size - 1).reshape(position.shape[0], -1)
