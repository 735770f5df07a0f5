"""``paced``: a camera. Frames arrive by a fixed clock, whether the model is ready for them or not.

One frame waits at most: a newer one takes its place (a queue of one, the newest wins). So while a frame is looked
at, all that arrive but the last are dropped, and which ones follows from the clock alone: no second thread is
needed. Latency counts from the scheduled arrival; the deadline is the next one, a period later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgekd.measuring.measurement import PacedRun, Trial
from edgekd.measuring.protocol import CLOCK, Clock, Share

MISSES_ALLOWED = 0.01
# A rung is 2.9 % above the one below. The search begins two octaves below what runs without gaps reach.
RUNGS_PER_OCTAVE, OCTAVES = 24, 2


@dataclass(frozen=True)
class Pacing:
    """Frame numbers that were looked at, each with nanoseconds from its scheduled arrival to its result."""

    fps: float
    frames: int
    processed: tuple[int, ...]
    from_arrival_ns: tuple[int, ...]
    elapsed_s: float

    @property
    def dropped(self) -> int:
        return self.frames - len(self.processed)

    @property
    def late(self) -> int:
        return sum(ns > period_ns(self.fps) for ns in self.from_arrival_ns)

    @property
    def trial(self) -> Trial:
        return Trial(fps=self.fps, frames=self.frames, late=self.late, dropped=self.dropped)


def period_ns(fps: float) -> float:
    return 1e9 / fps


def pace(
    run: Callable[[int], object],
    fps: float,
    share: Share,
    clock: Clock = CLOCK,
    sleep: Callable[[float], None] = time.sleep,
) -> Pacing:
    """Shows frames at ``fps`` until ``share`` is reached; its runs count frames due, dropped ones too.

    The wait for the next frame is a sleep, as an app's would be, not a loop that keeps the core awake: waking
    up is part of the latency.

    Args:
        run: looks at frame number i.
        clock, sleep: nanoseconds; and how to wait for so many seconds.
    """
    period = period_ns(fps)
    start = clock()
    processed: list[int] = []
    latencies: list[int] = []
    due = 0  # the next frame that nobody has looked at or dropped
    while not share.reached(due * period / 1e9, due):
        now = clock() - start
        if now < due * period:
            sleep((due * period - now) / 1e9)
            continue
        newest = int(now // period)
        if share.reached(newest * period / 1e9, newest):  # the camera was switched off before that one
            newest = _last(share, period, due)
        run(newest)
        processed.append(newest)
        latencies.append(int(clock() - start - newest * period))
        due = newest + 1
    return Pacing(fps, due, tuple(processed), tuple(latencies), (clock() - start) / 1e9)


def highest_rate(trial: Callable[[float], Trial], service_ns: float) -> tuple[float | None, tuple[Trial, ...]]:
    """The highest rate with at most 1 % misses, by bisection over a ladder of rates.

    The ladder holds 2^(k/24) frames/s for every whole k. The search takes the rung at or above 1 / ``service_ns``
    (which cannot hold but by luck) as its top and the rung two octaves below as its bottom; it tries the bottom,
    then always the middle rung of those left, and believes each trial: seven trials. The answer is the
    highest rung that held below all that failed.

    Args:
        trial: shows frames at a rate.
        service_ns: what one frame takes without gaps.

    Returns:
        the rate, None where even the bottom misses more; and every trial in order.
    """
    top = math.ceil(RUNGS_PER_OCTAVE * math.log2(period_ns(service_ns)) - 1e-9)
    low, high = top - RUNGS_PER_OCTAVE * OCTAVES, top + 1
    trials = [trial(_rung(low))]
    if trials[0].missed_share > MISSES_ALLOWED:
        return None, tuple(trials)
    while high - low > 1:
        middle = (low + high) // 2
        trials.append(trial(_rung(middle)))
        if trials[-1].missed_share <= MISSES_ALLOWED:
            low = middle
        else:
            high = middle
    return _rung(low), tuple(trials)


def paced_run(pacing: Pacing, highest_fps: float | None, trials: tuple[Trial, ...]) -> PacedRun:
    return PacedRun(frames=pacing.frames, processed=pacing.processed, trials=trials, highest_fps=highest_fps)


def _rung(index: int) -> float:
    return float(2 ** (index / RUNGS_PER_OCTAVE))


def _last(share: Share, period: float, due: int) -> int:
    """The last frame that the share still shows, ``due`` or later."""
    last = due
    while not share.reached((last + 1) * period / 1e9, last + 1):
        last += 1
    return last
