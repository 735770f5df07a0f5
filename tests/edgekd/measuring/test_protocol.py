from __future__ import annotations

import pytest

from edgekd.measuring.protocol import FULL_WARM_UP, SHORT_WARM_UP, Length, Share, warm_up


class FakeMachine:
    """Runs that last as long as ``latency_ms(i)`` says, and the clock that they advance."""

    def __init__(self, latency_ms):
        self.now_ns, self._latency_ms = 0, latency_ms

    def run(self, index: int) -> int:
        duration = int(self._latency_ms(index) * 1e6)
        self.now_ns += duration
        return duration

    def clock(self) -> int:
        return self.now_ns


def warmed(latency_ms, rule=FULL_WARM_UP):
    machine = FakeMachine(latency_ms)
    return warm_up(machine.run, rule, machine.clock)


def test_a_steady_model_is_warm_after_3_seconds_and_no_sooner():
    result = warmed(lambda i: 10)
    assert result.settled
    assert result.runs == 300
    assert result.seconds == pytest.approx(3.0)


def test_a_slow_model_is_warm_after_50_runs_and_no_sooner():
    result = warmed(lambda i: 200)
    assert (result.settled, result.runs) == (True, 50)


def test_a_model_that_still_gets_faster_is_warmed_until_two_medians_agree():
    """1 % less in every run until run 400: successive medians of 25 runs differ by over 20 %."""
    result = warmed(lambda i: 30 * 0.99 ** min(i, 400))
    assert result.settled
    assert result.runs >= 425
    before, after = result.medians_ns
    assert abs(after - before) <= 0.02 * before


def test_a_restless_model_stops_at_the_cap_and_is_not_settled():
    result = warmed(lambda i: 10 if (i // 25) % 2 else 12)
    assert not result.settled
    assert 30 <= result.seconds < 30.1


def test_single_slow_runs_do_not_keep_a_model_from_settling():
    assert warmed(lambda i: 100 if i % 10 == 0 else 10).settled


def test_a_model_slower_than_the_cap_allows_is_not_settled():
    result = warmed(lambda i: 4000)
    assert (result.settled, result.runs) == (False, 8)


def test_quick_says_that_its_warm_up_is_shortened():
    assert Length.QUICK.rule.warm_up.name == "shortened"
    assert warmed(lambda i: 10, SHORT_WARM_UP).rule == "shortened"
    assert {Length.STANDARD.rule.warm_up.name, Length.STRICT.rule.warm_up.name} == {"full"}


@pytest.mark.parametrize(
    ("length", "seconds", "runs", "workers", "reportable"),
    [
        (Length.QUICK, 6, 64, 2, False),
        (Length.STANDARD, 60, 64, 5, True),
        (Length.STRICT, 600, 64, 5, True),
    ],
)
def test_lengths_are_totals_over_the_worker_processes(length, seconds, runs, workers, reportable):
    rule = length.rule
    assert rule.share.seconds * workers == pytest.approx(seconds)
    assert runs <= rule.share.runs * workers < runs + workers
    assert (rule.workers, rule.reportable) == (workers, reportable)


def test_quick_stops_at_the_first_limit_and_the_others_at_the_last():
    assert Length.QUICK.rule.share.reached(0.1, 32)
    assert Length.QUICK.rule.share.reached(3.0, 2)
    assert not Length.STANDARD.rule.share.reached(11.9, 5000)
    assert not Length.STANDARD.rule.share.reached(500, 12)
    assert Length.STANDARD.rule.share.reached(12, 13)
    assert not Share(1, 1, "both").reached(0.5, 1)
