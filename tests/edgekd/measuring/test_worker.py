from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd.errors import Exit, InputError
from edgekd.measuring.artifact import import_opener
from edgekd.measuring.inputs import rotation
from edgekd.measuring.measurement import Arrangement
from edgekd.measuring.processes import run_worker
from edgekd.measuring.runs import Run
from edgekd.measuring.worker import WorkerResult, WorkerSpec, measure_latency


@pytest.fixture
def spec(opener, rule, tmp_path):
    return WorkerSpec(
        mode="latency",
        opener=opener,
        path="fast",
        profile=None,
        threads=None,
        seed=11,
        share=rule.share,
        warm_up=rule.warm_up,
        result=str(tmp_path / "result.json"),
        spawned_ns=0,
    )


def run(spec, **changed) -> WorkerResult:
    return run_worker(spec.model_copy(update=changed))


def test_spans_of_a_run_add_up_and_startup_is_told_part_by_part(spec):
    result = run(spec)
    assert result.error is None
    latency = result.latency
    assert latency is not None
    spans = {name: np.array(values) for name, values in latency.samples_us.items()}
    assert set(spans) == {"pre", "infer", "post", "end-to-end"}
    assert len(spans["infer"]) >= spec.share.runs
    assert np.abs(spans["pre"] + spans["infer"] + spans["post"] - spans["end-to-end"]).max() <= 2
    assert spans["infer"].min() >= 499  # the tiny session waits 500 microseconds
    startup = latency.startup
    assert startup.process_ms > 10  # an interpreter and numpy
    assert min(startup.import_ms, startup.load_ms, startup.open_ms) >= 0
    assert startup.first_inference_ms >= 0.5
    assert not startup.torch_imported
    assert (latency.inputs.originals, latency.inputs.jittered, latency.inputs.seed) == (3, 61, 11)
    assert latency.warm_up.rule == "test"
    assert not Path(spec.result).exists()


def test_without_a_pipeline_only_inference_is_timed(spec):
    result = run(spec, path="foreign", threads=3)
    assert result.latency is not None
    assert set(result.latency.samples_us) == {"infer"}
    assert result.artifact is not None
    assert result.artifact.options == {"threads": 3, "kernels": ["eye"]}


def test_memory_is_the_rise_over_the_baseline_after_imports(spec):
    plain, ballast = run(spec, mode="memory"), run(spec, mode="memory", path="ballast")
    assert plain.memory is not None
    assert ballast.memory is not None
    more = ballast.memory.rss_increase_bytes - plain.memory.rss_increase_bytes
    assert 60_000_000 < more < 70_000_000  # 64 MB of ones
    assert ballast.memory.rss_baseline_bytes == pytest.approx(plain.memory.rss_baseline_bytes, rel=0.1)
    if sys.platform == "linux":
        assert ballast.memory.pss_bytes is not None
        assert "rss_high_water_bytes" not in ballast.memory.unknown
    for name in ("device_bytes", "nvml_increase_bytes"):
        assert (getattr(plain.memory, name) is None) == (name in plain.memory.unknown)
    assert plain.placement is not None
    assert plain.placement.precision_by_macs == {"fp32": 1.0}


def test_what_a_runtime_counts_of_its_device_is_reported(spec):
    memory = run(spec, mode="memory", path="device").memory
    assert memory is not None
    assert memory.device_bytes == 3_000_000
    assert "device_bytes" not in memory.unknown
    together = run(spec, mode="memory", path="device", arrangement=Arrangement(sessions=2, threads=1, batch=1)).memory
    assert together is not None
    assert together.device_bytes == 6_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's pages leak into ru_maxrss on Linux")
def test_memory_does_not_count_the_parents(spec):
    heavy = np.ones(200_000_000, dtype=np.uint8)
    memory = run(spec, mode="memory").memory
    assert memory is not None
    assert memory.rss_high_water_bytes < len(heavy)


def test_a_machine_error_comes_back_as_data(spec):
    error = run(spec, path="broken").error
    assert error is not None
    assert (error.what, error.why, error.fix) == ("no driver", "this machine has none", "install one")
    assert error.code == Exit.MACHINE


def test_a_bug_comes_back_in_one_sentence_with_its_trace_apart(spec):
    error = run(spec, path="buggy").error
    assert error is not None
    assert (error.why, error.code) == ("ZeroDivisionError: a bug of ours", Exit.BUG)
    assert "Traceback" in error.trace
    assert "Traceback" not in error.what + error.why + error.fix


def test_a_worker_that_dies_without_a_word_is_reported(spec):
    error = run(spec, path="dies").error
    assert error is not None
    assert error.code == Exit.MACHINE
    assert "left with code 3" in error.why


@pytest.mark.parametrize(
    ("name", "what"),
    [("nowhere_at_all:f", "No module"), ("json:nope", "has no nope"), ("json", "package.module:function")],
)
def test_an_unknown_opener_is_an_input_error(name, what):
    with pytest.raises(InputError, match=what):
        import_opener(name)


def test_all_black_samples_are_refused(spec):
    error = run(spec, path="black").error
    assert error is not None
    assert "all zeros" in error.what


def test_a_sequence_begins_with_a_reset_and_keeps_its_order(opener, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import tiny_artifact

    session = tiny_artifact.Session(tiny_artifact.STATEFUL, 0.0)
    frames = [{"x": np.full((1, 64), i + 1, np.float32)} for i in range(3)]
    seen: list[float] = []
    session_run = session.run
    session.run = lambda feeds: seen.append(float(feeds["x"][0, 0])) or session_run(feeds)
    once = Run(session, None, rotation(frames, seed=9, least=3, in_sequence=True), stateful=True)
    for index in range(7):
        once(index)
    assert seen == [1, 2, 3, 1, 2, 3, 1]
    assert session.resets == [0, 3, 6]


def test_a_sequence_begins_anew_also_where_its_first_frame_was_dropped(opener, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import tiny_artifact

    session = tiny_artifact.Session(tiny_artifact.STATEFUL, 0.0)
    frames = [{"x": np.full((1, 64), i + 1, np.float32)} for i in range(3)]
    once = Run(session, None, rotation(frames, seed=9, least=3, in_sequence=True), stateful=True)
    for index in (0, 2, 4, 5, 10, 0, 1):
        once(index)
    assert session.resets == [0, 2, 4, 5]  # before 0, 4, 10 and the new 0


def test_a_stateful_artifact_is_measured_without_shuffling(spec, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    calls = []
    original = rotation
    monkeypatch.setattr(
        "edgekd.measuring.worker.rotation",
        lambda raws, seed, **how: calls.append(how) or original(raws, seed, **how),
    )
    result = measure_latency(spec.model_copy(update={"path": "stateful"}), process_ms=1.0)
    assert calls == [{"in_sequence": True}]
    assert result.artifact is not None
    assert result.artifact.stateful
