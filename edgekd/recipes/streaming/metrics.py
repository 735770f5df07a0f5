"""How good forecast boxes are: COCO's average precision, in step and against a clock. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekd.contracts import Arrays
from edgekd.recipes.streaming.average_precision import Evidence, average_precision, evidence
from edgekd.recipes.streaming.clock import Schedule, offline, streaming

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
    units: Mapping[str, str] = dict.fromkeys(NAMES.values(), "%")

    def evidence(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> list[Evidence]:
        """What each sample contributes; ``figures`` of any of them are those samples' ``compute``."""
        if not truths or len(predictions) != len(truths):
            raise ValueError(f"{len(predictions)} predictions for {len(truths)} truths")
        return [evidence(p["boxes"], p["scores"], t["boxes"]) for p, t in zip(predictions, truths, strict=True)]

    def figures(self, found: Sequence[Evidence]) -> dict[str, float]:
        return {NAMES[name]: 100.0 * value for name, value in average_precision(found).items()}

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """``sap`` and the rest in %: each frame's forecast against the boxes of the frame after it."""
        return self.figures(self.evidence(predictions, truths))

    def per_sample(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> np.ndarray:
        """(n,) ``sap`` of each frame by itself; where nothing is there 100, or 0 if something is said to be."""
        alone = [self.figures([own])[self.primary] for own in self.evidence(predictions, truths)]
        empty = [0.0 if len(p["boxes"]) else 100.0 for p in predictions]
        return np.where(np.isnan(alone), empty, alone)

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
