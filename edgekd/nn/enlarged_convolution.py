"""A 3x3 convolution of an enlarged map, done before the map is enlarged.

Top-down pyramids (FPN, Lin et al. 2017) smooth ``lateral(tap) + enlarged(coarser)`` with a 3x3 convolution, and at
the finest level that costs more than the rest of the network. But all of it is linear. With U the enlargement, S_t
the shift by tap t (zeros come in) and W_t the tap's weights, ``sum_t S_t W_t U p = sum_t (S_t U) (W_t p)``: the
weights are applied to the coarse map, 1/4 or 1/16 of the pixels, and the fixed interpolation ``S_t U``, a small
matrix along each axis, to the result. A lateral is a 1x1 convolution of few channels, so it and the 3x3 one are
one 3x3 convolution of few channels; 1x1 convolutions and enlargements change places freely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.lowering import Lowerable, constant


def enlarged(x: torch.Tensor, times: int = 1) -> torch.Tensor:
    """``times`` times twice the size, bilinear (``align_corners=False``)."""
    for _ in range(times):
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return x


class TopDownPyramid(Lowerable):
    """What a recipe's pyramid is, so that every profile may name its form, whatever student is built.

    Forms:
        levels: each level's sum is smoothed at its own size.
        coarse_first: what comes from above is smoothed before it is enlarged (``EnlargedConvolution``).
    """

    op: ClassVar[str] = "pyramid"
    FORMS: ClassVar[tuple[str, ...]] = ("levels", "coarse_first")


class CoarseTaps(nn.Module):
    """What each of the nine weights of a 3x3 convolution makes of a map: (B, I, h, w) -> (B, 3·h, 3·w, O).

    Rows are (vertical tap, y), columns (x, horizontal tap), as ``EnlargedConvolution`` reads them.

    Args:
        before: (C, I) weight of a 1x1 convolution that stands before it.
    """

    def __init__(self, convolution: nn.Conv2d, before: torch.Tensor | None = None) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        if before is not None:
            weight = torch.einsum("oikl,ij->ojkl", weight, before.detach())
        out, into = weight.shape[:2]
        self.rows = nn.ModuleList([nn.Conv2d(into, 3 * out, 1, bias=False) for _ in range(3)])
        for row, layer in enumerate(self.rows):
            taps = weight[:, :, row].permute(2, 0, 1).reshape(3 * out, into, 1, 1)
            layer.weight = nn.Parameter(taps.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = x.shape
        rows = [row(x).permute(0, 2, 3, 1).reshape(batch, height, 3 * width, -1) for row in self.rows]
        return torch.cat(rows, 1)


class EnlargedConvolution(nn.Module):
    """``convolution(sum of laterals of taps, each enlarged to the finest, + enlarged coarse map)``.

    Args:
        convolution: 3x3, padding 1.
        laterals: (weight (C, c), bias (C,)) of each tap, coarse to fine, the finest at the output's own size and
            each of the others half as large as the next.
    """

    constant: torch.Tensor

    def __init__(self, convolution: nn.Conv2d, laterals: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        smooth = convolution.weight.detach()
        self.fine = nn.ModuleList()  # one per tap: what quantizers make of maps side by side, OpenVINO keeps in fp32
        for index, (lateral, _) in enumerate(laterals):
            weight = torch.einsum("oikl,ij->ojkl", smooth, lateral.detach())
            own = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=index == 0)
            own.weight = nn.Parameter(weight)
            if own.bias is not None:
                bias = convolution.bias
                own.bias = nn.Parameter(torch.zeros_like(own.bias) if bias is None else bias.detach().clone())
            self.fine.append(own)
        # The laterals' biases join the coarse map, whose taps stop at the border as those of the plain form do.
        constant = torch.stack([bias.detach() for _, bias in laterals]).sum(0)
        taps = torch.einsum("oikl,i->klo", smooth, constant)
        self.register_buffer("constant", taps[:, None, None], persistent=False)

    def forward(self, taps: Sequence[torch.Tensor], coarse: torch.Tensor) -> torch.Tensor:
        """
        Args:
            taps: (B, c, ·, ·), coarse to fine; the map of the coarser levels is half as large as the first.
            coarse: that map through ``CoarseTaps``.
        """
        batch, _, height, width = taps[-1].shape
        last = len(taps) - 1
        cells = coarse.reshape(batch, 3, height >> last + 1, width >> last + 1, 3, -1)
        coarse = (cells + self.constant).reshape(coarse.shape)
        across = constant(_shifted(width, len(taps)).transpose(0, 2, 1).reshape(width, -1), coarse)
        down = constant(_shifted(height, len(taps)).reshape(height, -1), coarse)
        wide = across @ coarse  # (B, 3·h, W, C)
        # Added as rows of pixels, as all of them lie in memory: in any other shape some would be transposed.
        total = (down @ wide.reshape(batch, wide.shape[1], -1)).reshape(batch, height * width, -1)
        for index, (own, tap) in enumerate(zip(self.fine, taps, strict=True)):
            total = total + own(enlarged(tap, last - index)).permute(0, 2, 3, 1).reshape(batch, height * width, -1)
        return total.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def _shifted(size: int, times: int) -> np.ndarray:
    """(size, 3, size / 2^times): row y and tap t of the enlargement's matrix, looked at from t - 1 pixels away."""
    matrix = np.eye(size >> times)
    for _ in range(times):
        matrix = _twice(len(matrix)) @ matrix
    padded = np.pad(matrix, ((1, 1), (0, 0)))
    return np.stack([padded[tap : tap + size] for tap in range(3)], 1)


def _twice(size: int) -> np.ndarray:
    """(2·size, size): what ``enlarged`` does along one axis."""
    places = np.clip((np.arange(2 * size) + 0.5) / 2 - 0.5, 0, size - 1)
    distance = np.abs(places[:, None] - np.arange(size))
    matrix: np.ndarray = np.maximum(0, 1 - distance)
    return matrix
