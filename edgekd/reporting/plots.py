"""Plots as inline SVG: drawn by matplotlib, coloured by the page's style sheet, so that they follow its scheme."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekd.errors import MachineError
from edgekd.reporting.page import Html, element

COLORS = 8  # --c0 to --c7 in report.css; a ninth series begins anew
DASHES = {"solid": "", "dashed": "5 3", "dotted": "1.5 2.5"}
_WIDTH, _HEIGHT = 4.7, 2.9  # inches of 72 px: about a column of the page, and a phone's width
_SIZES: Any = {"font.size": 9.0, "axes.labelsize": 9.0, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5}
# matplotlib knows no CSS variables, so each is drawn in a colour of its own that nothing else has.
_INK, _GRID = "#010203", "#010204"
_MARKS = {_INK: "var(--ink)", _GRID: "var(--grid)", **{f"#0102{16 + k:02x}": f"var(--c{k})" for k in range(COLORS)}}
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Series:
    """One line. ``color`` counts through the palette; ``faint`` ones are drawn thin and are not in the key."""

    label: str
    x: ArrayLike
    y: ArrayLike
    color: int = 0
    dash: str = "solid"
    faint: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line across the plot."""

    label: str
    y: float
    color: int = 0
    dash: str = "dashed"


def require_matplotlib() -> None:
    """Raises MachineError where it is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MachineError(
            "matplotlib is not installed", "it draws the report's curves", 'pip install "edgekd[report]"'
        ) from None


def chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    levels: Sequence[Level] = (),
    x_log: bool = False,
    y_log: bool = False,
    y_limits: tuple[float, float] | None = None,
    whole_x: bool = False,
) -> Html:
    """An ``<svg>`` without fixed size or colours of its own.

    Args:
        series: lines; points that are not finite, or not positive on a logarithmic axis, are left out.
        title: what a screen reader says; it is not drawn.
        levels: horizontal lines.
        y_limits: of the axis; from the data where None.
        whole_x: ticks of x at whole numbers only.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change a report
        # Names come from files: dollar signs in them are no formulas. A fixed salt keeps reports reproducible.
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": _salt(title, series),
                "text.parse_math": False,
                "axes.formatter.useoffset": False,
            }
        )
        matplotlib.rcParams.update(_SIZES)
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        _frame(axes, x_label, y_label)
        for line in series:
            _line(axes, line, x_log, y_log)
        for level in levels:
            axes.axhline(level.y, color=_color(level.color), linewidth=1.2, dashes=_dashes(level.dash))
        if x_log:
            _logarithmic(axes, "x")
        elif whole_x:
            _whole_numbers(axes)
        if y_log:
            _logarithmic(axes, "y")
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    return _inline(buffer.getvalue(), title)


def key(entries: Sequence[Series | Level]) -> list[Html]:
    """A sample of each line with its name, to stand above a plot; as HTML it wraps on a phone."""
    seen: dict[tuple[str, int, str], Html] = {}
    for entry in entries:
        if isinstance(entry, Series) and entry.faint:
            continue
        stroke = f'stroke="var(--c{entry.color % COLORS})" stroke-width="2.2" stroke-dasharray="{DASHES[entry.dash]}"'
        line = Html(f'<svg viewBox="0 0 26 8" aria-hidden="true"><path d="M1 4H25" {stroke}/></svg>')
        seen.setdefault((entry.label, entry.color, entry.dash), element("span", line, entry.label))
    return list(seen.values())


def cumulative(samples: ArrayLike, points: int = 300) -> tuple[NDArray[Any], NDArray[Any]]:
    """The empirical distribution: sorted samples and the share at or below each.

    Of long series ``points`` quantiles are kept, the extremes among them; each kept point is exact.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    n = len(ordered)
    kept = np.unique(np.linspace(0, n - 1, min(n, points)).round().astype(int))
    return ordered[kept], (kept + 1) / n


def spans_decades(values: ArrayLike, factor: float = 20.0) -> bool:
    """Whether positive values range so widely that a linear axis would hide most of them."""
    positive = np.asarray(values, dtype=np.float64)
    positive = positive[np.isfinite(positive) & (positive > 0)]
    return len(positive) > 1 and float(positive.max() / positive.min()) > factor


def _salt(title: str, series: Sequence[Series]) -> str:
    """The same for the same plot, another for every other: two plots of a page must not share clip paths."""
    data = b"".join(np.asarray(axis, np.float64).tobytes() for line in series for axis in (line.x, line.y))
    return hashlib.sha256(title.encode() + data).hexdigest()


def _frame(axes: Any, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.grid(True, color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(which="both", colors=_INK, width=0.8, length=3)


def _line(axes: Any, line: Series, x_log: bool, y_log: bool) -> None:
    x, y = np.asarray(line.x, dtype=np.float64), np.asarray(line.y, dtype=np.float64)
    shown = np.isfinite(x) & np.isfinite(y)
    shown &= ((x > 0) | (not x_log)) & ((y > 0) | (not y_log))
    style: dict[str, Any] = {"color": _color(line.color), "linewidth": 0.7 if line.faint else 1.7}
    if line.faint:
        style["alpha"] = 0.4
    if DASHES[line.dash]:
        style["dashes"] = _dashes(line.dash)
    if shown.sum() <= 15 and not line.faint:
        style.update(marker="o", markersize=3.2)
    axes.plot(x[shown], y[shown], **style)


def _whole_numbers(axes: Any) -> None:
    """Ticks of x at integers, and room around a single one."""
    low, high = axes.dataLim.intervalx
    if high - low < 1:
        axes.set_xlim(low - 0.5, high + 0.5)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


def _logarithmic(axes: Any, name: str) -> None:
    """Ticks at 1, 2, 5 within few decades, at powers of ten over many; plain numbers beside them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    getattr(axes, f"set_{name}scale")("log")
    axis = getattr(axes, f"{name}axis")
    low, high = axis.get_view_interval()
    few = high / max(low, 1e-30) < 2000
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _color(index: int) -> str:
    return f"#0102{16 + index % COLORS:02x}"


def _dashes(name: str) -> tuple[float, ...]:
    return tuple(float(part) for part in DASHES[name].split()) or (1.0, 0.0)


def _inline(svg: str, title: str) -> Html:
    """Only what a page needs: no prologue, no names that another plot on it also has, the page's own colours."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r'\s+id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)  # the page's own
    for mark, variable in _MARKS.items():
        svg = svg.replace(mark, variable)
    head, rest = svg[: svg.index(">")], svg[svg.index(">") + 1 :]
    view = re.search(r'viewBox="([^"]*)"', head)
    assert view is not None
    name = element("title", title)
    return Html(f'<svg class="chart" viewBox="{view[1]}" role="img">{name}{rest}')
