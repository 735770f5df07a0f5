"""The student (MobileNetV2) and its teachers (EfficientNet-B3): picture in, 2N coordinates out (KD-Loss, A6).

Both take float32 (B, 3, H, W) RGB in 0..1, sides a multiple of 32, and give (B, 2N) interleaved x0, y0, x1,
y1, ... in the unit of their labels. A fresh network's outputs start near 0.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.nn.convolution import ConvNormAct, initialize_convolutions, round_channels
from edgekd.nn.folding import fold_input_normalization
from edgekd.nn.inverted_residual import InvertedResidual
from edgekd.nn.pretrained import load_in_order

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# (expansion, channels, blocks, stride of the first), MobileNetV2 table 2
_MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

# (expansion, channels, blocks, stride of the first, kernel), EfficientNet-B0 table 1
_EFFICIENTNET_B0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class LandmarkRegressor(nn.Module):
    """A convolutional trunk, global average pooling, dropout and one linear layer."""

    def __init__(self, trunk: nn.Sequential, channels: int, points: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, 2 * points)
        initialize_convolutions(self.trunk)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in 0..1 -> (B, 2N)."""
        features = self.dropout(self.trunk(image).mean((2, 3)))
        if torch.is_autocast_enabled(image.device.type):
            # bf16 has 8 bits: a coordinate of half the picture would move in steps of half a pixel at 224.
            with torch.autocast(image.device.type, enabled=False):
                return self.head(features.float())
        return self.head(features)


def mobilenet_v2(points: int, width: float = 1.0) -> LandmarkRegressor:
    """MobileNetV2 with ReLU6; its last convolution, 1280 channels, grows with ``width`` and never shrinks."""
    channels = round_channels(32 * width)
    layers: list[nn.Module] = [ConvNormAct(3, channels, kernel=3, stride=2)]
    for expansion, base, blocks, first_stride in _MOBILENET_V2:
        out = round_channels(base * width)
        for index in range(blocks):
            layers.append(InvertedResidual(channels, out, first_stride if index == 0 else 1, expansion))
            channels = out
    last = round_channels(1280 * max(1.0, width))
    layers.append(ConvNormAct(channels, last))
    return LandmarkRegressor(nn.Sequential(*layers), last, points)


def efficientnet(
    points: int, width: float = 1.2, depth: float = 1.4, dropout: float = 0.5, stochastic_depth: float = 0.0
) -> LandmarkRegressor:
    """EfficientNet with Swish and squeeze-excitation; the defaults are B3.

    ``stochastic_depth`` is the drop rate that blocks reach, growing linearly from 0 at the first. BatchNorm
    has EfficientNet's epsilon, 1e-3, and torch's momentum, 0.1: its own 0.01 needs hundreds of steps to settle.
    """
    swish, eps = nn.SiLU, 1e-3
    conv = partial(ConvNormAct, activation=swish, norm_eps=eps)
    channels = round_channels(32 * width)
    layers: list[nn.Module] = [conv(3, channels, kernel=3, stride=2)]
    total = sum(math.ceil(stage[2] * depth) for stage in _EFFICIENTNET_B0)
    for expansion, base, blocks, first_stride, kernel in _EFFICIENTNET_B0:
        out = round_channels(base * width)
        for index in range(math.ceil(blocks * depth)):
            layers.append(
                InvertedResidual(
                    channels,
                    out,
                    first_stride if index == 0 else 1,
                    expansion,
                    kernel,
                    squeeze=0.25,
                    drop=stochastic_depth * (len(layers) - 1) / total,
                    activation=swish,
                    norm_eps=eps,
                )
            )
            channels = out
    last = round_channels(1280 * width)
    layers.append(conv(channels, last))
    return LandmarkRegressor(nn.Sequential(*layers), last, points, dropout)


def load_trunk(student: LandmarkRegressor, source: str | Path, imagenet_normalized: bool = True) -> dict[str, Any]:
    """Starts the student's trunk from a MobileNetV2 classifier's weights; the head stays fresh.

    Args:
        source: a ``.pt`` or ``.safetensors`` file in the order of torchvision's MobileNetV2, or
            ``package:NAME/PATH`` (see ``edgekd.nn.pretrained.load_in_order``).
        imagenet_normalized: the trunk was trained on (x - mean) / std with ImageNet's mean and std. The
            student takes x itself, so the normalisation is folded into its first convolution; exact but for
            the first row and column of that convolution's output (see ``fold_input_normalization``).

    Returns:
        Provenance of the weights, for the run and the manifest.

    Raises:
        InputError: the file does not hold this trunk at this width.
    """
    provenance = load_in_order(student.trunk, source)
    if imagenet_normalized:
        convolution, norm, *_ = student.trunk[0].children()
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        fold_input_normalization(convolution, norm, IMAGENET_MEAN, IMAGENET_STD)
    folded = "ImageNet's mean and std, folded into the first convolution" if imagenet_normalized else "none"
    return provenance | {"normalization": folded}
