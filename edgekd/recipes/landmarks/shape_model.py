"""Active shape model: the smooth landmarks that a tolerant teacher learns from (KD-Loss, A2)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from edgekd.errors import InputError

LIMIT = 3.0  # standard deviations that a mode of variation may reach


class ShapeModel(nn.Module):
    """Mean shape and the main modes of variation of landmark vectors, without Procrustes alignment (A2).

    Buffers: ``mean`` (2N,), ``modes`` (k, 2N) orthonormal rows, ``variances`` (k,), largest first. They move
    with the module and are saved in its state dict.
    """

    mean: torch.Tensor
    modes: torch.Tensor
    variances: torch.Tensor

    def __init__(self, mean: torch.Tensor, modes: torch.Tensor, variances: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("modes", modes)
        self.register_buffer("variances", variances)

    @classmethod
    def fit(cls, points: ArrayLike | torch.Tensor, variance: float = 0.95) -> ShapeModel:
        """The fewest modes that together explain at least ``variance`` of the samples' variance.

        Args:
            points: (M, 2N) landmarks of the (augmented) training set, in the unit of the labels; M >= 2.
            variance: share in (0, 1); the authors end at 0.95.

        Raises:
            InputError: another shape, values that are not finite, or shapes that do not vary.
        """
        if not 0 < variance < 1:
            raise InputError(f"the shape model is to keep {variance} of the variance", "a share lies in (0, 1)")
        shapes = np.asarray(points, dtype=np.float64)
        if shapes.ndim != 2 or len(shapes) < 2:
            raise InputError(
                f"the shape model is fitted to an array of shape {list(shapes.shape)}",
                "it takes two or more landmark vectors, (M, 2N)",
            )
        if not np.isfinite(shapes).all():
            raise InputError("landmarks for the shape model are not finite", "there is NaN or infinity in them")
        mean = shapes.mean(axis=0)
        # The covariance is 2N x 2N however many samples there are.
        variances, modes = np.linalg.eigh(np.cov(shapes - mean, rowvar=False, ddof=1).reshape(mean.size, -1))
        variances, modes = variances[::-1].clip(min=0), modes.T[::-1]
        if variances.sum() <= np.finfo(np.float64).eps * np.square(shapes).mean():
            raise InputError(
                "the shapes for the shape model are all the same",
                "there is no variation to learn",
                "use more faces or more augmentation",
            )
        explained = np.cumsum(variances) / variances.sum()
        k = int(np.searchsorted(explained, variance)) + 1
        return cls(*(torch.tensor(array.copy(), dtype=torch.float32) for array in (mean, modes[:k], variances[:k])))

    @torch.no_grad()
    def smooth(self, points: torch.Tensor) -> torch.Tensor:
        """The nearest shape of the model: (..., 2N) -> (..., 2N), each mode within ±3 standard deviations."""
        # In bf16 the smoothing itself would err by about half a pixel.
        with torch.autocast(points.device.type, enabled=False):
            limit = LIMIT * self.variances.sqrt()
            shape = (points.to(self.mean.dtype) - self.mean) @ self.modes.T
            return (self.mean + shape.clamp(-limit, limit) @ self.modes).to(points.dtype)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.smooth(points)
