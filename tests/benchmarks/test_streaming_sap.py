"""Real boxes: what must hold of forecasts of people who walk."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgekd.recipes.streaming.clock import streaming
from edgekd.recipes.streaming.metrics import METRICS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "streaming_sap.py"
WHY = 'the TUD sequences are not here: pip install --no-deps "motmetrics==1.4.0"'


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("streaming_sap", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["TUD-Campus", "TUD-Stadtmitte"])
def truths(script, request):
    if script.tud_folder() is None:
        pytest.skip(WHY)
    return script.tud(request.param)


def score(script, truths, forecaster, frames):
    schedule = streaming(truths, [frames * METRICS.step_ms(truths)])
    return METRICS.streamed(schedule, [*script.forecasts(forecaster, schedule.seen, truths)], truths)["sap"]


def test_moving_on_beats_standing_still_at_one_frame_of_delay(script, truths):
    assert score(script, truths, "velocity", 1) > score(script, truths, "copy", 1) + 5


@pytest.mark.parametrize("forecaster", ["copy", "velocity"])
def test_each_frame_of_latency_costs(script, truths, forecaster):
    scores = [score(script, truths, forecaster, frames) for frames in (1, 2, 3, 4, 5)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 10 + scores[2]


def test_a_box_that_moves_evenly_is_where_it_is_forecast(script):
    boxes = [np.array([[0, 5.0 * k, 0, 20 + 5.0 * k, 30]]) for k in range(12)]
    truths = script.truths_of(boxes, 0, 25.0)
    said = [*script.forecasts("velocity", [range(11)], truths)]
    assert np.abs(said[-1]["boxes"] - boxes[11]).max() < 0.01
    assert [*script.forecasts("copy", [range(11)], truths)][-1]["boxes"] == pytest.approx(boxes[10])


def test_the_markdown_says_what_is_missed(script):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    boxes = [np.array([[0, 5.0 * k, 0, 20 + 5.0 * k, 30]]) for k in range(12)]
    found = script.measured("even", script.truths_of(boxes, 0, 25.0))
    assert found["apart_from_pycocotools"] < script.AGREES
    results = {
        "quick": False, "created": "2026-01-01T00:00:00", "sources": {"even": found},
        "conditions": {"latencies_frames": script.LATENCIES, "versions": {}, "streets": 1, "frames": 12,
                       "size": [4, 3], "seed": 0},
    }  # fmt: skip
    text = script.section(results)
    assert text.startswith("## `python benchmarks/streaming_sap.py`: what it shows\n")
    copy, velocity = (found["figures"][name]["1"]["sap"] for name in script.FORECASTERS)
    assert velocity > copy
    assert "`velocity` beats `copy` at one frame" in text
    found["figures"]["copy"]["1"]["sap"] = 101.0
    assert "**missed**" in script.section(results)
