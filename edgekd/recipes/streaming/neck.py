"""Necks, from maps to maps of the same sizes: DRFPN, DAMO-StreamNet's (IJCAI 2023), and PAFPN, its teacher's (YOLOX).

Sides need not be multiples of 32: 75 rows become 38, which go back up to 75. So maps are resized to sizes, never by
factors.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.convolution import ConvNormAct
from edgekd.nn.deformable import DeformableConv
from edgekd.nn.reparameterized import RepConv
from edgekd.recipes.streaming.backbone import Activation, Conv, CSPLayer, Maps


class Block(nn.Module):
    """A re-parameterised 3x3 convolution to ``hidden`` channels, a deformable or plain one back; plus the input."""

    def __init__(self, channels: int, hidden: int, kind: str, activation: Activation) -> None:
        super().__init__()
        last = (
            DeformableConv(hidden, channels)
            if kind == "deformable"
            else nn.Conv2d(hidden, channels, 3, padding=1, bias=False)
        )
        self.layers = nn.Sequential(RepConv(channels, hidden), activation(), last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Stage(nn.Module):
    """Half of the channels goes through a chain of blocks, and what each block says is kept."""

    def __init__(
        self, in_channels: int, out_channels: int, blocks: int, ratio: float, kind: str, activation: Activation
    ) -> None:
        super().__init__()
        half, conv = out_channels // 2, partial(ConvNormAct, activation=activation)
        self.past, self.through = conv(in_channels, half, 1), conv(in_channels, half, 1)
        self.blocks = nn.ModuleList(Block(half, int(half * ratio), kind, activation) for _ in range(blocks))
        self.join = conv(half * (1 + blocks), out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, y = [self.past(x)], self.through(x)
        for block in self.blocks:
            y = block(y)
            kept.append(y)
        return self.join(torch.cat(kept, dim=1))


class DRFPN(nn.Module):
    """Top-down, then bottom-up, each stage of both ways sees the finer map beside the coarser one."""

    def __init__(
        self, channels: tuple[int, int, int], blocks: int, ratio: float, kind: str, activation: Activation
    ) -> None:
        super().__init__()
        c3, c4, c5 = channels

        def stage(in_channels: int, out_channels: int) -> Stage:
            return Stage(in_channels, out_channels, blocks, ratio, kind, activation)

        def down(channels: int) -> ConvNormAct:
            return ConvNormAct(channels, channels, 3, 2, activation=activation)

        self.c4_down, self.m3 = down(c4), stage(c5 + c4, c5)
        self.c3_down, self.m4 = down(c3), stage(c4 + c3 + c5, c4)
        self.p3 = stage(c3 + c4, c3)
        self.p3_down, self.p4 = down(c3), stage(c4 + c3, c4)
        self.m4_down, self.p4_down, self.p5 = down(c4), down(c4), stage(c5 + c4 + c4, c5)

    def forward(self, maps: Maps) -> Maps:
        c3, c4, c5 = maps
        m3 = self.m3(torch.cat((c5, self.c4_down(c4)), dim=1))
        m4 = self.m4(torch.cat((c4, self.c3_down(c3), enlarged(m3, c4)), dim=1))
        p3 = self.p3(torch.cat((c3, enlarged(m4, c3)), dim=1))
        p4 = self.p4(torch.cat((m4, self.p3_down(p3)), dim=1))
        p5 = self.p5(torch.cat((m3, self.m4_down(m4), self.p4_down(p4)), dim=1))
        return p3, p4, p5


class PAFPN(nn.Module):
    """The path aggregation network of YOLOX, of CSP layers."""

    def __init__(self, channels: tuple[int, int, int], depth: float, activation: Activation) -> None:
        super().__init__()
        c3, c4, c5 = channels
        conv: Conv = partial(ConvNormAct, activation=activation)
        blocks = round(3 * depth)

        def csp(in_channels: int, out_channels: int) -> CSPLayer:
            return CSPLayer(in_channels, out_channels, blocks, False, conv)

        self.c5_narrow, self.m4 = conv(c5, c4, 1), csp(2 * c4, c4)
        self.m4_narrow, self.p3 = conv(c4, c3, 1), csp(2 * c3, c3)
        self.p3_down, self.p4 = conv(c3, c3, 3, 2), csp(2 * c3, c4)
        self.p4_down, self.p5 = conv(c4, c4, 3, 2), csp(2 * c4, c5)

    def forward(self, maps: Maps) -> Maps:
        c3, c4, c5 = maps
        m5 = self.c5_narrow(c5)
        m4 = self.m4_narrow(self.m4(torch.cat((enlarged(m5, c4), c4), dim=1)))
        p3 = self.p3(torch.cat((enlarged(m4, c3), c3), dim=1))
        p4 = self.p4(torch.cat((self.p3_down(p3), m4), dim=1))
        p5 = self.p5(torch.cat((self.p4_down(p4), m5), dim=1))
        return p3, p4, p5


def enlarged(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """To the height and width of ``like``, nearest."""
    return F.interpolate(x, size=[int(n) for n in like.shape[2:]], mode="nearest")
