"""Inverted residual: narrow, wide, depthwise, narrow (MobileNetV2; EfficientNet adds squeeze-excitation)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from edgekd.nn.convolution import ConvNormAct


class SqueezeExcitation(nn.Module):
    """Scales every channel by a gate in 0..1 that is computed from the means of all channels."""

    def __init__(self, channels: int, squeezed: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.expand(self.activation(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class StochasticDepth(nn.Module):
    """Drops a residual branch for a random share ``rate`` of the samples while training; identity in eval."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class InvertedResidual(nn.Module):
    """One block, (B, in_channels, H, W) -> (B, out_channels, H/stride, W/stride); the last layer is linear.

    Args:
        expansion: width of the depthwise convolution as a multiple of ``in_channels``; 1 leaves the expanding
            convolution out.
        squeeze: channels of the squeeze-excitation as a share of ``in_channels``; 0 leaves it out.
        drop: stochastic-depth rate of the branch; only blocks with a skip connection have one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        expansion: int,
        kernel: int = 3,
        squeeze: float = 0.0,
        drop: float = 0.0,
        activation: Callable[[], nn.Module] = nn.ReLU6,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNormAct(in_channels, hidden, activation=activation, norm_eps=norm_eps))
        layers.append(ConvNormAct(hidden, hidden, kernel, stride, hidden, activation, norm_eps))
        if squeeze:
            layers.append(SqueezeExcitation(hidden, max(1, int(in_channels * squeeze)), activation))
        project = ConvNormAct(hidden, out_channels, activation=None, norm_eps=norm_eps)
        layers.append(project)
        self.has_skip = stride == 1 and in_channels == out_channels
        if self.has_skip:
            # A block starts as the identity, so a fresh network is a shallow one that deepens as it learns.
            gain = project[1].weight
            assert isinstance(gain, torch.Tensor)
            nn.init.zeros_(gain)
        if self.has_skip and drop:
            layers.append(StochasticDepth(drop))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.has_skip else self.layers(x)
