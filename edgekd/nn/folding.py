"""Folding what is affine into the convolution beside it: BatchNorm after it, normalisation before it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in eval mode with every convolution + BatchNorm pair made one convolution.

    A pair is a convolution directly followed by a BatchNorm in an ``nn.Sequential``, where registration order
    is the order of computation. A BatchNorm that stands elsewhere, keeps no running statistics, or is shared,
    stays as it is. The arithmetic is done in float64 and rounded once to the weights' own type; the place of
    the BatchNorm is taken by ``nn.Identity``, so the other layers keep their names.
    """
    folded = copy.deepcopy(module).eval()
    uses = Counter(id(m) for _, m in folded.named_modules(remove_duplicate=False))
    for sequence in folded.modules():
        if not isinstance(sequence, nn.Sequential) or type(sequence).forward is not nn.Sequential.forward:
            continue
        for index in range(len(sequence) - 1):
            convolution, norm = sequence[index], sequence[index + 1]
            if not isinstance(convolution, _CONVOLUTIONS) or not isinstance(norm, _NORMS):
                continue
            if norm.running_mean is None or uses[id(convolution)] > 1 or uses[id(norm)] > 1:
                continue
            _fold_pair(convolution, norm)
            sequence[index + 1] = nn.Identity()
    return folded


@torch.no_grad()
def _fold_pair(convolution: nn.Module, norm: nn.Module) -> None:
    assert isinstance(convolution, _CONVOLUTIONS)
    assert isinstance(norm, _NORMS)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, mean = convolution.weight, norm.running_mean.double()
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    bias = -mean if convolution.bias is None else convolution.bias.double() - mean
    bias = bias * gain
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    scaled = weight.double() * gain.view(-1, *[1] * (weight.dim() - 1))
    trainable = weight.requires_grad
    convolution.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=trainable)
    convolution.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=trainable)


@torch.no_grad()
def fold_input_normalization(
    convolution: nn.Conv2d, norm: nn.BatchNorm2d, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Makes a first convolution that was trained on ``(x - mean) / std`` take ``x`` itself, in place.

    ``convolution`` has no bias and is followed by ``norm``, whose running mean takes the constant part, so no
    weight is added. Exact wherever the window lies inside the picture. Where it reaches into the zero padding
    it is not: a padded pixel was the mean colour and is now black. With stride 2, padding 1 and an even size
    that is the first row and the first column only.
    """
    assert convolution.bias is None
    assert norm.running_mean is not None
    weight = convolution.weight.double()
    centre = torch.tensor(mean, dtype=torch.float64, device=weight.device).view(1, -1, 1, 1)
    spread = torch.tensor(std, dtype=torch.float64, device=weight.device).view(1, -1, 1, 1)
    scaled = weight / spread
    offset = (scaled * centre).sum((1, 2, 3))  # the old output is the new one minus this
    convolution.weight.copy_(scaled)
    norm.running_mean.copy_(norm.running_mean.double() + offset)
