"""CSPDarknet, as YOLOX has it (arXiv 2107.08430): a picture becomes maps at an 8th, a 16th and a 32nd of its size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.convolution import ConvNormAct
from edgekd.nn.focus import FocusConv

Maps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # of strides 8, 16, 32
Activation = Callable[[], nn.Module]
Conv = Callable[..., ConvNormAct]  # (in, out, kernel, stride) with the network's activation


def stem(kind: str, out_channels: int, activation: Activation) -> nn.Sequential:
    """(B, 3, H, W) -> (B, out_channels, H/2, W/2): ``focus``, or ``conv``, a strided 3x3 convolution."""
    first = FocusConv(3, out_channels) if kind == "focus" else nn.Conv2d(3, out_channels, 3, 2, 1, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(out_channels), activation())


class Bottleneck(nn.Module):
    """1x1, then 3x3, of one width; the input is added where ``shortcut`` says so."""

    def __init__(self, channels: int, shortcut: bool, conv: Conv) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(channels, channels, 1), conv(channels, channels, 3))
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class CSPLayer(nn.Module):
    """Half of the channels goes through the bottlenecks, half passes them by."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, shortcut: bool, conv: Conv) -> None:
        super().__init__()
        half = out_channels // 2
        self.through, self.past = conv(in_channels, half, 1), conv(in_channels, half, 1)
        self.blocks = nn.Sequential(*(Bottleneck(half, shortcut, conv) for _ in range(blocks)))
        self.join = conv(2 * half, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(torch.cat((self.blocks(self.through(x)), self.past(x)), dim=1))


class SpatialPyramid(nn.Module):
    """What lies within 2, 4 and 6 pixels is pooled to every place."""

    KERNELS = (5, 9, 13)

    def __init__(self, channels: int, conv: Conv) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = conv(channels, half, 1)
        self.join = conv(half * (1 + len(self.KERNELS)), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.reduce(x)
        pooled = [F.max_pool2d(x, kernel, stride=1, padding=kernel // 2) for kernel in self.KERNELS]
        return self.join(torch.cat((x, *pooled), dim=1))


class CSPDarknet(nn.Module):
    """(B, 3, H, W) BGR, 0..255 -> maps of ``channels`` C3, C4, C5 (DAMO-StreamNet's own table gives S, M, L)."""

    def __init__(self, depth: float, width: float, stem_kind: str, activation: Activation) -> None:
        super().__init__()
        conv = partial(ConvNormAct, activation=activation)
        base, blocks = int(64 * width), max(round(3 * depth), 1)
        self.channels = (4 * base, 8 * base, 16 * base)
        self.stem = stem(stem_kind, base, activation)
        self.dark2 = self._stage(base, 2 * base, blocks, conv)
        self.dark3 = self._stage(2 * base, 4 * base, 3 * blocks, conv)
        self.dark4 = self._stage(4 * base, 8 * base, 3 * blocks, conv)
        self.dark5 = nn.Sequential(
            conv(8 * base, 16 * base, 3, 2),
            SpatialPyramid(16 * base, conv),
            CSPLayer(16 * base, 16 * base, blocks, False, conv),
        )

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int, conv: Conv) -> nn.Sequential:
        down = conv(in_channels, out_channels, 3, 2)
        return nn.Sequential(down, CSPLayer(out_channels, out_channels, blocks, True, conv))

    def forward(self, image: torch.Tensor) -> Maps:
        c3 = self.dark3(self.dark2(self.stem(image)))
        c4 = self.dark4(c3)
        return c3, c4, self.dark5(c4)
