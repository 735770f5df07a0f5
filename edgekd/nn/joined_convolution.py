"""A convolution of several maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from edgekd.nn.lowering import Lowerable


class JoinedConvolution(nn.Conv2d, Lowerable):
    """A 3x3 convolution, padding 1, of maps joined along their channels: (B, c, H, W)... -> (B, out, H, W).

    Forms:
        joined: the maps are copied side by side.
        split: each is convolved with its own part of the weights, and the results are added.

    Args:
        parts: channels of each map.
    """

    op: ClassVar[str] = "joined_convolution"
    FORMS: ClassVar[tuple[str, ...]] = ("joined", "split")

    def __init__(self, parts: Sequence[int], out_channels: int) -> None:
        super().__init__(sum(parts), out_channels, 3, padding=1)
        self.parts = tuple(parts)
        self.take(self.form)

    def take(self, form: str) -> None:
        super().take(form)
        self.own = nn.ModuleList()
        if form == "split":
            for index, weight in enumerate(self.weight.detach().split(self.parts, 1)):
                own = nn.Conv2d(weight.shape[1], self.out_channels, 3, padding=1, bias=index == 0)
                own.weight = nn.Parameter(weight.clone())
                if index == 0 and self.bias is not None:
                    own.bias = nn.Parameter(self.bias.detach().clone())
                self.own.append(own)

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        if self.form == "joined":
            return super().forward(torch.cat(maps, 1))
        first, *others = (own(part) for own, part in zip(self.own, maps, strict=True))
        for other in others:
            first = first + other
        return first
