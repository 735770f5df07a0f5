"""The VGG networks (Simonyan and Zisserman 2015) as far as their convolutions go: what they see at several depths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


class Vgg(nn.Module):
    """Pictures (B, 3, H, W) to one map from each block; layers are numbered as torchvision's (``features.0`` ...).

    Args:
        blocks: channels of the 3x3 convolutions of each block; blocks are joined by 2x2 max pooling.
        taps: after which of a block's convolutions (0 ...) its map is taken, behind the ReLU; -1: the last.
        ceil_mode: of the pooling; torchvision's is False.
    """

    def __init__(self, blocks: Sequence[Sequence[int]], taps: int = -1, ceil_mode: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._taps: list[int] = []
        before = 3
        for number, block in enumerate(blocks):
            if number:
                layers.append(nn.MaxPool2d(2, ceil_mode=ceil_mode))
            own = []
            for channels in block:
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                own.append(len(layers) - 1)
                before = channels
            self._taps.append(own[taps])
        self.features = nn.Sequential(*layers[: self._taps[-1] + 1])

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        maps, x = [], pictures
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                maps.append(x)
        return maps
