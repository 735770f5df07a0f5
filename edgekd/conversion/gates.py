"""The gates: an error is caught at the arrow that made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekd.bundle.distance import distance
from edgekd.bundle.manifest import Distance, GateRecord
from edgekd.bundle.sequences import InOrder
from edgekd.contracts import Arrays, Precision, Session
from edgekd.errors import GateError
from edgekd.measuring.quality import bootstrap_loss, relative_loss
from edgekd.recipes.contract import Metrics, Pipeline

NUMERIC_LIMIT = 1e-4  # fp32: max|a-b| / max(1, max|b|)
METRIC_LIMITS = {  # most of the fp32 metric that may be lost, as a share of itself
    Precision.FP32: 0.001,
    Precision.BF16: 0.001,
    Precision.FP16: 0.001,
}
METRIC_LIMIT = 0.02  # int8, compressed weights, mixed
# A model without metrics, in any precision below fp32: the least SQNR of every output. At 20 dB the noise is a tenth
# of the output, and the cosine at least 0.995; sound calibrations to int8 lie between 25 and 45 dB, bf16 near 50.
SQNR_LIMIT = 20.0
EQUAL_LIMIT = 0.98  # of an output that is counted (a class, a mask): the least share that stays as it was


class Witness:
    """What one side of an arrow says about the held-out samples: outputs and, with a pipeline, predictions."""

    def __init__(
        self, outputs: Sequence[Arrays], pipeline: Pipeline | None = None, raws: Sequence[Arrays] = ()
    ) -> None:
        self.outputs = {n: np.stack([o[n] for o in outputs]) for n in outputs[0]}
        self.predictions: list[dict[str, Any]] = (
            [pipeline.postprocess(o, raw) for o, raw in zip(outputs, raws, strict=True)] if pipeline else []
        )


def witness(session: Session, pipeline: Pipeline, raws: Sequence[Arrays]) -> Witness:
    """``session`` carries its own state, if there is any."""
    return Witness([*map(InOrder(session, pipeline).outputs, raws)], pipeline, raws)


def judge(
    arrow: str,
    before: Witness,
    after: Witness,
    *,
    precision: Precision,
    where: str,
    metrics: Metrics,
    truths: Sequence[Arrays],
) -> GateRecord:
    """Compares the two sides of an arrow.

    fp32 arrows must keep every output within ``NUMERIC_LIMIT``; every arrow must keep the primary metric
    within the precision's limit, with one sample of slack: the limit must hold with at most the one sample
    left out that lost most.
    """
    name = metrics.primary
    was, now = (metrics.compute(w.predictions, truths)[name] for w in (before, after))
    loss = relative_loss(metrics, was, now)
    limit = METRIC_LIMITS.get(precision, METRIC_LIMIT)
    distances = {n: distance(after.outputs[n], before.outputs[n]) for n in before.outputs}
    worst = max(d.relative_max for d in distances.values())
    allowed = f"{name} may lose {limit:.1%}, one sample of slack"
    why = ""
    finite = bool(np.isfinite(now) and np.isfinite(worst))
    if precision == Precision.FP32:
        allowed = f"outputs within {NUMERIC_LIMIT:g}; {allowed}"
        if not worst <= NUMERIC_LIMIT:
            why = f"outputs differ by {worst:.3g}, allowed {NUMERIC_LIMIT:g}"
    if not why and not (finite and (loss <= limit or _slack(metrics, before, after, truths) <= limit)):
        unit = metrics.units.get(name, "")
        why = f"{name} went from {was:.4g} to {now:.4g} {unit} ({loss:+.1%}, allowed {limit:+.1%})"
    interval = None
    if finite and np.isfinite(loss):  # a metric that was perfect has no relative loss to spread
        interval = bootstrap_loss(metrics, before.predictions, after.predictions, truths)
    return GateRecord(
        arrow=arrow,
        where=where,
        metric=name,
        before=was,
        after=now,
        relative_loss=loss,
        interval=interval,
        limit=allowed,
        samples=len(truths),
        distance=distances,
        passed=not why,
        why=why,
    )


def judge_numbers(arrow: str, before: Witness, after: Witness, *, precision: Precision, where: str) -> GateRecord:
    """Compares the two sides of an arrow of a model that has no metrics, output by output."""
    distances = {n: distance(after.outputs[n], before.outputs[n]) for n in before.outputs}
    exact = precision == Precision.FP32
    found = [why for name, d in distances.items() if (why := _shortfall(name, d, exact))]
    allowed = f"outputs within {NUMERIC_LIMIT:g}" if exact else f"SQNR of every output at least {SQNR_LIMIT:g} dB"
    return GateRecord(
        arrow=arrow,
        where=where,
        limit=allowed,
        samples=len(next(iter(before.outputs.values()))),
        distance=distances,
        passed=not found,
        why="; ".join(found),
    )


def _shortfall(name: str, found: Distance, exact: bool) -> str:
    """Why an output is too far from its reference; empty where it is not."""
    if found.equal is not None:
        least = 1.0 if exact else EQUAL_LIMIT
        return "" if found.equal >= least else f"{found.equal:.1%} of {name} are equal, at least {least:.0%} must be"
    if exact:
        differ = f"{name} differs by {found.relative_max:.3g}, allowed {NUMERIC_LIMIT:g}"
        return "" if found.relative_max <= NUMERIC_LIMIT else differ
    if not np.isfinite(found.relative_max):
        return f"{name} is not finite"
    if found.sqnr_db is None or found.sqnr_db >= SQNR_LIMIT:
        return ""
    return f"{name} has an SQNR of {found.sqnr_db:.1f} dB, at least {SQNR_LIMIT:g} dB must be"


def require(record: GateRecord) -> None:
    """Raises GateError, naming the arrow and both figures, for a record that did not pass."""
    if not record.passed:
        raise GateError(
            f"the arrow {record.arrow} failed its gate",
            f"{record.why}; {record.samples} held-out samples, in {record.where}",
            "no bundle was written; `edgekd export --precision auto` ships the best precision that passes",
        )


def _slack(metrics: Metrics, before: Witness, after: Witness, truths: Sequence[Arrays]) -> float:
    """The smallest relative loss with any one sample left out."""
    everything = range(len(truths))
    losses = []
    for left_out in everything:
        kept = [i for i in everything if i != left_out]
        if not kept:
            return float("inf")
        chosen = [truths[i] for i in kept]
        was, now = (metrics.compute([w.predictions[i] for i in kept], chosen) for w in (before, after))
        losses.append(relative_loss(metrics, was[metrics.primary], now[metrics.primary]))
    return min(losses)
