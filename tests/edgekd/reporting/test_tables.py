from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgekd.measuring.claims import Claim, Evidence, assess
from edgekd.measuring.figures import span_figures
from edgekd.measuring.machine import read_facts, read_state
from edgekd.measuring.measurement import (
    ArtifactFacts,
    Comparison,
    Conditions,
    FramesPerSecond,
    Headline,
    InputsRecord,
    LatencyResult,
    Measurement,
    Memory,
    Startup,
    Verdict,
    WarmUpRecord,
    WorkerRecord,
)
from edgekd.reporting.tables import bench_table, claims_table


def shown(renderable, width=120) -> str:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=False).print(renderable)
    return file.getvalue()


def record() -> WorkerRecord:
    state = read_state()
    result = LatencyResult(
        startup=STARTUP,
        warm_up=WarmUpRecord(rule="full", runs=60, seconds=3, settled=True, medians_ns=(1.0, 1.0)),
        inputs=InputsRecord(originals=5, jittered=59, seed=0),
        elapsed_s=1,
        samples_us={"infer": (1000,) * 100},
        before=state,
        after=state,
    )
    return WorkerRecord(round=0, position=0, busy_before=0, variation=0, contention=(), result=result)


STARTUP = Startup(process_ms=200, open_ms=10, import_ms=150, load_ms=80, first_inference_ms=5, torch_imported=False)


def measured(name: str, speedup: float | None, label: str = "valid", reasons: tuple[str, ...] = ()):
    import numpy as np

    comparison = Comparison(
        reference="lm torch",
        reference_sha256="0" * 64,
        span="end-to-end",
        speedup=speedup or 1,
        low=5.9,
        high=6.6,
        confidence=0.95,
        rounds=5,
    )
    ms = 12.0 / (speedup or 1)
    facts = read_facts()
    return Measurement(
        edgekd_version="0",
        created="2026-01-02T03:04:05.000006+00:00",
        artifact=ArtifactFacts(
            name=name,
            target="openvino",
            profile="default",
            precision="int8",
            sha256="a" * 64,
            size_bytes=3_000_000,
            parameters_bytes=2_400_000,
            inputs={"image": (1, 3, 224, 224)},
            stateful=False,
            options={"threads": 2},
            versions={"openvino": "2026.4.1"},
        ),
        conditions=Conditions(
            scenario="single",
            length="standard",
            workers=5,
            least_seconds=60,
            least_runs=64,
            stop="both",
            warm_up="full",
            batch=1,
            threads=None,
            seed=0,
            contenders=("a", "b"),
        ),
        machine=facts,
        machine_id=facts.id,
        lock_command=None,
        workers=(record(),),
        startup=STARTUP,
        spans={"end-to-end": span_figures([np.full(200, int(ms * 1000))])},
        headline=Headline(span="end-to-end", p90_ms=ms, low_ms=ms * 0.98, high_ms=ms * 1.03, how="median of 5"),
        reproduced=True,
        fps=FramesPerSecond(value=1000 / ms, span="end-to-end"),
        memory=Memory(
            artifact_bytes=3_000_000,
            parameters_bytes=2_400_000,
            rss_baseline_bytes=50_000_000,
            rss_high_water_bytes=90_000_000,
            rss_increase_bytes=40_000_000,
            pss_bytes=None,
            runs=16,
        ),
        placement=None,
        comparisons=(comparison,) if speedup else (),
        verdict=Verdict(label=label, reasons=reasons),  # type: ignore[arg-type]
    )


@pytest.fixture
def measurements() -> list[Measurement]:
    return [
        measured("lm torch", None, "not reportable", ("a look", "two", "three")),
        measured("lm-openvino", 6.2),
    ]


def test_figures_stand_beside_their_conditions(measurements):
    text = shown(bench_table(measurements))
    for part in (
        "latency end-to-end, ms",
        "scenario single, batch 1, full warm-up",
        "2 threads",
        "image 1×3×224×224",
        "200 runs on 5 samples and 59 variants",
        "openvino 2026.4.1",
        " GiB, ",
    ):
        assert part in text


def test_the_ratio_has_its_interval_and_its_reference(measurements):
    text = shown(bench_table(measurements))
    assert "6.20 [5.90, 6.60]" in text
    assert "1 (reference)" in text
    assert "times faster than lm torch, with the 95% bootstrap interval over 5 paired rounds" in text


def test_fastest_comes_first(measurements):
    rows = shown(bench_table(measurements)).splitlines()
    first = next(row for row in rows if row.strip(" │┃").startswith("lm"))
    assert "lm-openvino" in first


def test_headline_shows_least_and_greatest_and_unsupported_percentiles_are_dashes(measurements):
    text = shown(bench_table(measurements))
    assert "1.94 (1.90–1.99)" in text
    row = next(line for line in text.splitlines() if "lm-openvino" in line and "6.20" in line)
    assert "–" in row.split("1.99)")[1]  # p99 of 200 runs


def test_a_figure_that_may_not_be_claimed_says_so_with_reasons(measurements):
    text = shown(bench_table(measurements))
    assert "lm torch: not reportable: a look; two; and 1 more" in text
    assert "three" in shown(bench_table(measurements, verbose=True))


def test_claims_show_both_figures_and_what_differs():
    claim = Claim(
        id="fps",
        paper="P",
        metric="fps",
        value=30,
        unit="frames/s",
        kind="speed",
        better="higher",
        source="t",
        hardware="a phone",
        hardware_class="Pixel 6",
        span="infer",
    )
    ours = Evidence(metric="fps", value=500, unit="frames/s", conditions={"hardware": "EPYC", "span": "infer"})
    text = shown(claims_table([assess(claim, [ours]), assess(claim, [])]), width=160)
    assert "NOT COMPARABLE" in text
    assert "hardware: theirs a phone, ours EPYC" in text
    assert "NOT RUN" in text
    assert "500" in text
