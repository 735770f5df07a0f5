"""Metrics of a classifier: truth is ``label``, a prediction the logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekd.contracts import Arrays


class ClassificationMetrics:
    primary = "accuracy"
    higher_is_better = True
    units = {"accuracy": "%", "cross_entropy": "nat"}  # noqa: RUF012

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """Top-1 accuracy in %, and the mean of -log p(label)."""
        logits = np.stack([np.asarray(next(iter(p.values())), np.float64) for p in predictions])
        labels = np.array([int(t["label"]) for t in truths])
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return {
            "accuracy": float(100 * (logits.argmax(axis=1) == labels).mean()),
            "cross_entropy": float(-log_p[np.arange(len(labels)), labels].mean()),
        }


METRICS = ClassificationMetrics()
