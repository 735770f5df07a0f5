"""The decoupled head of YOLOX (arXiv 2107.08430): logits per place of three maps, and the boxes that they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from edgekd.nn.convolution import ConvNormAct
from edgekd.nn.keep_float import KeepFloat
from edgekd.recipes.streaming.backbone import Activation, Maps

STRIDES = (8, 16, 32)
PRIOR = 0.01  # probability of an object, and of a class, that a fresh head gives
Sizes = Sequence[tuple[int, int]]  # (rows, columns) of the maps
Said = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # of one map: box, object, classes


class BoxConv(nn.Conv2d, KeepFloat):
    """The convolution that says where a box is: of a logarithm in steps of int8, sizes jump by some per cent."""


class LevelHead(nn.Module):
    """Of one map: a 1x1 stem, then two towers of two 3x3 convolutions, for the class and for box and object."""

    def __init__(self, in_channels: int, width: int, classes: int, activation: Activation) -> None:
        super().__init__()
        conv = partial(ConvNormAct, activation=activation)
        self.stem = conv(in_channels, width)
        self.class_tower = nn.Sequential(conv(width, width, 3), conv(width, width, 3))
        self.box_tower = nn.Sequential(conv(width, width, 3), conv(width, width, 3))
        self.classes, self.box = nn.Conv2d(width, classes, 1), BoxConv(width, 4, 1)
        self.object = nn.Conv2d(width, 1, 1)
        for layer in (self.classes, self.object):
            assert layer.bias is not None
            nn.init.constant_(layer.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, x: torch.Tensor) -> Said:
        x = self.stem(x)
        box = self.box_tower(x)
        return self.box(box), self.object(box), self.classes(self.class_tower(x))


class Rows(KeepFloat):
    """What the levels say, place by place: maps (B, 4 + 1 + classes, h, w) in parts -> (B, A, 5 + classes)."""

    def forward(self, levels: list[Said]) -> torch.Tensor:
        maps = [torch.cat(said, dim=1).flatten(2) for said in levels]
        return torch.cat(maps, dim=2).transpose(1, 2)


class Head(nn.Module):
    """Maps -> (B, A, 4 + 1 + classes) raw: dx, dy, log w, log h in strides, then logits; A places, finest map first."""

    def __init__(self, channels: tuple[int, int, int], width: int, classes: int, activation: Activation) -> None:
        super().__init__()
        self.levels = nn.ModuleList(LevelHead(c, width, classes, activation) for c in channels)
        self.rows = Rows()

    def forward(self, maps: Maps | list[torch.Tensor]) -> torch.Tensor:
        said: torch.Tensor = self.rows([level(x) for level, x in zip(self.levels, maps, strict=True)])
        return said


def places(sizes: Sizes, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(A, 2) column and row of every place in its map, and (A, 1) its stride in px, in the type of ``like``."""
    grid, strides = [], []
    for (rows, columns), stride in zip(sizes, STRIDES, strict=True):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        grid.append(torch.stack((x, y), dim=-1).reshape(-1, 2))
        strides.append(torch.full((rows * columns, 1), stride))
    return torch.cat(grid).to(like), torch.cat(strides).to(like)


def boxes(raw: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    """(B, A, >= 4) raw -> (B, A, 4) cx, cy, w, h in px of the network's input, in fp32: exp overflows in fp16."""
    raw = raw[..., :4].float() if raw.dtype in (torch.float16, torch.bfloat16) else raw[..., :4]
    grid, strides = places(sizes, raw)
    return torch.cat(((raw[..., :2] + grid) * strides, raw[..., 2:4].exp() * strides), dim=-1)


class Decode(KeepFloat):
    """(B, A, 5 + classes) raw -> the same: the boxes in px, then probabilities of an object and of each class."""

    def forward(self, raw: torch.Tensor, sizes: Sizes) -> torch.Tensor:
        decoded = boxes(raw, sizes)
        return torch.cat((decoded, raw[..., 4:].to(decoded.dtype).sigmoid()), dim=-1)
