"""How good labels are: accuracy and F1, in all and by what the teacher had seen. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.contracts import Arrays

#: What a sample is judged as: seen in training without its label (``trans``), never seen (``ind``), or seen but
#: judged in the whole hypergraph (only ever part of ``prod``).
SETTINGS: Mapping[str, int] = {"trans": 0, "ind": 1, "seen in prod": 2}


def confusion(found: NDArray, wanted: NDArray, classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts, wanted by found."""
    return np.bincount(wanted * classes + found, minlength=classes**2).reshape(classes, classes)


def macro_f1(counts: NDArray[np.int64]) -> float:
    """Mean F1 in %, over classes that were wanted or found."""
    hits, either = np.diag(counts), counts.sum(0) + counts.sum(1)
    return float(100.0 * np.mean(2 * hits[either > 0] / either[either > 0]))


class LabelMetrics:
    """``contract.Metrics``. Predictions hold ``class``; truths ``class`` and ``setting`` (see ``SETTINGS``).

    In the production setting a set holds the seen test vertices twice, as ``trans`` and as part of ``prod``, because
    a teacher says something else where it sees the whole hypergraph.
    """

    primary = "accuracy"
    higher_is_better = True
    units: Mapping[str, str] = dict.fromkeys(("accuracy", "macro_f1", "micro_f1", "trans", "ind"), "%")

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """``accuracy``, ``macro_f1`` and ``micro_f1`` in %; in the production setting these are ``prod``'s, and
        ``trans`` and ``ind`` are the accuracies of the two parts.

        Micro F1 of one label per vertex is the accuracy; it is here because the paper names it.

        Raises:
            ValueError: no samples, or unequal numbers of them.
        """
        if not truths or len(predictions) != len(truths):
            raise ValueError(f"{len(predictions)} predictions for {len(truths)} truths")
        found, wanted = (np.array([int(row["class"]) for row in rows], np.int64) for rows in (predictions, truths))
        return self.scores(found, wanted, np.array([int(truth["setting"]) for truth in truths]))

    def scores(self, found: NDArray, wanted: NDArray, setting: NDArray) -> dict[str, float]:
        """``compute`` of classes (n,) and settings (n,)."""
        right = found == wanted
        production = bool((setting != SETTINGS["trans"]).any())
        judged = setting != SETTINGS["trans"] if production else np.ones(len(setting), bool)
        counts = confusion(found[judged], wanted[judged], int(max(found.max(), wanted.max())) + 1)
        accuracy = float(100.0 * right[judged].mean())
        scores = {"accuracy": accuracy, "macro_f1": macro_f1(counts), "micro_f1": accuracy}
        if production:
            for name in ("trans", "ind"):
                own = setting == SETTINGS[name]
                if own.any():
                    scores[name] = float(100.0 * right[own].mean())
        return scores

    def per_sample(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> NDArray[np.float64]:
        """(n,) 100 where the label is right, else 0."""
        pairs = zip(predictions, truths, strict=True)
        return np.array([100.0 * (int(p["class"]) == int(t["class"])) for p, t in pairs])


METRICS = LabelMetrics()
