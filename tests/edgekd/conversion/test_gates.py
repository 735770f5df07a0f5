from __future__ import annotations

import numpy as np
import pytest

from edgekd.contracts import Precision
from edgekd.conversion.gates import Witness, judge, judge_numbers, require
from edgekd.errors import GateError

EXACT = (Precision.FP32, Precision.BF16, Precision.FP16)


class Same:
    """A pipeline whose prediction is the output."""

    def postprocess(self, outputs, raw):
        return {"y": outputs["y"]}


class LowerIsBetter:
    primary, higher_is_better, units = "error", False, {"error": "px"}

    def compute(self, predictions, truths):
        return {
            "error": float(np.mean([np.abs(p["y"] - t["y"]).mean() for p, t in zip(predictions, truths, strict=True)]))
        }


class HigherIsBetter(LowerIsBetter):
    primary, higher_is_better, units = "hits", True, {"hits": ""}

    def compute(self, predictions, truths):
        return {"hits": 1 - super().compute(predictions, truths)["error"]}


def side(values):
    return Witness([{"y": np.asarray([v], np.float32)} for v in values], Same(), [{}] * len(values))


def gate(before, after, precision, metrics=None, truth=0.0):
    truths = [{"y": np.asarray([truth])}] * len(before)
    where = "the runtime"
    return judge(
        "a → b",
        side(before),
        side(after),
        precision=precision,
        where=where,
        metrics=metrics or LowerIsBetter(),
        truths=truths,
    )


@pytest.mark.parametrize(("shift", "passed"), [(0.9e-4, True), (1.1e-4, False), (np.nan, False), (np.inf, False)])
def test_fp32_outputs_must_agree_within_a_ten_thousandth(shift, passed):
    record = gate([1.0] * 10, [1.0] * 9 + [1 + shift], Precision.FP32)
    assert record.passed is passed
    assert ("outputs differ by" in record.why) is not passed


def test_large_outputs_are_compared_relative_to_their_largest():
    assert gate([1000.0] * 10, [1000.05] * 10, Precision.FP32).passed
    assert not gate([1000.0] * 10, [1000.2] * 10, Precision.FP32).passed


@pytest.mark.parametrize("precision", [p for p in Precision if p != Precision.FP32])
def test_other_precisions_may_lose_their_share_of_the_metric_and_no_more(precision):
    limit = 0.001 if precision in EXACT else 0.02
    assert gate([1.0] * 10, [1 + 0.9 * limit] * 10, precision).passed
    record = gate([1.0] * 10, [1 + 1.2 * limit] * 10, precision)
    assert not record.passed
    assert record.relative_loss == pytest.approx(1.2 * limit, rel=1e-2)
    assert record.why.startswith("error went from 1 to 1.0")
    assert f"allowed {limit:+.1%}" in record.why


def test_a_metric_that_is_better_when_higher_is_judged_the_other_way_round():
    assert gate([0.5] * 10, [0.4] * 10, Precision.INT8, HigherIsBetter()).relative_loss == pytest.approx(-0.2)
    assert gate([0.5] * 10, [0.4] * 10, Precision.INT8, HigherIsBetter()).passed
    assert not gate([0.5] * 10, [0.6] * 10, Precision.INT8, HigherIsBetter()).passed


def test_one_sample_may_be_lost_and_not_two():
    assert gate([1.0] * 20, [1.0] * 19 + [3.0], Precision.INT8).passed
    record = gate([1.0] * 20, [1.0] * 18 + [3.0, 3.0], Precision.INT8)
    assert not record.passed
    assert record.relative_loss == pytest.approx(0.2)


def test_a_single_sample_has_no_slack():
    assert not gate([1.0], [1.1], Precision.INT8).passed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_slack_lets_a_nan_or_an_infinity_pass(bad):
    record = gate([1.0] * 20, [1.0] * 19 + [bad], Precision.INT8)
    assert not record.passed
    assert record.interval is None


def test_nan_on_both_sides_is_not_agreement():
    assert not gate([np.nan] * 4, [np.nan] * 4, Precision.INT8).passed


def test_a_record_of_infinite_distance_survives_json():
    record = gate([1.0] * 5, [1.0] * 4 + [np.nan], Precision.INT8)
    read = type(record).model_validate_json(record.model_dump_json())
    assert read.distance["y"].relative_max == np.inf
    assert not read.passed


def test_a_loss_from_nothing_survives_json():
    """The metric was perfect before: its relative loss is infinite and has no interval."""
    record = gate([0.0] * 5, [1.0] * 5, Precision.INT8)
    assert (record.relative_loss, record.interval, record.passed) == (np.inf, None, False)
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_the_interval_comes_from_resampled_pairs_and_is_the_same_each_time():
    rng = np.random.default_rng(0)
    before = 1 + rng.random(50)
    after = before * (1 + 0.01 * rng.normal(size=50))
    one, other = (gate(before, after, Precision.INT8) for _ in range(2))
    assert one.interval == other.interval
    low, high = one.interval
    assert low < one.relative_loss < high
    assert high - low < 0.02  # pairs: the samples' own spread, 50 %, does not enter


def test_a_failed_gate_names_its_arrow_both_figures_and_where():
    record = gate([1.0] * 10, [1.5] * 10, Precision.INT8)
    with pytest.raises(GateError, match="the arrow a → b failed its gate") as caught:
        require(record)
    assert "error went from 1 to 1.5 px (+50.0%, allowed +2.0%)" in caught.value.why
    assert "10 held-out samples, in the runtime" in caught.value.why
    require(gate([1.0] * 10, [1.0] * 10, Precision.INT8))


@pytest.mark.parametrize(
    ("noise", "precision", "passed"),
    [
        (0.09, Precision.INT8, True),  # 20.9 dB
        (0.11, Precision.INT8, False),  # 19.2 dB
        (0.11, Precision.BF16, False),
        (0.0, Precision.INT8, True),
        (1e-3, Precision.FP32, False),
        (1e-5, Precision.FP32, True),
        (np.nan, Precision.INT8, False),
    ],
)
def test_without_a_metric_the_noise_may_be_a_tenth_of_the_output(noise, precision, passed):
    signs = [1.0, -1.0] * 5
    before, after = (Witness([{"y": np.array([v])} for v in values]) for values in (signs, [s + noise for s in signs]))
    record = judge_numbers("a → b", before, after, precision=precision, where="here")
    assert (record.passed, record.metric, record.before) == (passed, "", None)
    assert bool(record.why) is not passed
