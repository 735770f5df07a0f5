from __future__ import annotations

import numpy as np
import pytest

from edgekd.measuring.figures import headline_figure, measurement, span_figures, verdict
from edgekd.measuring.measurement import PlacementShares, WarmUpRecord
from edgekd.measuring.protocol import Length

CPU = PlacementShares(source="test", precision_by_macs={"int8": 1.0}, device_by_macs={"CPU": 1.0})


def test_headline_is_the_median_of_the_processes_own_p90():
    processes = [np.full(100, 1000 * k) for k in (5, 3, 4)]
    headline, reproduced = headline_figure("infer", processes)
    assert (headline.p90_ms, headline.low_ms, headline.high_ms) == (4, 3, 5)
    assert not reproduced


def test_headline_of_processes_with_too_few_runs_pools_them_and_says_so():
    processes = [np.arange(20) + 1000 for _ in range(4)]
    headline, reproduced = headline_figure("infer", processes)
    assert headline.p90_ms == pytest.approx(1.017)
    assert headline.low_ms is None
    assert "together" in headline.how
    assert reproduced  # their medians agree


def test_no_p90_without_64_runs():
    headline, reproduced = headline_figure("infer", [np.full(7, 1000)] * 5)
    assert headline.p90_ms is None
    assert "too few" in headline.how
    assert not reproduced  # seven runs do not even support a median


def test_a_percentile_is_printed_only_where_the_count_supports_it():
    figures = span_figures([np.full(100, 1000), np.full(100, 3000)])
    supported = {name for name, value in figures.percentiles_ms.items() if value is not None}
    assert supported == {"p50", "p90", "p95"}  # 200 runs
    assert figures.mean_ms == 2


def test_no_outlier_is_dropped():
    figures = span_figures([np.array([1000] * 99 + [901_000])])
    assert figures.mean_ms == pytest.approx(10)
    assert figures.max_ms == 901


@pytest.fixture
def records(shared_bench):
    """Two real records, declared undisturbed."""
    fast = shared_bench[0].measurements[0]
    return [record.model_copy(update={"contention": ()}) for record in fast.workers]


def test_an_undisturbed_settled_reproduced_figure_is_valid(records):
    found = verdict(records, Length.STANDARD.rule, True, CPU)
    assert found.claimable
    assert found.reasons == ()


def test_the_gravest_label_leads_and_every_reason_is_kept(records):
    restless = WarmUpRecord(rule="full", runs=9, seconds=30, settled=False, medians_ns=(1.0, 2.0))
    unsettled = records[1].result.model_copy(update={"warm_up": restless})
    disturbed = records[0].model_copy(update={"contention": ("steal 3.0% (limit 1%)",)})

    def label(chosen, rule=Length.STANDARD.rule, reproduced=True, placement=CPU):
        return verdict(chosen, rule, reproduced, placement)

    assert label(records, reproduced=False).label == "not reproduced"
    assert label([disturbed, records[1]]).label == "contended"
    both = [disturbed, records[1].model_copy(update={"result": unsettled})]
    assert label(both).label == "not settled"
    worst = label(both, Length.QUICK.rule, reproduced=False)
    assert worst.label == "not reportable"
    assert len(worst.reasons) == 4
    assert "process 1: steal 3.0% (limit 1%)" in worst.reasons
    assert not any(label(r).claimable for r in (both, [disturbed, records[1]]))


def test_nodes_that_fell_back_taint_the_figure(records):
    split = CPU.model_copy(update={"device_by_macs": {"GPU": 0.9, "CPU": 0.1}})
    found = verdict(records, Length.STANDARD.rule, True, split)
    assert found.label == "contended"
    assert found.reasons == ("10.0% of MACs fell back to CPU",)


def test_startup_is_the_median_of_the_processes(shared_bench, records):
    fast = shared_bench[0].measurements[0]
    slowest = records[0].result.startup.model_copy(update={"load_ms": 9000.0, "torch_imported": True})
    changed = records[0].model_copy(update={"result": records[0].result.model_copy(update={"startup": slowest})})
    found = measurement(
        fast.artifact,
        [changed, *records],
        fast.memory,
        fast.placement,
        fast.conditions,
        Length.STANDARD.rule,
        fast.machine,
        [],
    )
    assert found.startup.load_ms < 9000
    assert found.startup.torch_imported  # in one process is too many
