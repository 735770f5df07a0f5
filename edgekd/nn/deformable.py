"""Deformable convolution (Dai et al., ICCV 2017): every tap of the kernel samples where a learned offset says."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.keep_float import KeepFloat
from edgekd.nn.lowering import Lowerable


class DeformableConv(Lowerable):
    """3x3 deformable convolution of the first version: no mask, no bias, one offset per tap and place for all channels.

    (B, C, H, W) -> (B, out_channels, H, W). The offsets come from a 3x3 convolution with bias that starts at zero, so
    that a fresh layer is a plain convolution. They are in pixels, y before x, tap by tap; outside of the map is 0.

    Forms: ``grid_sample`` samples all nine taps at once, as one map nine times as high, and multiplies with a 1x1
    convolution: portable. ``native`` is one operator, which becomes ONNX's DeformConv; it has no gradient.
    """

    op: ClassVar[str] = "deform"
    FORMS: ClassVar[tuple[str, ...]] = ("grid_sample", "native")
    KERNEL: ClassVar[int] = 3

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        k = self.KERNEL
        self.offsets = nn.Conv2d(in_channels, 2 * k * k, k, padding=k // 2)
        self.taps = SampledTaps(k)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, k, k))
        nn.init.zeros_(self.offsets.weight)
        assert self.offsets.bias is not None
        nn.init.zeros_(self.offsets.bias)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as torch's own convolutions

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offsets = self.offsets(x)
        if self.form == "native":
            return deform_conv2d(x, offsets, self.weight)
        return _product(self.taps(x, offsets), self.weight)


class SampledTaps(KeepFloat):
    """What every tap of a deformable kernel sees: (B, C, H, W) and offsets -> (B, C * kernel², H, W).

    The taps of a channel are together; bilinear, 0 outside. Offsets are (B, 2 * kernel², H, W) in pixels: y, x of the
    first tap, y, x of the second, row by row. Places are fp32: bf16 has 8 bits, and beyond column 256 no single pixel.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._sampled(x.float(), offsets.float())
        return self._sampled(x, offsets)

    def _sampled(self, x: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = (int(n) for n in x.shape)
        kernel, taps = self.kernel, self.kernel * self.kernel
        shifted = offsets.reshape(batch, taps, 2, height, width)
        reach = torch.arange(kernel, dtype=x.dtype, device=x.device) - kernel // 2
        rows = torch.arange(height, dtype=x.dtype, device=x.device).view(1, height, 1)
        columns = torch.arange(width, dtype=x.dtype, device=x.device).view(1, 1, width)
        # In grid_sample's unit, in which -1 and 1 are the map's outer edges: exact for a map of one pixel, too.
        base_y = (2 * (rows + reach.repeat_interleave(kernel).view(taps, 1, 1)) + 1) / height - 1
        base_x = (2 * (columns + reach.repeat(kernel).view(taps, 1, 1)) + 1) / width - 1
        y = shifted[:, :, 0] * (2 / height) + base_y
        x_ = shifted[:, :, 1] * (2 / width) + base_x
        grid = torch.stack((x_, y), dim=-1).reshape(batch, taps * height, width, 2)
        seen = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return seen.reshape(batch, channels * taps, height, width)


def _product(columns: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.conv2d(columns, weight.reshape(weight.shape[0], -1, 1, 1))


@torch.library.custom_op("edgekd::deform_conv2d", mutates_args=())
def deform_conv2d(x: torch.Tensor, offsets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The whole layer as one operator, for exporters that have one: see ``edgekd.conversion.to_onnx``."""
    return _product(SampledTaps(weight.shape[-1])(x, offsets), weight)


@deform_conv2d.register_fake
def _(x: torch.Tensor, offsets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:])


DEFORM_CONV2D = torch.ops.edgekd.deform_conv2d.default  # as it stands in an exported program
