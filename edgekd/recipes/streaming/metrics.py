"""How good forecast boxes are: COCO's average precision, in step and against a clock. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekd.contracts import Arrays
from edgekd.recipes.streaming.average_precision import Evidence, average_precision, evidence

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
        """(n,) ``sap`` of each frame by itself."""
        return np.array([self.figures([own])[self.primary] for own in self.evidence(predictions, truths)])


METRICS = StreamingMetrics()
