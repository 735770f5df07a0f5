"""Quality against a clock: what a student is worth whose predictions come late, for metrics that know of time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekd.contracts import Arrays, Session, StrictModel
from edgekd.errors import InputError
from edgekd.recipes.contract import Metrics, Pipeline, Schedule, TimedMetrics

MEASURED = "measured"
WARM_UP = 10  # samples that are not timed
SWEEP = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)  # latencies of a curve, in samples' distances


class Clocked(StrictModel):
    """The metrics at one latency from taking a sample to its prediction, pre- and postprocessing included."""

    latency: str  # "measured", or what was given
    latency_ms: float  # median
    samples: int
    seen: int  # the others came while it was busy
    metrics: dict[str, float]
    sweep: tuple[tuple[float, float], ...] = ()  # (constant latency in ms, primary metric)


def against_clock(
    session: Session,
    pipeline: Pipeline,
    metrics: Metrics,
    raws: Sequence[Arrays],
    truths: Sequence[Arrays],
    latency: str,
    sweep: bool = False,
) -> Clocked:
    """The figures of a student that takes a new sample whenever it is free.

    A student with state is asked in the order in which it would be: what it never sees is not in its state.

    Args:
        latency: milliseconds, or ``measured``: here, now, one sample after another.
        sweep: at other latencies, too, for a curve.

    Raises:
        InputError: the metrics know nothing of time, or ``latency`` is no time.
    """
    if not isinstance(metrics, TimedMetrics):
        raise InputError("--latency does not apply", "the recipe's metrics do not depend on when a prediction comes")
    given = _given(latency)
    known: dict[tuple[tuple[int, ...], ...], list[dict[str, Any]]] = {}

    def figures(latencies_ms: Sequence[float]) -> tuple[dict[str, float], int]:
        schedule = metrics.schedule(truths, latencies_ms)
        runs = tuple(tuple(run) for run in schedule.seen)
        if runs not in known:
            known[runs] = _asked(session, pipeline, raws, schedule)[0]
        return metrics.streamed(schedule, known[runs], truths), sum(map(len, runs))

    latencies = given or _measured(session, pipeline, metrics, raws, truths)
    found, seen = figures(latencies)
    step = metrics.step_ms(truths)
    return Clocked(
        latency=latency if given is None else f"{given[0]:g} ms",
        latency_ms=float(np.median(latencies)),
        samples=len(truths),
        seen=seen,
        metrics=found,
        sweep=tuple((k * step, figures([k * step])[0][metrics.primary]) for k in SWEEP) if sweep else (),
    )


def _given(latency: str) -> list[float] | None:
    if latency == MEASURED:
        return None
    try:
        value = float(latency.removesuffix("ms"))
    except ValueError:
        value = float("nan")
    if not 0 <= value < 1e6:
        raise InputError(f"--latency {latency} is no time", "it is milliseconds, or measured", "--latency 33")
    return [value]


def _asked(
    session: Session, pipeline: Pipeline, raws: Sequence[Arrays], schedule: Schedule
) -> tuple[list[dict[str, Any]], list[float]]:
    """Predictions of the schedule's samples, in order, and how many milliseconds each took."""
    said, took = [], []
    for run in schedule.seen:
        session.reset()
        for k in run:
            start = time.perf_counter_ns()
            said.append(pipeline.postprocess(session.run(pipeline.preprocess(raws[k])), raws[k]))
            took.append((time.perf_counter_ns() - start) / 1e6)
    return said, took


def _measured(
    session: Session, pipeline: Pipeline, metrics: TimedMetrics, raws: Sequence[Arrays], truths: Sequence[Arrays]
) -> list[float]:
    """Of every sample after the first few; all of them, where there are no more than these."""
    _, took = _asked(session, pipeline, raws, metrics.schedule(truths, [0.0]))
    return took[WARM_UP:] or took
