"""Warping: a map sampled bilinearly where a grid of absolute positions says (spatial transformer, 2015)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch.nn import functional as F

from edgekd.nn.lowering import Lowerable


class Warp(Lowerable):
    """Samples (B, C, H, W) at a grid (B, 2, H', W') of x, y -> (B, C, H', W').

    The grid is absolute: -1 and 1 are the centres of the outermost pixels (``align_corners=True``).

    Args:
        padding: what lies outside the map: its ``border`` pixels, or ``zeros``.
    """

    op: ClassVar[str] = "warp"
    FORMS: ClassVar[tuple[str, ...]] = ("grid_sample",)

    def __init__(self, padding: Literal["border", "zeros"] = "border") -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        places = grid.permute(0, 2, 3, 1)
        return F.grid_sample(x, places, mode="bilinear", padding_mode=self.padding, align_corners=True)
