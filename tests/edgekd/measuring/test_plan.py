from __future__ import annotations

import pytest

from edgekd.measuring.plan import Plan, duration, steps_s
from edgekd.measuring.protocol import Length, LengthRule, Scenario, WarmUpRule


def test_time_left_is_what_the_rules_give_scaled_by_what_the_past_took():
    told, now = [], [0]
    plan = Plan([10, 30, 60], lambda text, share: told.append((text, share)), lambda: now[0])
    plan.begin("one")
    now[0] = 20_000_000_000  # twice as long as planned
    plan.begin("two")
    plan.skip()
    plan.end()
    assert told == [("one, about 100 s left", 0.0), ("two, about 3 min left", 0.1), ("done", 1.0)]


def test_durations_are_minutes_from_two_on():
    assert [duration(s) for s in (5.4, 119, 120, 3600)] == ["about 5 s", "about 119 s", "about 2 min", "about 60 min"]


@pytest.mark.parametrize("scenario", list(Scenario))
@pytest.mark.parametrize("layers", [False, True])
def test_there_is_a_step_for_each_process(scenario, layers):
    rule = Length.STANDARD.rule
    each = 1 + (scenario is Scenario.OFFLINE) + rule.workers + layers
    assert len(steps_s(3, scenario, rule, layers)) == 3 * each


def test_strict_measures_for_ten_minutes_over_all_processes():
    rule = Length.STRICT.rule
    assert rule.seconds == 600
    assert sum(steps_s(1, Scenario.SINGLE, rule, False)) > 600
    assert rule.share.seconds * rule.workers == 600


def test_a_rule_of_the_strict_kind_asks_for_all_of_its_seconds_and_all_of_its_runs():
    """The same rule with small numbers; the bench's tests measure by such a one."""
    small = LengthRule("strict", 0.6, 64, 5, "both", WarmUpRule("t", 0, 1, 1, 1, 1), settle_s=0, reportable=True)
    assert (small.stop, small.workers) == (Length.STRICT.rule.stop, Length.STRICT.rule.workers)
    assert not small.share.reached(0.11, 10_000)
    assert not small.share.reached(10, 12)
    assert small.share.reached(0.12, 13)
