"""Blocks that are trained with several branches and run as one convolution (RepVGG, CVPR 2021)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.convolution import ConvNormAct


class RepConv(nn.Module):
    """The sum of a 3x3 and a 1x1 convolution, each with its BatchNorm; (B, C, H, W) -> (B, out_channels, H, W).

    No identity branch and no activation. ``edgekd.nn.folding.fold_batchnorm`` makes one 3x3 convolution of it.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.wide = ConvNormAct(in_channels, out_channels, 3, activation=None)
        self.narrow = ConvNormAct(in_channels, out_channels, 1, activation=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.wide(x) + self.narrow(x)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        wide, narrow = self.wide[0], self.narrow[0]
        assert isinstance(wide, nn.Conv2d)
        assert isinstance(narrow, nn.Conv2d)
        if wide.bias is None or narrow.bias is None:
            raise ValueError("a BatchNorm still stands behind a branch: fold it first")
        one = nn.Conv2d(wide.in_channels, wide.out_channels, 3, padding=1, device=wide.weight.device)
        one.weight = nn.Parameter(wide.weight + F.pad(narrow.weight, (1, 1, 1, 1)))
        one.bias = nn.Parameter(wide.bias + narrow.bias)
        return one.train(self.training)
