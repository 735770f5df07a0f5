from __future__ import annotations

import numpy as np
import pytest

from edgekd.measuring.race import race, time_ratio

FEEDS = [{"x": np.full(1, i, np.float32)} for i in range(7)]


class FakeClock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def pause(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


class FakeSession:
    """Takes ``latency_ms`` times the machine's mood, which drifts with the clock."""

    def __init__(self, clock, latency_ms, log=None, name="") -> None:
        self._clock, self._latency_ms, self._log, self._name = clock, latency_ms, log, name

    def run(self, feeds):
        mood = 1 + 0.5 * np.sin(self._clock.now_ns / 1e9)
        self._clock.now_ns += int(self._latency_ms * mood * 1e6)
        if self._log is not None:
            self._log.append((self._name, float(feeds["x"][0])))
        return {}

    def reset(self):
        if self._log is not None:
            self._log.append((self._name, "reset"))


def run_race(latencies, log=None, **settings):
    clock = FakeClock()
    sessions = {name: FakeSession(clock, ms, log, name) for name, ms in latencies.items()}
    return race(sessions, FEEDS, clock=clock, pause=clock.pause, **settings), clock


def test_the_ratio_survives_a_machine_whose_speed_drifts():
    results, _ = run_race({"fp32": 3.4, "int8": 2.0})
    assert results["int8"].slower.value == 1
    ratio = results["fp32"].slower
    assert ratio.value == pytest.approx(1.7, rel=0.03)
    assert ratio.low <= 1.7 <= ratio.high
    assert time_ratio(results["int8"], results["fp32"]).value == pytest.approx(1 / 1.7, rel=0.03)


def test_three_percent_apart_is_told_apart():
    results, _ = run_race({"a": 2.06, "b": 2.0}, rounds=40, block=5)
    assert results["a"].slower.low > 1.0
    assert results["a"].slower.value == pytest.approx(1.03, abs=0.01)


def test_every_round_gives_each_candidate_one_block_on_the_same_feeds():
    log: list = []
    results, _ = run_race({"a": 1, "b": 1, "c": 1}, log, rounds=6, block=4)
    assert {len(r.blocks_ns) for r in results.values()} == {6}
    assert {len(block) for r in results.values() for block in r.blocks_ns} == {4}
    measured = log[3 * (1 + 5) :]  # after three warm-ups of a reset and five runs
    blocks = [measured[i : i + 5] for i in range(0, len(measured), 5)]
    assert all(block[0][1] == "reset" for block in blocks)
    for start in range(0, len(blocks), 3):
        turn = blocks[start : start + 3]
        assert sorted(block[0][0] for block in turn) == ["a", "b", "c"]
        assert len({tuple(feed for _, feed in block) for block in turn}) == 1
    orders = [tuple(b[0][0] for b in blocks[i : i + 3]) for i in range(0, len(blocks), 3)]
    assert len(set(orders)) > 1


def test_order_is_a_function_of_the_seed():
    logs: list[list] = [[], [], []]
    for log, seed in zip(logs, (1, 1, 2), strict=True):
        run_race({"a": 1, "b": 1}, log, seed=seed)
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


@pytest.mark.parametrize("latency_ms", [1, 50, 300])
def test_the_budget_bounds_the_race(latency_ms):
    results, clock = run_race({"a": latency_ms, "b": latency_ms * 1.2}, rounds=1000, block=50, budget_s=8)
    one_round_s = 2 * 1.5 * 1.2 * latency_ms * len(results["a"].blocks_ns[0]) / 1e3
    assert clock.now_ns / 1e9 <= 8 + one_round_s
    assert len(results["a"].blocks_ns) >= 3


def test_even_a_model_slower_than_the_budget_gets_one_round():
    results, _ = run_race({"a": 9000, "b": 10_000}, budget_s=8)
    assert len(results["a"].blocks_ns) == len(results["b"].blocks_ns) == 1


def test_a_candidate_that_fails_is_not_hidden():
    class Broken(FakeSession):
        def run(self, feeds):
            raise RuntimeError("kernel")

    with pytest.raises(RuntimeError, match="kernel"):
        race({"a": Broken(FakeClock(), 1)}, FEEDS)


def test_nothing_to_race_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        race({}, FEEDS)
