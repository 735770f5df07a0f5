"""How good a try-on is: SSIM, the difference where the garment is worn, and how far the warp is off. Numpy only.

LPIPS and FID need networks with weights that the user gives: ``quality``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.contracts import Array, Arrays

Floats = NDArray[np.float64]

WINDOW, SIGMA = 11, 1.5  # Wang et al., Image quality assessment: from error visibility to structural similarity, 2004
K1, K2, RANGE = 0.01, 0.03, 255.0
PAPER_SIZE = (256, 192)  # height, width: the size whose pixels a warp error is told in


def _gaussian() -> NDArray[np.float32]:
    at = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (at / SIGMA) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def _smooth(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., H, W) by the Gaussian window, where it lies inside: (..., H - 10, W - 10)."""
    kernel, reach = _gaussian(), WINDOW - 1
    height, width = maps.shape[-2] - reach, maps.shape[-1] - reach
    rows = sum(weight * maps[..., k : k + height, :] for k, weight in enumerate(kernel))
    return sum(weight * rows[..., k : k + width] for k, weight in enumerate(kernel))  # type: ignore[return-value,index]


def ssim(one: Array, other: Array) -> float:
    """Structural similarity of two pictures, 1 for equal ones.

    Of each colour channel, by the 11 x 11 Gaussian window of sigma 1.5 (Wang et al. 2004), population covariance, mean
    over the places where the window lies inside of the picture, then over channels. That is scikit-image's
    ``structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)``.

    Args:
        one, other: (H, W, 3) uint8, both sides at least 11.

    Raises:
        ValueError: another shape.
    """
    if one.shape != other.shape or one.ndim != 3 or min(one.shape[:2]) < WINDOW:
        raise ValueError(f"pictures of {one.shape} and {other.shape} have no SSIM")
    x, y = (np.moveaxis(p.astype(np.float32), 2, 0) for p in (one, other))
    # About each channel's mean: variances as small differences of large numbers would lose float32's digits.
    mean = (x.mean((1, 2), keepdims=True) + y.mean((1, 2), keepdims=True)) / 2
    x, y = x - mean, y - mean
    mx, my, xx, yy, xy = _smooth(np.stack([x, y, x * x, y * y, x * y]))
    vx, vy, vxy = xx - mx * mx, yy - my * my, xy - mx * my
    mx, my = mx + mean, my + mean
    c1, c2 = np.float32((K1 * RANGE) ** 2), np.float32((K2 * RANGE) ** 2)
    share = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(share.mean(dtype=np.float64))


def masked_l1(one: Array, other: Array, mask: Array) -> float:
    """Mean absolute difference where ``mask`` is not 0, in % of the range; NaN where it is 0 everywhere.

    Args:
        one, other: (H, W, 3) uint8.
        mask: (H, W).
    """
    where = np.asarray(mask) > 0
    if not where.any():
        return float("nan")
    difference = np.abs(one[where].astype(np.float64) - other[where].astype(np.float64))
    return float(difference.mean() * 100 / RANGE)


def warp_error(grid: Array, truth: Array, seen: Array) -> float:
    """Mean distance of two sampling grids where ``seen`` is not 0, in pixels of a 256 x 192 picture; NaN where never.

    Args:
        grid, truth: (H, W, 2) x, y in -1..1, align_corners=True.
        seen: (H, W).

    Raises:
        ValueError: grids of two sizes.
    """
    if grid.shape != truth.shape:
        raise ValueError(f"a grid of {grid.shape} for one of {truth.shape}")
    where = np.asarray(seen) > 0
    if not where.any():
        return float("nan")
    to_pixels = np.array([PAPER_SIZE[1] - 1, PAPER_SIZE[0] - 1]) / 2
    off = (grid[where].astype(np.float64) - truth[where].astype(np.float64)) * to_pixels
    return float(np.hypot(off[:, 0], off[:, 1]).mean())


class TryonMetrics:
    """``contract.Metrics`` of the recipe.

    Predictions are ``{"tryon": (H, W, 3) uint8, "grid": (h, w, 2)}``; truths ``{"tryon", "worn": (H, W), "grid", "seen":
    (h, w)}``. Where no truth says where the garment is worn, or how it is warped, that metric is left out.
    """

    primary = "ssim"
    higher_is_better = True
    units: Mapping[str, str] = {"ssim": "", "masked_l1": "%", "warp_error_px": "px"}

    def evidence(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> list[tuple[float, float, float]]:
        """Each sample's SSIM, masked L1 and warp error, NaN where no truth tells; ``figures`` are their means.

        Raises:
            ValueError: no samples, unequal numbers of them, or pictures of two sizes.
        """
        if not truths or len(predictions) != len(truths):
            raise ValueError(f"{len(predictions)} predictions for {len(truths)} truths")
        found = []
        for one, truth in zip(predictions, truths, strict=True):
            tryon, wanted = np.asarray(one["tryon"]), np.asarray(truth["tryon"])
            off = masked_l1(tryon, wanted, truth["worn"])
            far = warp_error(np.asarray(one["grid"]), np.asarray(truth["grid"]), truth["seen"])
            found.append((ssim(tryon, wanted), off, far))
        return found

    def figures(self, evidence: Sequence[tuple[float, float, float]]) -> dict[str, float]:
        """Means over samples, of each metric that at least one of them tells."""
        columns = np.array(evidence).T
        means = {name: values[~np.isnan(values)] for name, values in zip(self.units, columns, strict=True)}
        return {name: float(known.mean()) for name, known in means.items() if len(known)}

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """``figures`` of ``evidence``. Raises ValueError as that."""
        return self.figures(self.evidence(predictions, truths))

    def per_sample(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> Floats:
        """(n,) SSIM; their mean is ``ssim``. Raises ValueError as ``evidence``."""
        return np.array([one[0] for one in self.evidence(predictions, truths)])


METRICS = TryonMetrics()
