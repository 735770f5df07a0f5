"""The bench's scenarios, its layer profile and its judgement, through worker processes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgekd.errors import Exit, InputError
from edgekd.measuring.bench import bench
from edgekd.measuring.claims import evidence_from
from edgekd.measuring.measurement import load
from edgekd.measuring.offline import fastest
from edgekd.measuring.protocol import LengthRule, WarmUpRule
from edgekd.measuring.regression import Baseline, against_baseline, against_other, outcome
from edgekd.measuring.statistics import Ratio

PACED = LengthRule("test", 0.1, 64, 2, "either", WarmUpRule("test", 0, 4, 2, 1e9, 1), 0.02, reportable=True)
OFFLINE = replace(PACED, stop="both")


@pytest.fixture(scope="module")
def paced(opener, tmp_path_factory):
    return bench(["fast", "foreign"], PACED, tmp_path_factory.mktemp("paced"), "paced", opener=opener, fps=200)


@pytest.fixture(scope="module")
def offline(opener, tmp_path_factory):
    out = tmp_path_factory.mktemp("offline")
    return bench(["fast", "slow"], OFFLINE, out, "offline", threads=2, opener=opener)


def test_paced_figures_can_be_computed_again_from_the_frames(paced):
    assert paced.failures == ()
    for measurement, path in zip(paced.measurements, paced.paths, strict=True):
        assert load(path) == measurement
        figures = measurement.paced
        assert figures is not None
        assert figures.deadline_ms == 5
        runs = [worker.result.paced for worker in measurement.workers]
        arrivals = [us for worker in measurement.workers for us in worker.result.samples_us["from-arrival"]]
        assert figures.frames == sum(run.frames for run in runs)
        assert figures.dropped == figures.frames - len(arrivals)
        assert figures.late == sum(us > 5000 for us in arrivals)
        assert figures.missed_share == (figures.late + figures.dropped) / figures.frames
        for worker in measurement.workers:
            assert len(worker.result.paced.processed) == len(worker.result.samples_us["infer"])
        assert measurement.headline.span == "from-arrival"
        assert measurement.conditions.fps == 200
        assert "at 200 frames/s" in measurement.title


def test_from_its_arrival_a_frame_takes_at_least_as_long_as_it_is_looked_at(paced):
    for worker in paced.measurements[0].workers:
        samples = worker.result.samples_us
        assert (np.array(samples["from-arrival"]) + 2 >= np.array(samples["end-to-end"])).all()


def test_every_rate_that_was_tried_is_kept_and_the_highest_is_one_of_them(paced):
    for worker in paced.measurements[0].workers:
        run = worker.result.paced
        held = [trial.fps for trial in run.trials if trial.missed_share <= 0.01]
        assert (run.highest_fps in held) if held else (run.highest_fps is None)


def test_offline_measures_all_in_the_arrangement_that_was_fastest(offline):
    assert offline.failures == ()
    fast, _ = offline.measurements
    for measurement in offline.measurements:
        figures = measurement.offline
        assert figures is not None
        assert [(t.arrangement.sessions, t.arrangement.threads) for t in figures.tried] == [(1, 2), (2, 1)]
        assert figures.arrangement == fastest(figures.tried)
        rates = [worker.result.offline.samples_per_second for worker in measurement.workers]
        assert figures.samples_per_second == np.median(rates) == measurement.fps.value
        assert (figures.low, figures.high) == (min(rates), max(rates))
        assert measurement.fps.span == measurement.headline.span == "infer"
    (comparison,) = fast.comparisons
    assert comparison.reference == "slow"
    assert comparison.low <= comparison.speedup <= comparison.high
    assert comparison.speedup > 1.5  # 0.5 against 2 ms


def test_only_single_says_anything_of_latency_for_a_claim(paced, offline, shared_bench):
    assert {"latency_mean", "fps"} <= {item.metric for item in evidence_from(shared_bench[0].measurements[0])}
    for measurement in (*paced.measurements, *offline.measurements):
        assert {item.metric for item in evidence_from(measurement)} == {"artifact_bytes", "parameters_bytes"}


def test_layers_are_profiled_in_a_process_of_their_own_and_joined_with_the_placement(opener, rule, tmp_path):
    result = bench(["fast"], rule, tmp_path, opener=opener, layers=True)
    profile = result.measurements[0].profile
    assert profile is not None
    assert profile.calls == 64
    assert profile.total_ms == pytest.approx(0.5)
    matmul, add = profile.layers
    assert (matmul.node, matmul.op, matmul.kernel, matmul.precision) == ("matmul", "MatMul", "gemm", "fp32")
    assert (add.op, add.precision) == ("add", "")  # the placement does not know it
    assert load(result.paths[0]) == result.measurements[0]


def test_a_contender_that_is_surely_slower_is_a_regression(opener, rule, tmp_path):
    result = bench(["fast", "slow"], rule, tmp_path, opener=opener, fail_above=1.05)
    found = result.regression
    assert found is not None
    assert (found.outcome, found.baseline, found.now, found.taken) == ("regressed", "fast", "slow", "in turns")
    assert found.low > 1.05
    assert result.code == Exit.GATE
    assert len(result.paths) == 2  # measured is measured
    assert "limit 1.05" in found.sentence
    assert "threads 1" in found.conditions


def test_one_that_is_faster_passes_and_one_within_the_noise_stops_nobody(shared_bench):
    fast, slow = shared_bench[0].measurements
    found = against_other(fast, slow, 1.05)
    assert (found.outcome, found.ratio < 1) == ("passed", True)
    assert against_other(slow, fast, 1.05).outcome == "regressed"
    assert outcome(Ratio(1.2, low=1.04, high=1.4, confidence=0.95, blocks=5), 1.05) == "inconclusive"


def test_an_earlier_measurement_is_a_baseline(opener, rule, tmp_path, shared_bench):
    fast, slow = shared_bench[0].paths
    result = bench(["slow"], rule, tmp_path, opener=opener, baseline=fast, fail_above=1.05)
    assert result.regression is not None
    assert (result.regression.outcome, result.code) == ("regressed", Exit.GATE)
    assert result.regression.taken == "at another time"
    earlier = Baseline("slow.json", load(slow))
    assert against_baseline(load(fast), earlier, 1.05).outcome == "passed"
    assert against_baseline(result.measurements[0], earlier, 1e3).differs == ()


def test_a_baseline_of_other_conditions_is_refused_before_anything_is_measured_naming_each(
    opener, rule, tmp_path, shared_bench
):
    baseline = shared_bench[0].paths[0]
    longer = replace(rule, name="longer", seconds=0.06)
    with pytest.raises(InputError) as caught:
        bench(["fast"], longer, tmp_path, "paced", opener=opener, baseline=baseline, fail_above=1.05)
    for part in ("scenario: single then, paced now", "length: test then, longer now", "fps: none then, 30.0 now"):
        assert part in caught.value.why
    with pytest.raises(InputError) as caught:
        bench(["fast"], rule, tmp_path, opener=opener, baseline=baseline, fail_above=1.05, threads=2)
    assert caught.value.why == "threads: 1 then, 2 now"
    other = tmp_path / "other.json"
    data = json.loads(baseline.read_text())
    data["artifact"]["precision"] = "int8"
    data["machine"]["cpu_model"], data["machine_id"] = "another", "0" * 12
    other.write_text(json.dumps(data))
    with pytest.raises(InputError, match="no baseline for this") as caught:
        bench(["fast"], rule, tmp_path, opener=opener, baseline=other, fail_above=1.05)
    assert caught.value.why.startswith("machine: another, ")
    data["machine_id"] = shared_bench[0].measurements[0].machine_id
    other.write_text(json.dumps(data))
    with pytest.raises(InputError) as caught:
        bench(["fast"], rule, tmp_path, opener=opener, baseline=other, fail_above=1.05)
    assert caught.value.why == "precision: int8 then, fp32 now"
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"fps": 30}, "--fps 30 means nothing here"),
        ({"scenario": "paced", "fps": 0}, "--fps 0 cannot be"),
        ({"scenario": "paced", "fps": float("nan")}, "--fps nan cannot be"),
        ({"baseline": "m.json"}, "--baseline has no limit"),
        ({"fail_above": 1.05}, "--fail-above has nothing to compare with"),
        ({"fail_above": -1.0}, "--fail-above -1 is no limit"),
        ({"fail_above": 1.05, "baseline": "m.json"}, "cannot read m.json"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_remedy(arguments, what, opener, tmp_path):
    with pytest.raises(InputError) as caught:
        bench(["fast"], out=tmp_path, opener=opener, **arguments)
    assert caught.value.what == what
    with pytest.raises(InputError, match="--baseline judges one contender"):
        bench(["fast", "slow"], out=tmp_path, opener=opener, baseline="m.json", fail_above=1.05)
