"""Metrics of a regression: truth and prediction are arrays by output name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekd.contracts import Arrays


class RegressionMetrics:
    primary = "r2"
    higher_is_better = True
    units = {"r2": "", "rmse": ""}  # noqa: RUF012

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """The share of the truth's variance that is explained, and the root of the mean squared error."""
        names = sorted(truths[0])
        found, true = (
            np.array([np.concatenate([np.ravel(row[name]) for name in names]) for row in rows], np.float64)
            for rows in (predictions, truths)
        )
        error = np.square(found - true).sum()
        return {
            "r2": float(1 - error / np.square(true - true.mean(axis=0)).sum()),
            "rmse": float(np.sqrt(error / true.size)),
        }


METRICS = RegressionMetrics()
