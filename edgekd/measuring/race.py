"""Which of several loaded sessions is fastest, by blocks of runs measured in turns within one process.

For ``export --precision auto``: cheaper than a bench, and a ratio of two candidates that ran side by side
holds where their milliseconds do not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekd.contracts import Arrays, Session
from edgekd.measuring.protocol import CLOCK, Clock
from edgekd.measuring.statistics import Ratio, Samples, paired_ratio

PAUSE_S = 0.004  # between blocks, so that the last one's worker threads stop spinning
WARM_UP_RUNS = 5
WARM_UP_SHARE = 0.2  # of the budget, for all candidates together


@dataclass(frozen=True)
class RaceResult:
    """One candidate. ``slower`` is its time over the fastest one's (1 for the fastest), with its interval.

    ``blocks_ns`` are its raw durations, block i measured next to every other candidate's block i.
    """

    name: str
    median_ms: float
    slower: Ratio
    blocks_ns: tuple[Samples, ...]


def race(
    sessions: Mapping[str, Session],
    feeds: Sequence[Arrays],
    rounds: int = 20,
    block: int = 10,
    seed: int = 0,
    budget_s: float = 8.0,
    clock: Clock = CLOCK,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, RaceResult]:
    """Races loaded sessions over the same feeds.

    In each round every candidate runs one block, in an order drawn from ``seed``; within a round all get the
    same feeds. No round begins after ``budget_s``; blocks are shortened so that a few rounds fit; one round
    always completes.

    Args:
        feeds: at least one set of model inputs, taken in rotation.
        rounds, block: at most so many rounds of so many runs.
        clock, pause: nanoseconds, and how to wait.

    Raises:
        ValueError: nothing to race or nothing to feed.
        EdgekdError: whatever a session raises.
    """
    if not sessions or not feeds:
        raise ValueError("a race needs at least one session and one set of feeds")
    start = clock()
    run_ns = {
        name: _warm_up(session, feeds, clock, budget_s * 1e9 * WARM_UP_SHARE / len(sessions))
        for name, session in sessions.items()
    }
    left_ns = budget_s * 1e9 - (clock() - start)
    least_rounds = min(rounds, 5)
    block = max(1, min(block, int(left_ns / (least_rounds * sum(run_ns.values())))))

    rng = random.Random(seed)
    durations: dict[str, list[Samples]] = {name: [] for name in sessions}
    for round_ in range(rounds):
        if round_ and clock() - start >= budget_s * 1e9:
            break
        for name in rng.sample(list(sessions), len(sessions)):
            pause(PAUSE_S)
            durations[name].append(_block(sessions[name], feeds, round_ * block, block, clock))

    medians = {name: float(np.median(np.concatenate(blocks))) for name, blocks in durations.items()}
    # Pairs decide who is fastest, since a median over all rounds also follows the machine's drift.
    base = min(medians, key=lambda name: medians[name])
    paired = {name: paired_ratio(blocks, durations[base], seed).value for name, blocks in durations.items()}
    fastest = min(paired, key=lambda name: paired[name])
    return {
        name: RaceResult(
            name=name,
            median_ms=medians[name] / 1e6,
            slower=paired_ratio(blocks, durations[fastest], seed),
            blocks_ns=tuple(blocks),
        )
        for name, blocks in durations.items()
    }


def time_ratio(one: RaceResult, other: RaceResult, seed: int = 0) -> Ratio:
    """How many times longer ``one`` took than ``other`` in the same race."""
    return paired_ratio(one.blocks_ns, other.blocks_ns, seed)


def _warm_up(session: Session, feeds: Sequence[Arrays], clock: Clock, cap_ns: float) -> float:
    """The shortest of a few runs, in nanoseconds; at least one, no more begin after the cap."""
    session.reset()
    start = clock()
    shortest = float("inf")
    for index in range(WARM_UP_RUNS):
        begin = clock()
        session.run(feeds[index % len(feeds)])
        shortest = min(shortest, float(clock() - begin))
        if clock() - start >= cap_ns:
            break
    return max(shortest, 1.0)


def _block(session: Session, feeds: Sequence[Arrays], first: int, count: int, clock: Clock) -> Samples:
    session.reset()
    durations = np.empty(count, dtype=np.int64)
    for index in range(count):
        feed = feeds[(first + index) % len(feeds)]
        begin = clock()
        session.run(feed)
        durations[index] = clock() - begin
    return durations
