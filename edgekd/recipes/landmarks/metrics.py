"""How good landmarks are: normalised mean error, and what follows from its distribution. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.contracts import Arrays
from edgekd.recipes.landmarks.published import SETS

Floats = NDArray[np.float64]

CORNERS, PUPILS = "outer eye corners", "pupil centres"
#: The pairs of points whose distance errors are divided by, by number of points: iBUG 68, WFLW 98, COFW 29.
EYE_PAIRS: Mapping[int, Mapping[str, tuple[int, int]]] = {
    68: {CORNERS: (36, 45)},
    98: {CORNERS: (60, 72), PUPILS: (96, 97)},
    29: {CORNERS: (8, 9)},
}
FAILURE = 0.1  # a face whose error is above this share of the eye distance has failed (A9)
SUBSET = "subset/"  # a truth's ``subset/pose`` says whether it is in the subset ``pose``
SUBSETS = tuple(name for own in SETS.values() for name in own.subsets)


def eye_pair(points: int, name: str = CORNERS) -> tuple[int, int]:
    """The numbers of the two outer eye corners (or pupils) of a face with this many points.

    Raises:
        ValueError: an unknown number of points.
    """
    if points not in EYE_PAIRS:
        raise ValueError(f"{points} points: no eye corners known; there are 68, 98 and 29")
    return EYE_PAIRS[points][name]


def authors_normalizer(points: int) -> str:
    """What the authors divide by (A9): the pupils' distance for WFLW, whose convention is the eye corners.

    So their WFLW figures are larger than others' (A12).
    """
    return PUPILS if PUPILS in EYE_PAIRS[points] else CORNERS


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


def _stacked(predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> tuple[Floats, Floats]:
    """Both (n, N, 2)."""
    if not truths or len(predictions) != len(truths):
        raise ValueError(f"{len(predictions)} predictions for {len(truths)} truths")
    have = [np.asarray(p["landmarks"], np.float64) for p in predictions]
    want = [np.asarray(t["landmarks"], np.float64) for t in truths]
    for k, (one, other) in enumerate(zip(have, want, strict=True)):
        if one.shape != other.shape or other.shape != want[0].shape:
            raise ValueError(f"sample {k}: prediction {one.shape}, truth {other.shape}")
    return np.stack(have), np.stack(want)


def _errors(have: Floats, want: Floats, pair: str, stretch: Floats | None = None) -> Floats:
    """(n,) mean distance of the points by the pair's distance, as a share.

    Args:
        stretch: (n, 2) factors of x and y that both are multiplied by first; None: as they are.
    """
    if stretch is not None:
        have, want = have * stretch[:, None], want * stretch[:, None]
    one, other = eye_pair(want.shape[1], pair)
    distance = np.linalg.norm(want[:, one] - want[:, other], axis=1)
    if not (distance > 0).all():
        raise ValueError(f"sample {int(np.argmin(distance))}: the truth's {pair} coincide")
    return np.linalg.norm(have - want, axis=2).mean(axis=1) / distance


class LandmarkMetrics:
    """``contract.Metrics`` of the recipe. Predictions and truths are ``{"landmarks": (N, 2) px}``.

    Truths of published sets have ``box`` (4,), the crop in px, and ``subset/NAME`` (), whether they are in it.
    """

    primary = "nme"
    higher_is_better = False
    units: Mapping[str, str] = {
        **dict.fromkeys(("nme", "failure_rate@0.1"), "%"),
        **dict.fromkeys(("auc@0.1", "authors_auc"), ""),
        **dict.fromkeys(("nme_pupils", "authors_nme"), "%"),
        **{f"{name}/{subset}": "%" for subset in SUBSETS for name in ("nme", "nme_pupils", "authors_nme")},
    }

    def per_sample(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> Floats:
        """(n,) errors in % of the outer eye corners' distance; their mean is ``nme`` (A9).

        Raises:
            ValueError: no samples, unequal numbers of samples or points, or coinciding eye corners.
        """
        return 100.0 * _errors(*_stacked(predictions, truths), CORNERS)

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """The figures of all samples.

        ``nme`` in %; ``failure_rate@0.1`` in % of faces whose error is above 0.1 (or no number at all);
        ``auc@0.1`` in 0..1, the exact area under the cumulative error curve on [0, 0.1] divided by 0.1;
        ``authors_auc`` in 0..0.95, see :func:`authors_auc`. With 98 points also ``nme_pupils``, by the distance
        of the pupils. Where truths have a ``box`` also ``authors_nme``, as the authors coded it: in the crop
        stretched to a square, by the pair that they divide by (A9), which ``authors_auc`` then follows.
        Each NME also as ``nme/pose`` and so on, of the subsets that any of the truths is in.
        """
        have, want = _stacked(predictions, truths)
        points = want.shape[1]
        kinds = {"nme": _errors(have, want, CORNERS)}
        if PUPILS in EYE_PAIRS[points]:
            kinds["nme_pupils"] = _errors(have, want, PUPILS)
        if all("box" in truth for truth in truths):
            boxes = np.stack([np.asarray(truth["box"], np.float64) for truth in truths])
            kinds["authors_nme"] = _errors(have, want, authors_normalizer(points), 1 / (boxes[:, 2:] - boxes[:, :2]))
        # A prediction that is no number has failed; its mean stays no number.
        nme = np.where(np.isnan(kinds["nme"]), np.inf, kinds["nme"])
        authors = kinds.get("authors_nme", kinds["nme"])
        means = {name: float(100.0 * errors.mean()) for name, errors in kinds.items()}
        scores = {
            "nme": means.pop("nme"),
            "failure_rate@0.1": float(100.0 * np.mean(nme > FAILURE)),
            # The curve is a step of 1/n at each error, so its area is the mean of what each step leaves to
            # the right.
            "auc@0.1": float(np.mean(np.clip(FAILURE - nme, 0.0, None)) / FAILURE),
            "authors_auc": authors_auc(authors),
            **means,
        }
        inside = {s: np.array([bool(truth.get(f"{SUBSET}{s}", False)) for truth in truths]) for s in SUBSETS}
        for name, errors in kinds.items():
            scores |= {f"{name}/{s}": float(100.0 * errors[own].mean()) for s, own in inside.items() if own.any()}
        return scores

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

    def as_claimed(self, scores: Mapping[str, float], dataset: str) -> list[tuple[str, float, str, dict[str, str]]]:
        """The figures as ``claims.toml`` names them: (metric, value, unit, conditions).

        Of a whole published set the authors' own measure is given, for all of the test set and for its subsets.
        """
        unit = "% of eye distance"
        own = next((s for s in SETS.values() if s.name == dataset), None)
        if own is None or "authors_nme" not in scores:
            return [("nme_percent", scores["nme"], unit, {"normalizer": CORNERS})]
        normalizer = {"normalizer": authors_normalizer(own.points)}
        figures = {own.whole: "authors_nme"} | {subset: f"authors_nme/{subset}" for subset in own.subsets}
        return [
            ("nme_percent", scores[name], unit, {**normalizer, "dataset": f"{dataset} {part}"})
            for part, name in figures.items()
            if name in scores
        ]


METRICS = LandmarkMetrics()
