"""The convolution every block starts from, its initialisation, and the rounding of channel counts."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of ``divisor`` that loses at most a tenth (MobileNetV2, EfficientNet)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


class ConvNormAct(nn.Sequential):
    """Convolution without bias, BatchNorm, activation; (B, C, H, W) -> (B, out_channels, H/stride, W/stride).

    Padding is symmetric, ``kernel // 2`` on every side, as PyTorch users expect; Keras' "same" pads an even
    input of a strided convolution on the right and bottom only, so its weights are shifted by one pixel.

    A plain ``nn.Sequential``, so that ``fold_batchnorm`` knows which BatchNorm follows which convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[], nn.Module] | None = nn.ReLU6,
        norm_eps: float = 1e-5,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels, eps=norm_eps),
        ]
        if activation is not None:
            layers.append(activation())
        super().__init__(*layers)


def initialize_convolutions(module: nn.Module) -> None:
    """He-normal by ``out_channels * kernel²``, biases zero.

    For a depthwise convolution that is far below its true fan-out, on purpose: BatchNorm undoes the scale,
    and a small weight turns faster under Adam. After 150 steps of a toy landmark regression a MobileNetV2 had
    a fifth to a third less error than with the true fan-out.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
