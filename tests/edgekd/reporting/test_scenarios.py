"""Measurements of all scenarios on one page, each among its own kind."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgekd.measuring.figures import offline_figures, paced_figures, span_figures
from edgekd.measuring.measurement import (
    Arrangement,
    ArrangementTrial,
    Headline,
    LayerProfile,
    LayerTime,
    OfflineRun,
    PacedRun,
    Trial,
)
from edgekd.reporting.collect import Collected
from edgekd.reporting.latency import latency_section
from edgekd.reporting.layers import layers_section
from edgekd.reporting.scenarios import offline_section, paced_section
from edgekd.reporting.tables import bench_table

TRIED = [
    ArrangementTrial(arrangement=Arrangement(sessions=n, threads=2 // n, batch=1), samples_per_second=100 * n)
    for n in (1, 2)
]
TRIALS = (Trial(fps=50, frames=100, late=0, dropped=0), Trial(fps=80, frames=100, late=30, dropped=12))


@pytest.fixture
def single(make_measurement):
    return make_measurement(name="<b>lm")


@pytest.fixture
def paced(single):
    """Two processes at 30 frames/s: 40 frames, of which the last was late and two were dropped."""
    arrivals = (*(5_000,) * 37, 40_000)
    run = PacedRun(frames=40, processed=(*range(37), 39), trials=TRIALS, highest_fps=50.0)
    workers = tuple(
        w.model_copy(
            update={
                "result": w.result.model_copy(
                    update={"samples_us": {"infer": arrivals, "from-arrival": arrivals}, "paced": run}
                )
            }
        )
        for w in single.workers
    )
    headline = Headline(span="from-arrival", p90_ms=5.0, low_ms=4.9, high_ms=5.2, how="median of 2")
    return single.model_copy(
        update={
            "conditions": single.conditions.model_copy(update={"scenario": "paced", "fps": 30.0}),
            "workers": workers,
            "spans": dict.fromkeys(("infer", "from-arrival"), span_figures([arrivals, arrivals])),
            "headline": headline,
            "paced": paced_figures(workers, 30.0),
        }
    )


@pytest.fixture
def offline(single):
    runs = [OfflineRun(samples=4, samples_per_second=rate, done_us=(10, 20, 30, 40)) for rate in (190.0, 210.0)]
    workers = tuple(
        w.model_copy(update={"result": w.result.model_copy(update={"offline": run})})
        for w, run in zip(single.workers, runs, strict=True)
    )
    return single.model_copy(
        update={
            "conditions": single.conditions.model_copy(update={"scenario": "offline"}),
            "workers": workers,
            "offline": offline_figures(workers, TRIED)[0],
            "comparisons": (),
        }
    )


@pytest.fixture
def profiled(single):
    layers = tuple(LayerTime(node=f"n{i}", op="Conv", kernel=f"k{i}", precision="int8", ms=0.1) for i in range(20))
    return single.model_copy(update={"profile": LayerProfile(calls=64, layers=layers)})


def printed(measurement):
    file = io.StringIO()
    Console(file=file, width=160).print(bench_table([measurement]))
    return file.getvalue()


def test_scenarios_stand_apart_and_none_is_taken_for_latency(single, paced, offline):
    everything = [single, paced, offline]
    latency = latency_section(everything)
    assert latency is not None
    assert latency == latency_section([single])
    assert "Scenario paced" not in latency
    assert latency_section([paced, offline]) is None
    assert paced_section([single, offline]) is None
    assert offline_section([single, paced]) is None
    assert layers_section(everything) is None


def test_the_newest_latency_of_an_artefact_is_of_single_alone(single, paced, offline):
    found = Collected(measurements=[single, paced, offline])
    assert found.latest(single.artifact.sha256, single.artifact.target) is single


def test_a_camera_shows_misses_drops_deadline_and_the_highest_rate(paced):
    shown = paced_section([paced])
    assert shown is not None
    for text in (
        "at 30 frames/s",
        "7.5\u202f%",
        "2.5\u202f%",
        "5.0\u202f%",
        "50.00 (50.00–50.00)",
        "deadline 33.33 ms",
    ):
        assert text in shown, text
    assert shown.count('<svg class="chart"') == 3  # misses against rate, over time, distribution
    assert "<b>lm" not in shown
    text = printed(paced)
    for part in ("camera of 30 frames/s", "deadline 33.3 ms", "7.5\u202f%", "50.00 (50.00–50.00)", "<b>lm"):
        assert part in text, part


def test_where_no_rate_holds_the_lowest_that_was_tried_is_the_bound(paced):
    found = paced.paced.model_copy(update={"highest_fps": None, "highest_low": None, "highest_high": None})
    shown = paced_section([paced.model_copy(update={"paced": found})])
    assert shown is not None
    assert "&lt; 50.0" in shown


def test_throughput_names_the_arrangement_and_what_else_was_tried(offline):
    shown = offline_section([offline])
    assert shown is not None
    for text in ("200 (190–210)", "2 sessions of 1 thread, batch 1", "1 session of 2 threads, batch 1: 100"):
        assert text in shown, text
    text = printed(offline)
    assert "200 (190–210)" in text
    assert "2 sessions of 1 thread, batch 1" in text


def test_the_slowest_layers_are_shown_and_the_rest_summed(profiled):
    shown = layers_section([profiled])
    assert shown is not None
    assert "5 others" in shown
    assert "25.0\u202f%" in shown  # five of twenty
    assert "2.000 ms in sum" in shown
    assert "All 20 nodes" in shown
    text = printed(profiled)
    assert "5 others" in text
    assert "k14" in text
    assert "k15" not in text


def test_memory_that_is_not_told_is_told_why(single):
    memory = single.memory.model_copy(update={"unknown": {"nvml_increase_bytes": "no NVIDIA driver"}})
    told = single.model_copy(update={"memory": memory})
    assert "NVML: no NVIDIA driver" in printed(told)
    assert "NVML: no NVIDIA driver" in (latency_section([told]) or "")
