"""What ranges the values of a program have on the calibration set, seen by the reference evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgekd.contracts import Array, Calibration, IoSpec
from edgekd.errors import InputError
from edgekd_targets.coreml.mil.evaluator import MilReference

BINS = 2048
PERCENTILE = 99.99
_CANDIDATES = np.linspace(0.3, 1.0, 57)  # shares of the largest magnitude that a range is tried at
_STEPS = 255  # of 8 bits
STATISTICS = ("minmax", "percentile", "mse")


def ranges(package: Path, io: IoSpec, calibration: Calibration, statistics: str) -> dict[str, tuple[float, float]]:
    """Least and largest value of every floating-point result, by name, as ``statistics`` counts them.

    ``minmax`` keeps all that was seen. ``percentile`` leaves the outermost 0.01 % out. ``mse`` narrows the range to
    where rounding to 8 bits inside and clipping outside cost least together.

    Raises:
        InputError: a value that is not finite.
    """
    session = MilReference(package, io)
    seen: dict[str, tuple[float, float]] = {}

    def widen(op: str, name: str, value: torch.Tensor) -> None:
        if value.is_floating_point():
            low, high = (float(v) for v in torch.aminmax(value.float()))
            before = seen.get(name, (low, high))
            seen[name] = (min(low, before[0]), max(high, before[1]))

    for feeds in calibration:
        session.observed(feeds, widen)
    for name, found in seen.items():
        if not np.isfinite(found).all():
            raise InputError(f"{name} is not finite on the calibration samples", f"it ranges over {found}")
    if statistics == "minmax":
        return seen
    counts = {name: np.zeros(BINS) for name in seen}

    def count(op: str, name: str, value: torch.Tensor) -> None:
        if name in counts:
            low, high = seen[name]
            counts[name] += torch.histc(value.float(), BINS, low, max(high, low + 1e-12)).double().numpy()

    session.reset()
    for feeds in calibration:
        session.observed(feeds, count)
    choose = {"percentile": _percentile, "mse": _least_error}[statistics]
    return {name: choose(counts[name], *found) for name, found in seen.items()}


def _percentile(counts: Array, low: float, high: float) -> tuple[float, float]:
    edges, share = np.linspace(low, high, BINS + 1), np.cumsum(counts) / counts.sum()
    out = (1 - PERCENTILE / 100) / 2
    return float(edges[np.searchsorted(share, out)]), float(edges[min(BINS, int(np.searchsorted(share, 1 - out)) + 1)])


def _least_error(counts: Array, low: float, high: float) -> tuple[float, float]:
    edges = np.linspace(low, high, BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    best = (float("inf"), low, high)
    for share in _CANDIDATES:
        least, most = share * low, share * high
        step = (max(most, 0.0) - min(least, 0.0)) / _STEPS or 1.0
        clipped = np.clip(centres, least, most)
        inside = step**2 / 12 * counts[(centres >= least) & (centres <= most)].sum()
        error = float((np.square(centres - clipped) * counts).sum() + inside)
        best = min(best, (error, float(least), float(most)))
    return best[1], best[2]
