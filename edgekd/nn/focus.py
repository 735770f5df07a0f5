"""Focus (YOLOv5, YOLOX): a convolution of a picture of half the size, whose channels are 2x2 squares of pixels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.lowering import Lowerable

SQUARE = ((0, 0), (1, 0), (0, 1), (1, 1))  # (row, column) of the pixels of a square, in the published order


class FocusConv(nn.Conv2d, Lowerable):
    """(B, C, H, W) of even sides -> (B, out_channels, H/2, W/2): four pixels become 4C channels, then 3x3, no bias.

    It is a convolution, so a BatchNorm behind it folds into it.

    Forms: ``slices`` cuts the four pixels apart and joins them; ``space_to_depth`` is one rearrangement, whose own
    order of channels goes into the weights.
    """

    op: ClassVar[str] = "focus"
    FORMS: ClassVar[tuple[str, ...]] = ("slices", "space_to_depth")

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(4 * in_channels, out_channels, kernel_size=3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.form == "slices":
            pixels = torch.cat([x[..., row::2, column::2] for row, column in SQUARE], dim=1)
            return self._conv_forward(pixels, self.weight, self.bias)
        by_pixel = self.weight.unflatten(1, (4, -1))[:, [SQUARE.index((n // 2, n % 2)) for n in range(4)]]
        return self._conv_forward(F.pixel_unshuffle(x, 2), by_pixel.transpose(1, 2).flatten(1, 2), self.bias)
