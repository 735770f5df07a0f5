"""Figures as they are printed: a few significant digits, the unit beside them."""

from __future__ import annotations

import math

ABSENT = "–"
_SPACE = "\u202f"  # narrow and unbreakable: a figure is not torn from its unit


def significant(value: float | None, unit: str = "") -> str:
    """Four significant digits, no exponent where a reader can do without."""
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e4:
        shown = f"{value:,.0f}"
    elif size >= 1e-3 or value == 0:
        shown = f"{value:.4g}"
    else:
        shown = f"{value:.2g}"
    return f"{shown}{_SPACE}{unit}" if unit else shown


def share(value: float) -> str:
    """A share of one, as a percentage."""
    return f"{100 * value:.1f}{_SPACE}%"


def change(value: float | None) -> str:
    """A relative change with its sign; what rounds to nothing has none."""
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return str(value)
    percent = 100 * value
    if abs(percent) < 0.005:
        return f"0.00{_SPACE}%"
    digits = 2 if abs(percent) < 10 else 1
    return f"{percent:+.{digits}f}{_SPACE}%".replace("-", "−")


def between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{change(low)} … {change(high)}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return ABSENT
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def spread_of(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with the least and the greatest of the processes it is the median of."""
    if value is None or low is None or high is None:
        return milliseconds(value)
    return f"{milliseconds(value)} ({milliseconds(low)}–{milliseconds(high)})"


def megabytes(value: float | None) -> str:
    """Millions of bytes."""
    if value is None:
        return ABSENT
    return f"{value / 1e6:.2f}" if value < 1e8 else f"{value / 1e6:,.0f}"


def count(value: float) -> str:
    """2,432,200 as 2.43 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{_SPACE}{letter}"
    return f"{value:g}"


def ratio(value: float | None, low: float | None, high: float | None) -> str:
    """A ratio with its interval."""
    if value is None:
        return ABSENT
    largest = max(value, high or 0.0)
    digits = 2 if largest < 10 else 1 if largest < 100 else 0
    interval = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"
