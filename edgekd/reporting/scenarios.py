"""Camera and throughput benches, each in a section of its own: their figures answer other questions than latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekd.measuring.measurement import Measurement, PacedRun
from edgekd.reporting.formatting import ABSENT, milliseconds, ratio, share, spread_of
from edgekd.reporting.latency import benches, conditions, costs, distribution, name, verdicts
from edgekd.reporting.page import Html, badge, element, figure, folded, join, section, table
from edgekd.reporting.plots import Level, Series, chart, key
from edgekd.reporting.scenario_tables import highest_rate

PACED, OFFLINE = "Camera", "Throughput"
_SHOWN_FRAMES = 400  # of one process in the plot over time


def paced_section(measurements: Sequence[Measurement]) -> Html | None:
    """None where no camera was measured."""
    lead = (
        "Frames arrive by a fixed clock. One waits at most, and a newer one takes its place; latency counts from the "
        "scheduled arrival. A frame is missed when its result comes after the next frame was due, or when it was "
        "dropped. The highest rate is the one up to which at most 1 % are missed, found by bisection in each process."
    )
    return _section(PACED, lead, "paced", measurements, _paced)


def offline_section(measurements: Sequence[Measurement]) -> Html | None:
    """None where no throughput was measured."""
    lead = (
        "Samples a second when nobody waits for a single one: sessions side by side, each called from a thread of its "
        "own, and several samples in one call where the graph has a batch axis. Which arrangement is fastest was found "
        "by trying. Only inference counts. The median of the processes, with the least and the greatest."
    )
    return _section(OFFLINE, lead, "offline", measurements, _offline)


def _section(
    title: str,
    lead: str,
    scenario: str,
    measurements: Sequence[Measurement],
    show: Callable[[Sequence[Measurement]], Html],
) -> Html | None:
    groups = benches([m for m in measurements if m.conditions.scenario == scenario])[::-1]
    if not groups:
        return None
    parts = []
    for index, group in enumerate(groups):
        asked = group[0].conditions
        rate = f" at {asked.fps:g} frames/s" if asked.fps else ""
        when = group[0].created[:16].replace("T", " ")
        heading = f"{asked.length} bench{rate} of {when} UTC on {group[0].machine.title}"
        shown = join(show(group), costs(group), element("div", conditions(group)), verdicts(group))
        parts.append(join(element("h3", heading), shown) if index == 0 else folded(heading, shown))
    return section(title, lead, parts)


def _paced(group: Sequence[Measurement]) -> Html:
    ordered = sorted(group, key=lambda m: -((m.paced and m.paced.highest_fps) or 0.0))
    plots = [plot for plot in (_misses(ordered), _over_time(ordered), distribution(ordered, "from-arrival")) if plot]
    columns = (
        *("contender", "p50", "headline p90", "p99", "missed", "late", "dropped", "frames"),
        *("highest frames/s", "verdict"),
    )
    rows: list[list[Any]] = []
    for item in ordered:
        found = item.paced
        if found is None:
            continue
        figures = item.spans["from-arrival"].percentiles_ms
        rows.append(
            [
                name(item),
                milliseconds(figures["p50"]),
                spread_of(item.headline.p90_ms, item.headline.low_ms, item.headline.high_ms),
                milliseconds(figures["p99"]),
                share(found.missed_share),
                share(found.late / found.frames),
                share(found.dropped_share),
                f"{found.frames:,}",
                highest_rate(item),
                _badge(item),
            ]
        )
    deadline = next(item.paced.deadline_ms for item in ordered if item.paced)
    heading = element("h4", f"From arrival, ms; deadline {milliseconds(deadline)} ms")
    return join(element("div", plots, class_="plots"), heading, table(columns, rows, columns[1:9]))


def _misses(group: Sequence[Measurement]) -> Html | None:
    """Misses against the rate: every trial of every process."""
    series = []
    for color, item in enumerate(group):
        trials = sorted((trial.fps, 100 * trial.missed_share) for run in _runs(item) for trial in run.trials)
        if trials:
            rates, missed = zip(*trials, strict=True)
            series.append(Series(item.artifact.name, rates, missed, color=color))
    if not series:
        return None
    drawn = chart(
        series,
        title="Missed frames against the camera's rate, by contender",
        x_label="frames/s (log)",
        y_label="missed, %",
        levels=[Level("1 %", 1.0, color=7, dash="dotted")],
        x_log=True,
        y_limits=(0, 102),
    )
    return figure(drawn, "Missed frames at each rate that was tried; dotted: 1 %.", key=key(series))


def _over_time(group: Sequence[Measurement]) -> Html | None:
    """Latency from arrival of the first process's frames, one after another."""
    series, deadline = [], 0.0
    for color, item in enumerate(group):
        runs = _runs(item)
        if not runs or item.paced is None or not item.conditions.fps:
            continue
        frames = np.asarray(runs[0].processed[:_SHOWN_FRAMES], np.float64)
        taken = np.asarray(item.workers[0].result.samples_us["from-arrival"][:_SHOWN_FRAMES], np.float64) / 1e3
        series.append(Series(item.artifact.name, frames / item.conditions.fps, taken, color=color))
        deadline = item.paced.deadline_ms
    if not series:
        return None
    drawn = chart(
        series,
        title="Latency from arrival over time, by contender",
        x_label="arrival, s",
        y_label="from arrival, ms",
        levels=[Level("deadline", deadline, color=7, dash="dotted")],
    )
    return figure(drawn, f"The first {_SHOWN_FRAMES} frames of the first process; dotted: deadline.", key=key(series))


def _runs(item: Measurement) -> list[PacedRun]:
    return [worker.result.paced for worker in item.workers if worker.result.paced is not None]


def _offline(group: Sequence[Measurement]) -> Html:
    ordered = sorted(group, key=lambda m: -m.fps.value)
    references = {c.reference_sha256 + c.reference for item in group for c in item.comparisons}
    columns = ("contender", "samples/s", "arrangement", "times faster", "verdict")
    rows: list[list[Any]] = []
    for item in ordered:
        found = item.offline
        if found is None:
            continue
        tried = "; ".join(f"{t.arrangement}: {t.samples_per_second:,.0f}" for t in found.tried)
        faster = next((ratio(c.speedup, c.low, c.high) for c in item.comparisons), ABSENT)
        rows.append(
            [
                name(item),
                spread_of(found.samples_per_second, found.low, found.high),
                element("span", str(found.arrangement), element("span", f"tried: {tried}", class_="side")),
                "reference" if item.artifact.sha256 + item.artifact.name in references else faster,
                _badge(item),
            ]
        )
    return join(element("h4", "Samples a second"), table(columns, rows, ("samples/s", "times faster")))


def _badge(item: Measurement) -> Html:
    return badge(item.verdict.label, "good" if item.verdict.claimable else "mild")
