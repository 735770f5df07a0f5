"""What a module costs: weights to store and multiply-accumulates to run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from edgekd.nn.deformable import DeformableConv

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, DeformableConv, *_TRANSPOSED)


def weight_count(module: nn.Module) -> int:
    """Parameters plus BatchNorm running means and variances: what Keras, and the papers, call parameters."""
    statistics = (
        buffer.numel()
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        for buffer in (layer.running_mean, layer.running_var)
        if buffer is not None
    )
    return sum(p.numel() for p in module.parameters()) + sum(statistics)


def macs(module: nn.Module, *example: torch.Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers in one eval forward pass over ``example``.

    The batch counts: an example of two pictures costs twice one. Biases, norms, activations, pooling, bilinear
    sampling and functional matrix products are not counted, as in the papers' tables. The module is left as it was.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        # A transposed convolution spreads every input value; the others gather into every output value.
        values = inputs[0].numel() if isinstance(layer, _TRANSPOSED) else output.numel()
        total += values * math.prod(weight.shape[1:])

    modes = [(m, m.training) for m in module.modules()]
    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, _COUNTED)]
    try:
        module.eval()
        with torch.no_grad():
            module(*example)
    finally:
        for hook in hooks:
            hook.remove()
        for layer, training in modes:
            layer.training = training
    return total
