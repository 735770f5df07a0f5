"""Folding what is affine into the layer beside it: BatchNorm after a convolution or before a linear layer, branches
that are summed, and normalisation before a convolution.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@runtime_checkable
class Branches(Protocol):
    """A block whose branches are affine once their BatchNorms are folded, and so are one layer."""

    def merged(self) -> nn.Module:
        """That layer, with weights of its own; asked after the branches' BatchNorms are folded."""


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in eval mode in which every BatchNorm that stands beside a layer it can go into is gone.

    It goes into a convolution directly before it, or into a linear layer behind it with nothing but dropout between,
    in an ``nn.Sequential``, where registration order is the order of computation. A BatchNorm that stands elsewhere,
    keeps no running statistics, or is shared, stays as it is. The arithmetic is done in float64 and rounded once to
    the weights' own type; the place of the BatchNorm is taken by ``nn.Identity``, so the other layers keep their
    names. Then ``Branches`` become the layer that they sum up to.
    """
    folded = copy.deepcopy(module).eval()
    uses = Counter(id(m) for _, m in folded.named_modules(remove_duplicate=False))
    for sequence in folded.modules():
        if not isinstance(sequence, nn.Sequential) or type(sequence).forward is not nn.Sequential.forward:
            continue
        for index, norm in enumerate(sequence):
            if not isinstance(norm, _NORMS) or norm.running_mean is None or uses[id(norm)] > 1:
                continue
            before, behind = sequence[index - 1] if index else None, _behind(sequence, index)
            if isinstance(before, _CONVOLUTIONS) and uses[id(before)] == 1:
                _fold_into_convolution(before, norm)
            elif behind is not None and uses[id(behind)] == 1 and behind.in_features == norm.num_features:
                _fold_into_linear(norm, behind)
            else:
                continue
            sequence[index] = nn.Identity()
    for parent in list(folded.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Branches):
                setattr(parent, name, child.merged())
    return folded


def _behind(sequence: nn.Sequential, index: int) -> nn.Linear | None:
    """The linear layer that a BatchNorm1d of rows feeds; dropout between them does nothing in evaluation."""
    if not isinstance(sequence[index], nn.BatchNorm1d):
        return None
    rest = [layer for layer in list(sequence)[index + 1 :] if not isinstance(layer, (nn.Dropout, nn.Identity))]
    return rest[0] if rest and isinstance(rest[0], nn.Linear) else None


def _affine(norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """The BatchNorm as ``gain * x + shift``, in float64."""
    assert isinstance(norm, _NORMS)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    shift = -norm.running_mean.double() * gain
    return gain, shift if norm.bias is None else shift + norm.bias.double()


@torch.no_grad()
def _fold_into_convolution(convolution: nn.Module, norm: nn.Module) -> None:
    assert isinstance(convolution, _CONVOLUTIONS)
    weight, (gain, shift) = convolution.weight, _affine(norm)
    bias = shift if convolution.bias is None else convolution.bias.double() * gain + shift
    scaled = weight.double() * gain.view(-1, *[1] * (weight.dim() - 1))
    trainable = weight.requires_grad
    convolution.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=trainable)
    convolution.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=trainable)


@torch.no_grad()
def _fold_into_linear(norm: nn.Module, linear: nn.Linear) -> None:
    weight, (gain, shift) = linear.weight, _affine(norm)
    bias = weight.double() @ shift
    if linear.bias is not None:
        bias = bias + linear.bias.double()
    trainable = weight.requires_grad
    linear.weight = nn.Parameter((weight.double() * gain).to(weight.dtype), requires_grad=trainable)
    linear.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=trainable)


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
