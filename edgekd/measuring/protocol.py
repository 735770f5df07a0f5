"""How long is measured, and how long is warmed up before that."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np

Clock = Callable[[], int]  # nanoseconds, monotonic

# perf_counter is monotonic too, and on Windows fine enough, where monotonic ticks every 15 ms.
CLOCK: Clock = time.perf_counter_ns


class Scenario(str, Enum):
    """``single``: closed loop, batch 1, no gaps. ``offline``: throughput. ``paced``: a camera's fixed clock."""

    SINGLE = "single"
    OFFLINE = "offline"
    PACED = "paced"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class WarmUpRule:
    """Warm when ``seconds`` and ``runs`` are past and two successive ``block``-run medians agree.

    After ``cap_s`` without agreement the figure is "not settled".
    """

    name: str
    seconds: float
    runs: int
    block: int
    tolerance: float
    cap_s: float


FULL_WARM_UP = WarmUpRule("full", seconds=3, runs=50, block=25, tolerance=0.02, cap_s=30)
SHORT_WARM_UP = WarmUpRule("shortened", seconds=0.5, runs=10, block=5, tolerance=0.10, cap_s=5)


@dataclass(frozen=True)
class LengthRule:
    """How much is measured, in total over ``workers`` fresh processes.

    ``stop``: at ``either`` the seconds or the runs, whichever comes first, or only when ``both`` are reached.
    ``settle_s``: how long each worker's start waits while the machine's load is sampled.
    """

    name: str
    seconds: float
    runs: int
    workers: int
    stop: Literal["either", "both"]
    warm_up: WarmUpRule
    settle_s: float
    reportable: bool

    @property
    def share(self) -> Share:
        """One worker's part."""
        return Share(self.seconds / self.workers, math.ceil(self.runs / self.workers), self.stop)


TRIAL_SHARE, TRIAL_RUNS = 0.25, 100  # of a worker's time; the least that can tell 1 % of misses from none


@dataclass(frozen=True)
class Share:
    seconds: float
    runs: int
    stop: Literal["either", "both"]

    @property
    def trial(self) -> Share:
        """How long one of several rates or arrangements is tried in search of the best."""
        return Share(self.seconds * TRIAL_SHARE, TRIAL_RUNS, self.stop)

    def reached(self, elapsed_s: float, runs: int) -> bool:
        met = (elapsed_s >= self.seconds, runs >= self.runs)
        return any(met) if self.stop == "either" else all(met)


class Length(str, Enum):
    """The lengths a user can ask for. ``quick`` is for a look and is never reportable."""

    QUICK = "quick"
    STANDARD = "standard"
    STRICT = "strict"

    def __str__(self) -> str:
        return self.value

    @property
    def rule(self) -> LengthRule:
        return _RULES[self]


_RULES = {
    Length.QUICK: LengthRule("quick", 6, 64, 2, "either", SHORT_WARM_UP, settle_s=0.2, reportable=False),
    Length.STANDARD: LengthRule("standard", 60, 64, 5, "both", FULL_WARM_UP, settle_s=0.5, reportable=True),
    Length.STRICT: LengthRule("strict", 600, 64, 5, "both", FULL_WARM_UP, settle_s=0.5, reportable=True),
}


@dataclass(frozen=True)
class WarmUp:
    """What the warm-up came to. ``medians_ns`` are those of the last two blocks, earlier first."""

    rule: str
    runs: int
    seconds: float
    settled: bool
    medians_ns: tuple[float, ...]


def warm_up(run: Callable[[int], int], rule: WarmUpRule, clock: Clock = CLOCK) -> WarmUp:
    """Runs until the latency has settled or the cap is reached.

    Args:
        run: executes run number i and returns its duration in nanoseconds.
        clock: of the elapsed time.
    """
    start = clock()
    durations: list[int] = []
    medians: list[float] = []
    while True:
        durations.append(run(len(durations)))
        elapsed = (clock() - start) / 1e9
        if len(durations) % rule.block == 0:
            medians.append(float(np.median(durations[-rule.block :])))
            enough = elapsed >= rule.seconds and len(durations) >= rule.runs
            if enough and len(medians) > 1 and _agree(medians[-2], medians[-1], rule.tolerance):
                return WarmUp(rule.name, len(durations), elapsed, True, tuple(medians[-2:]))
        if elapsed >= rule.cap_s:
            return WarmUp(rule.name, len(durations), elapsed, False, tuple(medians[-2:]))


def _agree(before: float, after: float, tolerance: float) -> bool:
    return abs(after - before) <= tolerance * before
