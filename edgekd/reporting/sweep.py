"""A picture of what latency costs: the primary metric of one artefact at several latencies."""

from __future__ import annotations

from pathlib import Path

from edgekd.errors import InputError
from edgekd.measuring.quality import Evaluation
from edgekd.reporting.plots import require_matplotlib
from edgekd.storage import refuse_existing, whole_file

_INK, _LINE, _MARK = "#222222", "#1f6feb", "#d1495b"


def check_output(path: Path, latency: str | None, overwrite: bool) -> None:
    """Before anything is run.

    Raises:
        InputError: there is nothing to draw, no PNG is asked for, or something is there already.
        MachineError: matplotlib is not installed.
    """
    if latency is None:
        raise InputError("--out draws the metric against latency", "--latency was not given", "--latency measured")
    if path.suffix.lower() != ".png":
        raise InputError(f"cannot draw to {path}", "it is no .png", "--out sap.png")
    refuse_existing(path, overwrite)
    require_matplotlib()


def draw_sweep(result: Evaluation, path: Path) -> None:
    """The curve over constant latencies, and the point that was asked for."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    clock = result.clock
    assert clock is not None
    assert clock.sweep
    latencies, values = zip(*clock.sweep, strict=True)
    name = next(iter(clock.metrics))
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change it
        matplotlib.rcParams["text.parse_math"] = False
        figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        step = latencies[1] - latencies[0]  # half the time between frames
        for frame in range(1, round(latencies[-1] / step / 2) + 1):
            axes.axvline(2 * frame * step, color="#dddddd", linewidth=0.8, zorder=0)
        axes.plot(latencies, values, color=_LINE, marker="o", markersize=3.5, label="constant latency")
        axes.plot(
            [clock.latency_ms], [clock.metrics[name]], color=_MARK, marker="D", linestyle="none",
            label=f"{clock.latency}: {clock.latency_ms:.1f} ms, {name} {clock.metrics[name]:.1f}",
        )  # fmt: skip
        axes.set_xlabel("latency from frame to boxes, ms (lines: frames arrive)", color=_INK)
        axes.set_ylabel(f"{name}, {result.units.get(name, '')}".rstrip(", "), color=_INK)
        axes.set_title(f"{result.artifact}: {result.target} {result.precision}, {clock.samples} frames", fontsize=9)
        axes.set_ylim(0, 1.4 * max(*values, clock.metrics[name], 1e-6))  # the legend is above
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper right")
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png")
