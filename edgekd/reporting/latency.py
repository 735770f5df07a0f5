"""Latency of each bench: distributions from the raw samples, figures, conditions, and whether they may be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.measuring.measurement import Comparison, Measurement, Span
from edgekd.reporting.formatting import ABSENT, megabytes, milliseconds, ratio
from edgekd.reporting.page import Html, badge, element, figure, folded, join, section, table
from edgekd.reporting.plots import Level, Series, chart, cumulative, key, spans_decades
from edgekd.reporting.scenario_tables import graph_bytes, unknown_memory

TITLE = "Latency and memory"
SPANS: tuple[Span, ...] = ("end-to-end", "infer")
TOGETHER_S = 120.0  # one bench writes all of its measurements at its end, within seconds


def latency_section(measurements: Sequence[Measurement]) -> Html | None:
    """Of scenario ``single``: newest bench first, older ones are folded. None where nothing was measured."""
    groups = benches([m for m in measurements if m.conditions.scenario == "single"])[::-1]
    if not groups:
        return None
    lead = (
        "The share of runs that took at most so long, from every raw sample; thin lines are single worker processes. "
        "The headline is the p90, the median of the processes with the least and the greatest of them. A percentile "
        "that the number of runs does not support is left out."
    )
    parts = []
    for index, group in enumerate(groups):
        first = group[0]
        title = (
            f"{first.conditions.length} bench of {first.created[:16].replace('T', ' ')} UTC on {first.machine.title}"
        )
        shown = _bench(group)
        parts.append(join(element("h3", title), shown) if index == 0 else folded(title, shown))
    return section(TITLE, lead, parts)


def benches(measurements: Sequence[Measurement]) -> list[list[Measurement]]:
    """Measurements of one bench together: same machine and conditions, written together, no artefact twice."""
    groups: list[list[Measurement]] = []
    for item in sorted(measurements, key=lambda m: m.created):
        last = groups[-1] if groups else []
        apart = not last or (
            (item.machine_id, item.conditions) != (last[0].machine_id, last[0].conditions)
            or _contender(item) in map(_contender, last)
            or _seconds(last[0], item) > TOGETHER_S
        )
        if apart:
            groups.append([item])
        else:
            last.append(item)
    return groups


def samples_ms(measurement: Measurement, span: Span) -> list[NDArray[np.float64]]:
    """One array per worker process; none where the span was not measured."""
    found = (worker.result.samples_us.get(span) for worker in measurement.workers)
    return [np.asarray(samples, np.float64) / 1e3 for samples in found if samples]


def _contender(item: Measurement) -> tuple[str, str, str, str]:
    return item.artifact.sha256, item.artifact.target, item.artifact.profile, item.artifact.graph


def _seconds(first: Measurement, second: Measurement) -> float:
    times = [datetime.fromisoformat(m.created.replace("Z", "+00:00")) for m in (first, second)]
    return abs((times[1] - times[0]).total_seconds())


def _bench(group: Sequence[Measurement]) -> Html:
    ordered = sorted(group, key=lambda m: m.spans[m.headline.span].mean_ms)
    plots = [plot for span in SPANS if (plot := distribution(ordered, span)) is not None]
    return join(
        element("div", plots, class_="plots"),
        _latency_table(ordered),
        costs(ordered),
        element("div", conditions(ordered)),
        verdicts(ordered),
    )


def distribution(group: Sequence[Measurement], span: Span) -> Html | None:
    series: list[Series] = []
    for color, item in enumerate(group):
        workers = samples_ms(item, span)
        if not workers:
            continue
        for worker in workers if len(workers) > 1 else ():
            series.append(Series(item.artifact.name, *cumulative(worker, 120), color=color, faint=True))
        series.append(Series(_label(item), *cumulative(np.concatenate(workers)), color=color))
    if not series:
        return None
    everything = np.concatenate([np.asarray(line.x) for line in series])
    log = spans_decades(everything)
    drawn = chart(
        series,
        title=f"Latency {span}: share of runs at or below, by contender",
        x_label=f"{span}, ms" + (" (log)" if log else ""),
        y_label="share of runs",
        levels=[Level("p90", 0.9, color=7, dash="dotted")],
        x_log=log,
        y_limits=(0, 1.02),
    )
    runs = ", ".join(f"{item.artifact.name} {item.spans[span].runs:,}" for item in group if span in item.spans)
    return figure(drawn, f"{span}; dotted: 90 %. Runs: {runs}.", key=key(series))


def _label(item: Measurement) -> str:
    return f"{item.artifact.name} ({item.artifact.precision})"


def _latency_table(group: Sequence[Measurement]) -> Html:
    references = {c.reference_sha256 + c.reference for item in group for c in item.comparisons}
    columns = ("contender", "span", "p50", "p90", "headline p90", "min – max", "frames/s", "times faster", "verdict")
    rows = []
    for item in group:
        span = item.headline.span
        figures = item.spans[span]
        is_reference = item.artifact.sha256 + item.artifact.name in references
        low, high = item.headline.low_ms, item.headline.high_ms
        spread = "" if low is None or high is None else f"{milliseconds(low)} – {milliseconds(high)}"
        rows.append(
            [
                name(item),
                span,
                milliseconds(figures.percentiles_ms.get("p50")),
                milliseconds(figures.percentiles_ms.get("p90")),
                element("span", milliseconds(item.headline.p90_ms), element("span", spread, class_="side")),
                f"{milliseconds(figures.min_ms)} – {milliseconds(figures.max_ms)}",
                f"{item.fps.value:.1f}",
                "reference" if is_reference else _speedups(item),
                badge(item.verdict.label, "good" if item.verdict.claimable else "mild"),
            ]
        )
    return join(element("h4", "Latency, ms"), table(columns, rows, columns[2:8]))


def name(item: Measurement) -> Html:
    about = f"{item.artifact.target}/{item.artifact.profile}, {item.artifact.precision}"
    return element("span", item.artifact.name, element("span", about, class_="side"))


def _speedups(item: Measurement) -> Html | str:
    """End-to-end first, inference beside it, each with its interval."""
    by_span: dict[Span, Comparison] = {c.span: c for c in item.comparisons}
    shown = [(span, by_span[span]) for span in SPANS if span in by_span]
    if not shown:
        return ABSENT
    lines: list[Any] = []
    for index, (span, found) in enumerate(shown):
        text = ratio(found.speedup, found.low, found.high)
        named = text if span == item.headline.span else f"{span} {text}"
        lines.append(element("span", named) if index == 0 else element("span", named, class_="side"))
    return element("span", lines)


def costs(group: Sequence[Measurement]) -> Html:
    columns = (
        *("contender", "import", "load", "first inference", "sum"),
        *("RSS rise", "PSS", "device", "NVML", "artefact", "weights"),
    )
    rows = []
    for item in group:
        start, memory = item.startup, item.memory
        name = item.artifact.name + (" (imports torch)" if start.torch_imported else "")
        rows.append(
            [
                name,
                milliseconds(start.import_ms),
                milliseconds(start.load_ms),
                milliseconds(start.first_inference_ms),
                milliseconds(start.device_ms),
                megabytes(memory.rss_increase_bytes),
                megabytes(memory.pss_bytes),
                megabytes(memory.device_bytes),
                megabytes(memory.nvml_increase_bytes),
                megabytes(memory.artifact_bytes),
                megabytes(memory.parameters_bytes),
            ]
        )
    return join(element("h4", "Start-up, ms, and memory, MB"), table(columns, rows, columns[1:]))


def conditions(group: Sequence[Measurement]) -> list[Html]:
    first = group[0]
    asked = first.conditions
    batch = "" if first.offline else f"batch {asked.batch}, "
    rate = f" at {asked.fps:g} frames/s" if asked.fps else ""
    lines = [
        f"Scenario {asked.scenario}{rate}, {batch}{asked.warm_up} warm-up, seed {asked.seed}; "
        f"{asked.workers} worker processes per contender, in turns."
    ]
    for item in group:
        inputs = ", ".join(f"{n} {'×'.join(map(str, s))}" for n, s in item.artifact.inputs.items())
        versions = ", ".join(f"{name} {version}" for name, version in item.artifact.versions.items())
        threads = f"{item.threads} threads" if item.threads else "the runtime's default threads"
        took = item.workers[0].result.inputs if item.workers else None
        fed = f", {took.originals} samples and {took.jittered} variants of them" if took else ""
        lines.append(f"{item.artifact.name}: {threads}, {inputs}{fed}; {item.runs:,} runs; {versions}.")
    compared = next((c for item in group for c in item.comparisons), None)
    if compared is not None:
        lines.append(
            f"Times faster than {compared.reference}: median over {compared.rounds} paired rounds with the "
            f"{compared.confidence:.0%} bootstrap interval."
        )
    lines += [f"{said}." for said in graph_bytes(group)]
    lines += [f"Memory that is not told: {what}." for what in unknown_memory(group)]
    return [element("span", line, class_="side") for line in lines]


def verdicts(group: Sequence[Measurement]) -> Html | None:
    reasons = [(item, reason) for item in group for reason in item.verdict.reasons]
    if not reasons:
        return None
    rows = [[item.artifact.name, item.verdict.label, "; ".join(item.verdict.reasons)] for item in group]
    names = {item.verdict.label for item in group if item.verdict.reasons}
    columns = ("contender", "verdict", "because")
    return folded(f"Why these figures may not be claimed: {', '.join(sorted(names))}", table(columns, rows))
