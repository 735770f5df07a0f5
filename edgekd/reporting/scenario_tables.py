"""Camera, throughput, layers, and memory that is not told: of a bench, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from edgekd.measuring.layers import top
from edgekd.measuring.measurement import LayerTime, Measurement
from edgekd.reporting.formatting import ABSENT, milliseconds, share, spread_of

STYLES = {
    "valid": "green",
    "not reproduced": "yellow",
    "contended": "yellow",
    "not settled": "yellow",
    "not reportable": "yellow",
}
MOST_LAYERS = 15


def paced_table(measurements: Sequence[Measurement]) -> Table:
    """By the highest rate that holds. Misses are late frames and dropped ones."""
    first = measurements[0]
    deadline = first.paced.deadline_ms if first.paced else 0.0
    table = plain_table(f"camera of {first.conditions.fps:g} frames/s: ms from arrival, deadline {deadline:.1f} ms")
    for name in ("contender", "precision"):
        table.add_column(name)
    for name in ("p50", "p90", "p99", "missed", "dropped", "frames", "highest frames/s"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for item in sorted(measurements, key=lambda m: -((m.paced and m.paced.highest_fps) or 0)):
        paced = item.paced
        if paced is None:
            continue
        figures = item.spans[item.headline.span].percentiles_ms
        table.add_row(
            item.artifact.name,
            item.artifact.precision,
            milliseconds(figures["p50"]),
            spread_of(item.headline.p90_ms, item.headline.low_ms, item.headline.high_ms),
            milliseconds(figures["p99"]),
            share(paced.missed_share),
            share(paced.dropped_share),
            f"{paced.frames:,}",
            highest_rate(item),
            Text(item.verdict.label, style=STYLES[item.verdict.label]),
        )
    return table


def highest_rate(item: Measurement) -> str:
    """With the least and the greatest of the processes; below the lowest that was tried where none held."""
    if item.paced is None:
        return ABSENT
    if item.paced.highest_fps is not None:
        return spread_of(item.paced.highest_fps, item.paced.highest_low, item.paced.highest_high)
    runs = [worker.result.paced for worker in item.workers if worker.result.paced]
    return f"< {min(trial.fps for run in runs for trial in run.trials):.1f}"


def offline_table(measurements: Sequence[Measurement]) -> Table:
    """Most samples a second first."""
    table = plain_table("throughput of infer, samples/s")
    for name in ("contender", "precision"):
        table.add_column(name)
    table.add_column("samples/s", justify="right")
    table.add_column("arrangement")
    table.add_column("times faster", justify="right")
    table.add_column("verdict")
    references = {comparison.reference for item in measurements for comparison in item.comparisons}
    for item in sorted(measurements, key=lambda m: -m.fps.value):
        if item.offline is None:
            continue
        faster = next((f"{c.speedup:.2f} [{c.low:.2f}, {c.high:.2f}]" for c in item.comparisons), ABSENT)
        table.add_row(
            item.artifact.name,
            item.artifact.precision,
            spread_of(item.offline.samples_per_second, item.offline.low, item.offline.high),
            str(item.offline.arrangement),
            "1 (reference)" if item.artifact.name in references else faster,
            Text(item.verdict.label, style=STYLES[item.verdict.label]),
        )
    return table


def layers_table(item: Measurement) -> Table | None:
    """The slowest nodes and the rest in one row; None where nothing was profiled."""
    if item.profile is None:
        return None
    shown, rest = top(item.profile, MOST_LAYERS)
    table = plain_table(
        f"layers of {item.artifact.name}, ms per call (mean of {item.profile.calls}, with the profiler on)"
    )
    for name in ("node", "op", "kernel", "precision"):
        table.add_column(name, overflow="fold")
    for name in ("ms", "share"):
        table.add_column(name, justify="right")
    for layer in (*shown, *([rest] if rest else [])):
        table.add_row(*layer_cells(layer, item.profile.total_ms))
    whole = LayerTime(node="sum", op="", kernel="", precision="", ms=item.profile.total_ms)
    table.add_row(*layer_cells(whole, item.profile.total_ms), style="bold")
    return table


def layer_cells(layer: LayerTime, total_ms: float) -> list[str]:
    part = layer.ms / total_ms if total_ms else 0.0
    return [layer.node, layer.op, layer.kernel, layer.precision, f"{layer.ms:.4f}", share(part)]


def unknown_memory(measurements: Sequence[Measurement]) -> list[str]:
    """Each figure of memory that is missing or not whole, with the reason, once."""
    names = {
        "rss_high_water_bytes": "RSS rise",
        "pss_bytes": "PSS",
        "device_bytes": "device",
        "nvml_increase_bytes": "NVML",
    }
    reasons: dict[str, None] = {}
    for item in measurements:
        for name, why in item.memory.unknown.items():
            reasons[f"{names.get(name, name)}: {why}"] = None
    return list(reasons)


def graph_bytes(measurements: Sequence[Measurement]) -> list[str]:
    """The files of each graph, of contenders that load several."""
    lines = []
    for item in measurements:
        sizes = [f"{name} {size / 1e6:.2f} MB" for name, size in item.memory.graphs_bytes.items()]
        lines += [f"{item.artifact.name} loads {', '.join(sizes)}"] if sizes else []
    return lines


def plain_table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
