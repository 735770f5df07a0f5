"""How good forecast boxes are: COCO's average precision, in step and against a clock. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.contracts import Arrays
from edgekd.recipes.streaming.average_precision import Evidence, average_precision, evidence
from edgekd.recipes.streaming.clock import Schedule, offline, streaming

CLAIMED = ("sap", "sap50", "sap75")
ARGOVERSE = "Argoverse-HD"  # how the whole set is called
_NOTHING = (np.empty((0, 5), np.float32), np.empty(0, np.float32))

NAMES = {
    "AP": "sap",
    "AP50": "sap50",
    "AP75": "sap75",
    "AP_small": "sap_small",
    "AP_medium": "sap_medium",
    "AP_large": "sap_large",
}


class StreamingMetrics:
    """``contract.Metrics`` of the recipe.

    A prediction has ``boxes`` (n, 5) and ``scores`` (n,); a truth ``boxes`` (m, 5) of the next frame and ``current``
    of its own: class, x0, y0, x1, y1 px, rows of a negative class hold none.
    """

    primary = "sap"
    higher_is_better = True
    units: Mapping[str, str] = dict.fromkeys((*NAMES.values(), *(f"authors_{name}" for name in CLAIMED)), "%")

    def evidence(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> list[Evidence]:
        """What each sample contributes; ``figures`` of any of them are those samples' ``compute``."""
        if not truths or len(predictions) != len(truths):
            raise ValueError(f"{len(predictions)} predictions for {len(truths)} truths")
        return [evidence(p["boxes"], p["scores"], t["boxes"]) for p, t in zip(predictions, truths, strict=True)]

    def figures(self, found: Sequence[Evidence]) -> dict[str, float]:
        """``sap`` and the rest in %; of sizes that no true box has, nothing.

        Where there is no true box at all, 100 if nothing is said to be there, 0 otherwise.
        """
        scores = {NAMES[name]: 100.0 * value for name, value in average_precision(found).items()}
        if np.isnan(scores[self.primary]):
            said = any(len(own.scores) for picture in found for own in picture.values())
            return dict.fromkeys(CLAIMED, 0.0 if said else 100.0)
        return {name: value for name, value in scores.items() if not np.isnan(value)}

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """``sap`` and the rest in %: each frame's forecast against the boxes of the frame after it.

        ``authors_sap`` is of the offline variant as their evaluator does it: the first two frames of each sequence
        have no boxes. Only where samples are in order is it what they would get.
        """
        authors = self.offline(predictions, truths, authors=True)
        return {
            **self.figures(self.evidence(predictions, truths)),
            **{f"authors_{name}": authors[name] for name in CLAIMED},
        }

    def as_claimed(self, scores: Mapping[str, float], dataset: str) -> list[tuple[str, float, str, dict[str, str]]]:
        """The authors' figures as ``claims.toml`` names them, of the whole of Argoverse-HD alone."""
        if dataset != ARGOVERSE:
            return []
        names = zip(CLAIMED, ("sAP", "sAP50", "sAP75"), strict=True)
        return [
            (claimed, scores[f"authors_{name}"], "%", {"protocol": "offline, as the authors'"})
            for name, claimed in names
        ]

    def per_sample(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> NDArray[np.float64]:
        """(n,) ``sap`` of each frame by itself."""
        return np.array([self.figures([own])[self.primary] for own in self.evidence(predictions, truths)])

    def step_ms(self, truths: Sequence[Arrays]) -> float:
        return 1000.0 / float(truths[0]["fps"])

    def schedule(self, truths: Sequence[Arrays], latencies_ms: Sequence[float]) -> Schedule:
        """``contract.TimedMetrics``: see :func:`edgekd.recipes.streaming.clock.streaming`."""
        return streaming(truths, latencies_ms)

    def streamed(self, schedule: Schedule, seen: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """The figures of true pictures that each have the output which stood for them, or none.

        Args:
            seen: predictions of the schedule's samples, in order.
        """
        found = []
        for sample, is_next, position in schedule.pairs:
            boxes, scores = (seen[position]["boxes"], seen[position]["scores"]) if position >= 0 else _NOTHING
            found.append(evidence(boxes, scores, truths[sample]["boxes" if is_next else "current"]))
        return self.figures(found)

    def offline(self, predictions: Sequence[Arrays], truths: Sequence[Arrays], *, authors: bool) -> dict[str, float]:
        """The offline variant: see :func:`edgekd.recipes.streaming.clock.offline`."""
        return self.streamed(offline(truths, authors), predictions, truths)


METRICS = StreamingMetrics()
