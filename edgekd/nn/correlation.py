"""Correlation of two feature maps over a square of displacements (FlowNet, Dosovitskiy et al. 2015)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn import functional as F

from edgekd.nn.lowering import Lowerable


class Correlation(Lowerable):
    """How well each pixel of ``first`` matches the pixels around it in ``second``.

    (B, C, H, W) twice -> (B, (2·radius+1)², H, W): the mean over channels of ``first(x) · second(x + d)``, for
    d from -radius to radius, y slow and x fast; ``second`` is 0 outside its map.
    """

    op: ClassVar[str] = "correlation"
    FORMS: ClassVar[tuple[str, ...]] = ("shifts",)

    def __init__(self, radius: int = 3) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        height, width = first.shape[-2:]
        padded = F.pad(second, (self.radius,) * 4)
        span = range(2 * self.radius + 1)
        shifted = (padded[:, :, y : y + height, x : x + width] for y in span for x in span)
        return torch.stack([(first * other).mean(1) for other in shifted], 1)
