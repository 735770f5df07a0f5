"""How good landmarks are: normalised mean error, and what follows from its distribution. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.contracts import Arrays

Floats = NDArray[np.float64]

#: Outer eye corners by number of points: iBUG 68, WFLW 98, COFW 29. WFLW's convention is the eye corners; the
#: authors' own code divides by the pupils' distance there, so their WFLW figures are larger (KD-Loss, A12).
OUTER_EYE_CORNERS: Mapping[int, tuple[int, int]] = {68: (36, 45), 98: (60, 72), 29: (8, 9)}
FAILURE = 0.1  # a face whose error is above this share of the eye distance has failed (A9)


def eye_distance(points: NDArray) -> float:
    """Distance of the outer eye corners of points (N, 2), in the points' own unit.

    Raises:
        ValueError: an unknown number of points.
    """
    if len(points) not in OUTER_EYE_CORNERS:
        raise ValueError(f"{len(points)} points: no eye corners known; there are 68, 98 and 29")
    one, other = OUTER_EYE_CORNERS[len(points)]
    return float(np.linalg.norm(np.asarray(points[one], np.float64) - np.asarray(points[other], np.float64)))


def authors_auc(errors: NDArray) -> float:
    """The "AUC" that the authors logged (KD-Loss, A9): not an area, and **0.95 at most**.

    Sum over k = 1..19 of (t[k-1] + t[k]) / 2 · F(t[k]) with t[k] = k · 0.1 / 19 and F the share of faces
    with an error of at most t. Kept under this name only so that their figures can be compared.

    Args:
        errors: (n,) errors as shares of the eye distance.
    """
    thresholds = np.linspace(0.0, FAILURE, 20)
    shares = np.mean(np.asarray(errors)[None, :] <= thresholds[:, None], axis=1)
    return float(np.sum((thresholds[:-1] + thresholds[1:]) / 2 * shares[1:]))


class LandmarkMetrics:
    """``contract.Metrics`` of the recipe. Predictions and truths are ``{"landmarks": (N, 2) px}``."""

    primary = "nme"
    higher_is_better = False
    units: Mapping[str, str] = {"nme": "%", "failure_rate@0.1": "%", "auc@0.1": "", "authors_auc": ""}

    def per_sample(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> Floats:
        """(n,) errors in % of the outer eye corners' distance; their mean is ``nme`` (A9).

        Raises:
            ValueError: no samples, unequal numbers of samples or points, or coinciding eye corners.
        """
        if not truths or len(predictions) != len(truths):
            raise ValueError(f"{len(predictions)} predictions for {len(truths)} truths")
        errors = np.empty(len(truths))
        for k, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
            have = np.asarray(prediction["landmarks"], np.float64)
            want = np.asarray(truth["landmarks"], np.float64)
            if have.shape != want.shape:
                raise ValueError(f"sample {k}: prediction {have.shape}, truth {want.shape}")
            distance = eye_distance(want)
            if distance <= 0:
                raise ValueError(f"sample {k}: the truth's eye corners coincide")
            errors[k] = 100.0 * np.mean(np.linalg.norm(have - want, axis=1)) / distance
        return errors

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """The four figures.

        ``nme`` in %; ``failure_rate@0.1`` in % of faces whose error is above 0.1 (or no number at all);
        ``auc@0.1`` in 0..1, the exact area under the cumulative error curve on [0, 0.1] divided by 0.1;
        ``authors_auc`` in 0..0.95, see :func:`authors_auc`.
        """
        errors = self.per_sample(predictions, truths) / 100.0
        counted = np.where(np.isnan(errors), np.inf, errors)
        return {
            "nme": float(100.0 * np.mean(errors)),
            "failure_rate@0.1": float(100.0 * np.mean(counted > FAILURE)),
            # The curve is a step of 1/n at each error, so its area is the mean of what each step leaves to
            # the right.
            "auc@0.1": float(np.mean(np.clip(FAILURE - counted, 0.0, None)) / FAILURE),
            "authors_auc": authors_auc(counted),
        }

    def ced(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> tuple[Floats, Floats]:
        """Cumulative error distribution: 101 thresholds on [0, 0.1], the share of faces at or below each."""
        errors = self.per_sample(predictions, truths) / 100.0
        thresholds = np.linspace(0.0, FAILURE, 101)
        return thresholds, np.mean(errors[None, :] <= thresholds[:, None], axis=1)

    def curves(
        self, predictions: Sequence[Arrays], truths: Sequence[Arrays]
    ) -> dict[str, tuple[Floats, Floats, str, str]]:
        """What a report plots beside the figures: name -> (x, y, label of x, label of y)."""
        thresholds, shares = self.ced(predictions, truths)
        x_label = "error, % of the outer eye corners' distance"
        return {"cumulative error distribution": (100.0 * thresholds, 100.0 * shares, x_label, "faces, %")}

    def as_claimed(self, scores: Mapping[str, float]) -> dict[str, tuple[float, str, dict[str, str]]]:
        """The figures as ``claims.toml`` names them: metric -> (value, unit, conditions)."""
        normalizer = {"normalizer": "outer eye corners"}
        return {"nme_percent": (scores["nme"], "% of eye distance", normalizer)}


METRICS = LandmarkMetrics()
