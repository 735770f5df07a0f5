"""Bench results for the terminal: no figure without its conditions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgekd.measuring.claims import Assessment, Status
from edgekd.measuring.measurement import Comparison, Measurement, Span
from edgekd.reporting.formatting import ABSENT as UNSUPPORTED
from edgekd.reporting.formatting import milliseconds as _milliseconds
from edgekd.reporting.formatting import spread_of
from edgekd.reporting.scenario_tables import STYLES as _STYLES
from edgekd.reporting.scenario_tables import graph_bytes, layers_table, offline_table, paced_table, unknown_memory
from edgekd.reporting.scenario_tables import plain_table as _table

_STATUS_STYLES = {
    Status.REPRODUCED: "green",
    Status.BETTER: "green",
    Status.WORSE: "red",
    Status.NOT_COMPARABLE: "yellow",
    Status.NOT_RUN: "dim",
}


def bench_table(measurements: Sequence[Measurement], verbose: bool = False) -> RenderableType:
    """Latency, camera or throughput; startup and memory; layers; conditions; verdicts with reasons.

    All measurements are of one bench, so of one scenario.

    ``verbose`` prints every reason of a verdict instead of the first two.
    """
    by_scenario = {"single": latency_table, "paced": paced_table, "offline": offline_table}
    layers = [table for item in measurements if (table := layers_table(item)) is not None]
    return Group(
        by_scenario[measurements[0].conditions.scenario](measurements),
        cost_table(measurements),
        *layers,
        conditions(measurements),
        verdicts(measurements, None if verbose else 2),
    )


def latency_table(measurements: Sequence[Measurement]) -> Table:
    """Fastest first. The p90 is the headline, with the least and the greatest of the worker processes."""
    span = measurements[0].headline.span
    table = _table(f"latency {span}, ms")
    table.add_column("contender")
    table.add_column("precision")
    for name in ("p50", "p90", "p99"):
        table.add_column(name, justify="right")
    table.add_column("frames/s", justify="right")
    table.add_column("times faster", justify="right")
    table.add_column("verdict")
    references = {comparison.reference for item in measurements for comparison in item.comparisons}
    for item in sorted(measurements, key=lambda m: m.spans[m.headline.span].mean_ms):
        own = item.headline.span
        percentiles = item.spans[own].percentiles_ms
        table.add_row(
            item.artifact.name,
            item.artifact.precision,
            _milliseconds(percentiles["p50"]),
            headline(item),
            _milliseconds(percentiles["p99"]),
            f"{item.fps.value:.1f}" + ("" if own == span else f" ({own})"),
            "1 (reference)" if item.artifact.name in references else speedup(item, span),
            Text(item.verdict.label, style=_STYLES[item.verdict.label]),
        )
    return table


def cost_table(measurements: Sequence[Measurement]) -> Table:
    """What comes before the first result, and what stays resident; each in a process of its own."""
    table = _table("startup (ms) and memory (MB)")
    table.add_column("contender")
    for name in ("import", "load", "first", "sum", "RSS rise", "PSS", "device", "NVML", "file", "weights"):
        table.add_column(name, justify="right")
    for item in measurements:
        start, memory = item.startup, item.memory
        table.add_row(
            item.artifact.name + (" (imports torch)" if start.torch_imported else ""),
            f"{start.import_ms:.0f}",
            f"{start.load_ms:.0f}",
            f"{start.first_inference_ms:.1f}",
            f"{start.device_ms:.0f}",
            _megabytes(memory.rss_increase_bytes),
            _megabytes(memory.pss_bytes),
            _megabytes(memory.device_bytes),
            _megabytes(memory.nvml_increase_bytes),
            _megabytes(memory.artifact_bytes),
            _megabytes(memory.parameters_bytes),
        )
    return table


def conditions(measurements: Sequence[Measurement]) -> Text:
    """What holds for all of the bench, then what is each contender's own."""
    first = measurements[0]
    asked = first.conditions
    batch = "" if first.offline else f", batch {asked.batch}"
    lines = [
        f"on {first.machine.title}",
        f"scenario {asked.scenario}{batch}, {asked.warm_up} warm-up, seed {asked.seed}, "
        f"contenders in turns over {asked.workers} rounds",
    ]
    for item in measurements:
        threads = _count(item.threads, "thread") if item.threads else "default threads"
        inputs = ", ".join(f"{n} {'×'.join(map(str, s))}" for n, s in item.artifact.inputs.items())
        versions = " ".join(f"{name} {version}" for name, version in item.artifact.versions.items())
        took = item.workers[0].result.inputs
        lines.append(
            f"{item.artifact.name}: {item.artifact.target}/{item.artifact.profile}, {threads}, {inputs}, "
            f"{item.runs:,} runs on {took.originals} samples and {took.jittered} variants, {versions}"
        )
    ratio = next((c for item in measurements for c in item.comparisons), None)
    if ratio is not None:
        lines.append(
            f"times faster than {ratio.reference}, with the {ratio.confidence:.0%} bootstrap interval "
            f"over {ratio.rounds} paired rounds"
        )
    lines += graph_bytes(measurements)
    lines += [f"memory: {what}" for what in unknown_memory(measurements)]
    if first.lock_command:
        lines.append(f"to hold the clock still: {first.lock_command}")
    return Text("\n".join(lines), style="dim")


def verdicts(measurements: Sequence[Measurement], most: int | None = None) -> Text:
    """Why a figure may not be claimed, at most ``most`` reasons each."""
    text = Text()
    for item in measurements:
        reasons = item.verdict.reasons
        if not reasons:
            continue
        shown = reasons[:most]
        more = f"; and {len(reasons) - len(shown)} more" if len(shown) < len(reasons) else ""
        text.append(f"{item.artifact.name}: {item.verdict.label}", style=_STYLES[item.verdict.label]).append(
            f": {'; '.join(shown)}{more}\n"
        )
    text.rstrip()
    return text


def claims_table(assessments: Sequence[Assessment]) -> Table:
    """The paper's figure beside ours, and why the two compare or do not."""
    table = _table("against the paper")
    table.add_column("claim")
    table.add_column("theirs", justify="right")
    table.add_column("ours", justify="right")
    table.add_column("status")
    table.add_column("because")
    for item in assessments:
        ours = UNSUPPORTED if item.evidence is None else f"{item.evidence.value:,.6g}"
        gap = "" if item.relative is None or item.differs else f"{item.relative:+.1%}"
        table.add_row(
            item.claim.id,
            f"{item.claim.value:,.6g} {item.claim.unit}",
            ours,
            Text(str(item.status), style=_STATUS_STYLES[item.status]),
            "; ".join(item.differs) or gap,
        )
    return table


def headline(measurement: Measurement) -> str:
    figure = measurement.headline
    return spread_of(figure.p90_ms, figure.low_ms, figure.high_ms)


def speedup(measurement: Measurement, span: Span) -> str:
    """Over ``span``, else over inference alone, which then is said."""
    found: dict[Span, Comparison] = {c.span: c for c in measurement.comparisons}
    best = found.get(span) or found.get("infer")
    if best is None:
        return UNSUPPORTED
    named = "" if best.span == span else f" ({best.span})"
    return f"{best.speedup:.2f} [{best.low:.2f}, {best.high:.2f}]{named}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _megabytes(value: int | None) -> str:
    return UNSUPPORTED if value is None else f"{value / 1e6:.1f}"
