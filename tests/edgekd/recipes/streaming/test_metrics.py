from __future__ import annotations

import numpy as np
import pytest

from edgekd.measuring.quality import bootstrap_loss
from edgekd.recipes.contract import SampleMetrics, TimedMetrics
from edgekd.recipes.streaming.data import StreamSet
from edgekd.recipes.streaming.metrics import ARGOVERSE, METRICS


def said(boxes):
    boxes = boxes[boxes[:, 0] >= 0]
    return {"boxes": boxes, "scores": np.ones(len(boxes), np.float32)}


@pytest.fixture
def truths(clips):
    samples = StreamSet(clips, (48, 30))
    return [samples.sample(k).truth for k in range(len(samples))]


def test_a_forecast_is_compared_with_the_next_frame(truths):
    perfect = METRICS.compute([said(t["boxes"]) for t in truths], truths)
    assert perfect["sap"] == perfect["sap50"] == perfect["sap75"] == perfect["sap_small"] == 100
    late = METRICS.compute([said(t["current"]) for t in truths], truths)
    # three px of ten: an overlap of 7/13, so it is found at 0.5 alone
    assert late["sap50"] == 100
    assert late["sap"] == pytest.approx(10)
    assert set(perfect) == {f"{part}{name}" for part in ("", "authors_") for name in ("sap", "sap50", "sap75")} | {
        "sap_small"
    }
    assert set(perfect) <= set(METRICS.units)


def test_offline_and_streaming_agree_while_the_student_keeps_up(truths):
    forecasts = [said(t["boxes"]) for t in truths]
    in_time = METRICS.streamed(METRICS.schedule(truths, [30.0]), forecasts, truths)
    assert in_time == METRICS.offline(forecasts, truths, authors=False)
    # of 10 pictures the first of each of two sequences is never found
    assert in_time["sap50"] == pytest.approx(100 * 81 / 101)
    assert METRICS.offline(forecasts, truths, authors=True)["sap50"] == pytest.approx(100 * 61 / 101)
    assert METRICS.compute(forecasts, truths)["authors_sap50"] == pytest.approx(100 * 61 / 101)


def test_what_comes_later_is_worth_less(truths):
    forecasts = [said(t["boxes"]) for t in truths]
    scores = []
    for latency in (30.0, 60.0, 90.0, 120.0):
        schedule = METRICS.schedule(truths, [latency])
        seen = [forecasts[k] for run in schedule.seen for k in run]
        scores.append(METRICS.streamed(schedule, seen, truths)["sap"])
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[1] > scores[-1]


def test_any_samples_figures_are_had_from_what_each_contributes(truths):
    rng = np.random.default_rng(0)
    forecasts = [said(t["boxes"] + np.float32([0, 1, 1, 1, 1]) * rng.normal()) for t in truths]
    found = METRICS.evidence(forecasts, truths)
    pick = [0, 3, 3, 7]
    once = METRICS.compute([forecasts[k] for k in pick], [truths[k] for k in pick])
    assert METRICS.figures([found[k] for k in pick])["sap"] == once["sap"]
    assert isinstance(METRICS, SampleMetrics)
    assert isinstance(METRICS, TimedMetrics)
    low, high = bootstrap_loss(METRICS, forecasts, forecasts, truths)
    assert (low, high) == (0, 0)


def test_where_nothing_is_there_saying_nothing_is_right(truths):
    empty = {**truths[0], "boxes": np.full((2, 5), -1.0), "current": np.full((2, 5), -1.0)}
    assert METRICS.compute([said(empty["boxes"])], [empty])["sap"] == 100
    assert METRICS.compute([said(truths[0]["boxes"])], [empty])["sap"] == 0
    assert METRICS.per_sample([said(empty["boxes"]), said(truths[1]["current"])], [empty, truths[1]]) == pytest.approx(
        [100, 10]
    )


def test_the_authors_figures_are_claimed_of_the_whole_set_alone(truths):
    scores = METRICS.compute([said(t["boxes"]) for t in truths], truths)
    assert METRICS.as_claimed(scores, f"{ARGOVERSE} in part") == []
    assert [(name, value) for name, value, _, _ in METRICS.as_claimed(scores, ARGOVERSE)] == [
        ("sAP", scores["authors_sap"]), ("sAP50", scores["authors_sap50"]), ("sAP75", scores["authors_sap75"]),
    ]  # fmt: skip


def test_unequal_numbers_are_an_error_of_the_caller(truths):
    with pytest.raises(ValueError, match="1 predictions for 8 truths"):
        METRICS.evidence([said(truths[0]["boxes"])], truths)
