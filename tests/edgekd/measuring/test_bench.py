from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import edgekd
from edgekd.errors import Exit, InputError
from edgekd.measuring.bench import Contender, bench, round_orders
from edgekd.measuring.measurement import load


def test_orders_are_seeded_permutations_that_change_from_round_to_round():
    orders = round_orders(4, 20, seed=1)
    assert orders == round_orders(4, 20, seed=1)
    assert orders != round_orders(4, 20, seed=2)
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len(set(map(tuple, orders))) > 5


def test_every_contender_takes_part_in_every_round_in_the_seeded_order(shared_bench):
    result, _, _ = shared_bench
    orders = round_orders(3, 2, seed=3)
    for index, measurement in zip((0, 2), result.measurements, strict=True):
        assert [w.round for w in measurement.workers] == [0, 1]
        assert [w.position for w in measurement.workers] == [order.index(index) for order in orders]


def test_one_contenders_error_leaves_the_others_results(shared_bench):
    result, folder, _ = shared_bench
    assert [m.artifact.name for m in result.measurements] == ["fast", "slow"]
    assert len(list(folder.iterdir())) == 2
    (failure,) = result.failures
    assert (failure.contender.label, failure.error.what) == ("broken", "no driver")
    assert result.code == Exit.MACHINE


def test_what_is_saved_is_what_is_returned_raw_samples_included(shared_bench):
    result, _, _ = shared_bench
    for measurement, path in zip(result.measurements, result.paths, strict=True):
        assert load(path) == measurement
        assert path.name.startswith(f"{measurement.artifact.sha256[:12]}-{measurement.machine_id}-")
        raw = [us for w in measurement.workers for us in w.result.samples_us["end-to-end"]]
        assert measurement.spans["end-to-end"].runs == len(raw) >= 64
        assert measurement.spans["end-to-end"].mean_ms == pytest.approx(sum(raw) / len(raw) / 1e3)


def test_speedup_is_taken_against_the_slowest_with_an_interval(shared_bench):
    fast, slow = shared_bench[0].measurements
    assert slow.comparisons == ()
    by_span = {c.span: c for c in fast.comparisons}
    assert set(by_span) == {"infer", "end-to-end"}
    infer = by_span["infer"]
    assert infer.reference == "slow"
    assert infer.rounds == 2
    assert infer.low <= infer.speedup <= infer.high
    assert infer.speedup > 2  # the sessions wait 2 and 0.5 ms


def test_frames_per_second_name_their_span(shared_bench):
    fast, _ = shared_bench[0].measurements
    assert fast.fps.span == "end-to-end"
    assert fast.fps.value == pytest.approx(1000 / fast.spans["end-to-end"].mean_ms)


def test_progress_goes_from_nothing_to_all(shared_bench):
    _, _, steps = shared_bench
    told = [text for text, _ in steps]
    assert any(text.startswith("fast: latency, round 2 of 2, about ") and text.endswith(" left") for text in told)
    (broken,) = (text for text in told if text.startswith("broken"))  # never tried again
    assert broken.startswith("broken: memory, about ")
    shares = [share for _, share in steps]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert steps[-1] == ("done", 1.0)


def test_quick_is_not_reportable_and_the_first_contender_can_be_the_reference(opener, rule, tmp_path):
    from dataclasses import replace

    glance = replace(rule, name="quick", reportable=False)
    result = bench(
        [Contender("fast"), Contender("foreign")], glance, tmp_path / "new", opener=opener, reference="first"
    )
    fast, foreign = result.measurements
    assert {fast.verdict.label, foreign.verdict.label} == {"not reportable"}
    assert not fast.verdict.claimable
    assert fast.comparisons == ()
    assert [c.span for c in foreign.comparisons] == ["infer"]  # all that both have
    assert foreign.fps.span == "infer"


def test_bad_requests_are_refused_before_anything_is_measured(tmp_path, opener):
    with pytest.raises(InputError, match="nothing to measure"):
        bench([], out=tmp_path)
    with pytest.raises(InputError, match="named twice"):
        bench(["a", "a"], out=tmp_path)
    with pytest.raises(InputError, match="no length 'long'"):
        bench(["a"], length="long", out=tmp_path)
    with pytest.raises(InputError, match="no scenario 'offlin'") as caught:
        bench(["a"], scenario="offlin", out=tmp_path)
    assert caught.value.fix == 'did you mean "offline"?'
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file"):
        bench(["a"], out=file / "below", opener=opener)


def test_the_same_path_may_race_under_two_profiles():
    assert Contender("runs/lm").label == "lm"
    assert Contender("runs/lm", "compile").label == "lm/compile"
    assert Contender("runs/lm") != Contender("runs/lm", "compile")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process there")
def test_an_interrupt_ends_the_worker_and_writes_nothing(opener, tmp_path):
    pid_file, out = tmp_path / "pid", tmp_path / "out"
    code = (
        "import sys\n"
        "from edgekd.measuring.bench import bench\n"
        f"try: bench(['hangs'], 'quick', {str(out)!r}, opener={opener!r})\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    home = str(Path(edgekd.__file__).parent.parent)
    path = os.pathsep.join([home, os.environ["PYTHONPATH"]])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "TINY_PID_FILE": str(pid_file), "PYTHONPATH": path}
    )
    try:
        deadline = time.monotonic() + 20
        while not (pid_file.exists() and pid_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        worker = psutil.Process(int(pid_file.read_text()))
        parent.send_signal(signal.SIGINT)
        assert parent.wait(20) == 130
        psutil.wait_procs([worker], timeout=5)
        assert not worker.is_running()
        assert not out.exists()
    finally:
        parent.kill()


def test_a_rule_of_the_strict_kind_is_measured_for_all_of_its_seconds_and_runs(shared_bench, rule):
    """As strict is for 600 s: never less than asked, over all processes, whichever of the two takes longer."""
    for measurement in shared_bench[0].measurements:
        assert (rule.stop, measurement.conditions.stop) == ("both", "both")
        assert sum(worker.result.elapsed_s for worker in measurement.workers) >= rule.seconds
        assert all(worker.result.elapsed_s >= rule.seconds / rule.workers for worker in measurement.workers)
        assert measurement.runs >= rule.runs
