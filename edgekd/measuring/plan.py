"""How far a bench is, and how long it still takes."""

from __future__ import annotations

from collections.abc import Callable

from edgekd.measuring.protocol import CLOCK, TRIAL_SHARE, Clock, LengthRule, Scenario

Progress = Callable[[str, float], None]  # what is being done, share of the whole done before it
START_S = 2.0  # of a worker process: interpreter, runtime, load
ARRANGEMENTS = 3  # tried offline, as a guess: how many there are is known only once the artefact is open
TRIALS = 7  # of the search for the highest rate


class Plan:
    """Steps with the seconds that the rules give them; what is left is scaled by how long the past ones took."""

    def __init__(self, steps: list[float], progress: Progress | None, clock: Clock = CLOCK) -> None:
        self._steps, self._progress, self._clock = steps, progress or (lambda text, share: None), clock
        self._next, self._start = 0, clock()

    def begin(self, text: str) -> None:
        """Tells of the next step."""
        self._tell(f"{text}, {self._left()}")
        self._next += 1

    def skip(self) -> None:
        """The next step is not taken, because an earlier one failed."""
        self._next += 1

    def end(self) -> None:
        self._progress("done", 1.0)

    def _tell(self, text: str) -> None:
        self._progress(text, sum(self._steps[: self._next]) / sum(self._steps))

    def _left(self) -> str:
        past, coming = sum(self._steps[: self._next]), sum(self._steps[self._next :])
        pace = (self._clock() - self._start) / 1e9 / past if past else 1.0
        return f"{duration(coming * max(pace, 0.1))} left"


def duration(seconds: float) -> str:
    """Whole minutes, or seconds where it is less than two of them."""
    return f"about {seconds / 60:.0f} min" if seconds >= 120 else f"about {seconds:.0f} s"


def steps_s(contenders: int, scenario: Scenario, rule: LengthRule, layers: bool) -> list[float]:
    """Seconds of each step in order: what comes first for every contender, the layers, the rounds."""
    warm_s, share_s = START_S + rule.warm_up.seconds, rule.share.seconds
    before = [START_S + rule.settle_s]
    if scenario is Scenario.OFFLINE:
        before = [START_S + ARRANGEMENTS * (rule.warm_up.seconds + share_s * TRIAL_SHARE), *before]
    searching_s = TRIALS * TRIAL_SHARE * share_s if scenario is Scenario.PACED else 0.0
    round_s = warm_s + rule.settle_s + share_s + searching_s
    return [*before * contenders, *[START_S] * contenders * layers, *[round_s] * contenders * rule.workers]
