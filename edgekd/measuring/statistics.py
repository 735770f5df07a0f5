"""Statistics of latency samples: percentiles only where the count supports them, ratios with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int64]  # durations in any one unit

CONFIDENCE = 0.99  # at which a count supports a percentile
REPRODUCED_WITHIN = 0.05  # share of the median by which worker processes may differ from it


@cache
def required_runs(quantile: float, confidence: float = CONFIDENCE) -> int:
    """The least number of runs that supports a quantile in (0, 1).

    It is the least n whose second largest sample lies above the true quantile with ``confidence``, that is
    P(Binomial(n, 1 - quantile) <= 1) <= 1 - confidence: one run may be discarded as an outlier and the next
    still bounds the quantile. MLPerf LoadGen's early stopping rests on the same binomial. At 99 %: 11 runs
    for p50, 64 for p90, 130 for p95, 662 for p99, 6,636 for p99.9.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not {quantile}")

    def unsure(n: int) -> bool:
        log_all_below = n * math.log(quantile)
        one_above = n * (1 - quantile) / quantile
        return math.exp(log_all_below) * (1 + one_above) > 1 - confidence

    high = 2
    while unsure(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if unsure(middle) else (low, middle)
    return high


def percentile(samples: Sequence[int] | Samples, quantile: float) -> float | None:
    """The nearest-rank percentile, a sample that occurred; None where the count does not support it."""
    n = len(samples)
    if n < required_runs(quantile):
        return None
    # The small subtraction keeps 0.9 * 10 at 9 where floating point makes it 9.000000000000002.
    rank = math.ceil(quantile * n - 1e-9)
    return float(np.partition(np.asarray(samples), rank - 1)[rank - 1])


def coefficient_of_variation(samples: Sequence[int] | Samples) -> float | None:
    """Standard deviation over mean, every sample counted; None for fewer than two."""
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < 2 or values.mean() == 0:
        return None
    return float(values.std(ddof=1) / values.mean())


@dataclass(frozen=True)
class Spread:
    """One value per worker process, condensed. ``reproduced``: all within 5 % of their median."""

    median: float
    low: float
    high: float
    reproduced: bool


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest of at least one value; one value alone reproduces nothing."""
    median = float(np.median(values))
    near = all(abs(v - median) <= REPRODUCED_WITHIN * median for v in values)
    return Spread(median, float(min(values)), float(max(values)), near and len(values) > 1)


@dataclass(frozen=True)
class Ratio:
    """A ratio of durations from paired blocks, with its bootstrap interval."""

    value: float
    low: float
    high: float
    confidence: float
    blocks: int


def paired_ratio(
    numerator: Sequence[Samples],
    denominator: Sequence[Samples],
    seed: int,
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Ratio:
    """How many times longer ``numerator`` takes than ``denominator``, from blocks measured in turns.

    Each block of one is paired with the block of the other measured next to it, so that what slows the whole
    machine slows both and cancels. The value is the median over pairs of the ratio of the two medians. The
    interval is a percentile bootstrap in two levels: pairs are drawn with replacement, then the runs inside
    each drawn block.

    Args:
        numerator, denominator: blocks of durations in one unit, as many of each, none empty.
        seed: of the bootstrap; the same seed gives the same interval.
    """
    if len(numerator) != len(denominator) or not numerator:
        raise ValueError(f"blocks must pair: {len(numerator)} and {len(denominator)}")
    blocks = len(numerator)
    pairs = [float(np.median(a) / np.median(b)) for a, b in zip(numerator, denominator, strict=True)]

    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, blocks, (resamples, blocks))
    above = _resampled_medians(numerator, chosen, rng)
    below = _resampled_medians(denominator, chosen, rng)
    return _interval(float(np.median(pairs)), np.median(above / below, axis=1), confidence, blocks)


def unpaired_ratio(
    numerator: Sequence[Samples],
    denominator: Sequence[Samples],
    seed: int,
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Ratio:
    """How many times longer ``numerator`` takes than ``denominator``, measured at another time.

    The value is the ratio of the medians of the blocks' medians. Nothing pairs the two, so the bootstrap draws
    blocks of each side for itself, then the runs inside of each; what changed between the two times is in the ratio.

    Args:
        numerator, denominator: blocks of durations in one unit, none empty; as many as there are of each.
        seed: of the bootstrap; the same seed gives the same interval.
    """
    if not (numerator and denominator):
        raise ValueError("there are no blocks to compare")
    rng = np.random.default_rng(seed)
    values, resampled = [], []
    for blocks in (numerator, denominator):
        values.append(float(np.median([np.median(block) for block in blocks])))
        chosen = rng.integers(0, len(blocks), (resamples, len(blocks)))
        resampled.append(np.median(_resampled_medians(blocks, chosen, rng), axis=1))
    fewest = min(len(numerator), len(denominator))
    return _interval(values[0] / values[1], resampled[0] / resampled[1], confidence, fewest)


def _interval(value: float, resampled: NDArray[np.float64], confidence: float, blocks: int) -> Ratio:
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Ratio(value, float(low), float(high), confidence, blocks)


def _resampled_medians(
    blocks: Sequence[Samples], chosen: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """For each chosen block, the median of a bootstrap sample of its runs.

    The median of n draws with replacement from n sorted values is the value at index floor(n * U), where U,
    the middle one of n uniform numbers, is Beta((n + 1) / 2, (n + 1) / 2) distributed. Drawing U alone makes
    the cost independent of n.
    """
    result = np.empty(chosen.shape, dtype=np.float64)
    for index, block in enumerate(blocks):
        ordered = np.sort(np.asarray(block, dtype=np.float64))
        n = len(ordered)
        where = chosen == index
        middle = rng.beta((n + 1) / 2, (n + 1) / 2, int(where.sum()))
        result[where] = ordered[np.minimum((n * middle).astype(np.int64), n - 1)]
    return result
