from __future__ import annotations

import pytest

from edgekd.measuring.machine import MachineState
from edgekd.measuring.validity import contention, fallback, foreign_share

# Two cores for ten seconds: 20 s in all, 15 s of them this process's.
BEFORE = MachineState(
    monotonic_s=100,
    load_average=0.1,
    total_s=1000,
    idle_s=900,
    steal_s=1,
    own_s=2,
    clock_mhz=3000,
    probe_ns=200_000,
    throttled_count=7,
    quota_throttled_count=0,
    on_battery=False,
)
AFTER = BEFORE.model_copy(update={"monotonic_s": 110, "total_s": 1020, "idle_s": 905, "own_s": 17, "probe_ns": 202_000})


def test_an_undisturbed_run_gives_no_reason():
    assert contention(BEFORE, AFTER, busy_before=0.01, variation=0.05) == []


@pytest.mark.parametrize(
    ("changed", "busy", "variation", "reason"),
    [
        ({}, 0.30, 0.05, "load before the start: 30%"),
        ({}, 0.01, 0.14, "variation 14.0% (limit 10.0%)"),
        ({"own_s": 10}, 0.01, 0.05, "others used 35% of all cores"),
        ({"steal_s": 1.5}, 0.01, 0.05, "steal 2.5%"),
        ({"throttled_count": 8}, 0.01, 0.05, "throttled by heat"),
        ({"quota_throttled_count": 1}, 0.01, 0.05, "control group's quota"),
        ({"probe_ns": 230_000}, 0.01, 0.05, "clock drift 15%"),
        ({"clock_mhz": 2400}, 0.01, 0.05, "clock drift 20%"),
        ({"on_battery": True}, 0.01, 0.05, "on battery"),
    ],
)
def test_each_disturbance_is_named(changed, busy, variation, reason):
    found = contention(BEFORE, AFTER.model_copy(update=changed), busy, variation)
    assert len(found) == 1
    assert reason in found[0]


def test_a_gpu_may_vary_less_than_a_processor():
    assert contention(BEFORE, AFTER, 0.0, 0.05, "gpu") == ["variation 5.0% (limit 2.5%)"]


def test_shares_over_less_than_a_second_are_not_judged():
    brief = AFTER.model_copy(update={"monotonic_s": 100.5, "total_s": 1001, "idle_s": 900, "own_s": 2})
    assert foreign_share(BEFORE, brief) is None
    assert contention(BEFORE, brief, 0.0, 0.05) == []


def test_unknown_counters_accuse_nobody():
    blank = {"steal_s": None, "throttled_count": None, "quota_throttled_count": None, "clock_mhz": None}
    before = BEFORE.model_copy(update=blank)
    assert contention(before, AFTER.model_copy(update=blank), 0.0, None) == []


def test_work_on_a_second_device_is_a_fallback():
    assert fallback({"CPU": 1.0}) == []
    assert fallback({}) == []
    assert fallback({"GPU": 0.97, "CPU": 0.03}) == ["3.0% of MACs fell back to CPU"]
