from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from edgekd.errors import InputError
from edgekd.measuring.clock import SWEEP, against_clock


class Counter:
    """A session with state: how many samples it has seen since it was reset."""

    io = None

    def __init__(self):
        self.seen, self.asked = 0, []

    def run(self, feeds):
        self.seen += 1
        self.asked.append(int(feeds["x"]))
        return {"y": np.array(self.seen)}

    def reset(self):
        self.seen = 0


class Passing:
    def preprocess(self, raw):
        return {"x": raw["x"]}

    def postprocess(self, outputs, raw):
        return {"x": raw["x"], "since": outputs["y"]}


@dataclass(frozen=True)
class Plan:
    seen: tuple[tuple[int, ...], ...]
    latency: float


class Every:
    """Two sequences of eight; of latencies above 10 ms every second sample is seen. Scores the latency."""

    primary, higher_is_better, units = "score", True, {"score": ""}

    def compute(self, predictions, truths):
        return {"score": 1.0}

    def step_ms(self, truths):
        return 10.0

    def schedule(self, truths, latencies_ms):
        latency = float(np.mean(latencies_ms))
        step = 1 if latency <= 10 else 2
        return Plan((tuple(range(0, 8, step)), tuple(range(8, 16, step))), latency)

    def streamed(self, schedule, seen, truths):
        assert [int(p["x"]) for p in seen] == [k for run in schedule.seen for k in run]
        return {"score": -schedule.latency, "since": float(seen[-1]["since"])}


RAWS = [{"x": np.array(k)} for k in range(16)]


def asked(latency, sweep=False, metrics=None):
    session = Counter()
    return session, against_clock(session, Passing(), metrics or Every(), RAWS, RAWS, latency, sweep)


def test_only_what_it_would_see_is_asked_and_state_is_cleared_before_each_sequence():
    session, found = asked("15")
    assert session.asked == [*range(0, 16, 2)]
    assert found.metrics == {"score": -15.0, "since": 4.0}
    assert (found.latency, found.latency_ms, found.seen, found.samples) == ("15 ms", 15.0, 8, 16)


def test_measured_latencies_are_of_every_sample_but_the_first_few():
    session, found = asked("measured")
    assert session.asked[:16] == [*range(16)]
    assert found.latency == "measured"
    assert 0 < found.latency_ms < 1000


def test_a_curve_asks_once_for_each_set_of_samples():
    session, found = asked("15ms", sweep=True)
    assert [latency for latency, _ in found.sweep] == [10.0 * k for k in SWEEP]
    assert [score for _, score in found.sweep] == [-10.0 * k for k in SWEEP]
    assert len(session.asked) == 8 + 16


@pytest.mark.parametrize("latency", ["soon", "-1", "nan", "inf", ""])
def test_what_is_no_time_is_refused(latency):
    with pytest.raises(InputError, match="is no time"):
        asked(latency)


def test_metrics_that_know_nothing_of_time_are_refused():
    class Plain:
        primary, higher_is_better, units = "score", True, {}

        def compute(self, predictions, truths):
            return {"score": 1.0}

    with pytest.raises(InputError, match="does not apply"):
        asked("15", metrics=Plain())
