"""Ctrl-C in each verb that takes time: exit 130, one message, whatever was made stays whole, nothing is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

# Holds a verb that says nothing while it works, so that the signal meets it in the middle.
PAUSED = """
import sys, time
from edgekd.cli.main import main
import edgekd.measuring.quality as quality
def predictions(*arguments):
    print("paused", file=sys.stderr, flush=True)
    time.sleep(60)
quality.predictions = predictions
main()
"""


@pytest.fixture
def interrupted(tmp_path):
    """``interrupted(marker, *arguments)``: the whole process group gets SIGINT, as in a terminal, at ``marker``."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def call(marker, *arguments, code=("-m", "edgekd")):
        process = subprocess.Popen(
            [sys.executable, *code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(scratch)},
            start_new_session=True,
        )
        try:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if marker in line:
                    break
            else:
                pytest.fail("it ended before it was interrupted:\n" + "".join(lines))
            os.killpg(process.pid, signal.SIGINT)
            out, rest = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 130, rest
        assert out == ""
        assert "Traceback" not in rest
        assert rest.count("error: ") == 1
        assert "error: interrupted" in rest
        _all_gone(process.pid)
        left = [path for path in scratch.iterdir() if path.name.startswith("edgekd")]
        assert not left, "temporary folders were left behind"
        return rest

    return call


def _all_gone(group):
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process of the interrupted command still runs")


def test_distill_keeps_the_run_it_was_to_replace_and_is_gone_on_with(
    interrupted, edgekd, copy_of, tiny_run, tiny_config, snapshot
):
    from edgekd.run import newest_run, open_run

    run = copy_of(tiny_run, "runs/lm")
    before = snapshot(run)
    arguments = ["--config", tiny_config, "--set", "train.epochs=5", "--overwrite"]
    said = interrupted("epoch 2/5", "distill", "landmarks", *arguments, "--out", run)
    assert f"edgekd distill landmarks --out {run} --resume" in said
    assert snapshot(run) == before
    assert newest_run(run.parent) == run

    ended = edgekd("distill", "landmarks", "--out", run, "--resume")
    assert ended.code == 0, ended.err
    assert "epoch 1/5" not in ended.err, "the finished epoch is not trained again"
    record = open_run(run).record
    assert record.status == "complete"
    assert record.config["train"]["epochs"] == 5
    assert [path.name for path in run.parent.iterdir()] == ["lm"]


def test_export_leaves_whole_bundles_only(interrupted, edgekd, tiny_run, tmp_path):
    out = tmp_path / "bundles"
    arguments = ["--target", "onnxruntime", "--target", "openvino", "--precision", "fp32", "--out", out]
    interrupted("openvino: building fp32", "export", tiny_run, *arguments)
    assert [path.name for path in out.iterdir()] == ["tiny-onnxruntime"]
    assert edgekd("verify", out / "tiny-onnxruntime").code == 0


@pytest.mark.parametrize(("scenario", "marker"), [("single", "latency, round 1"), ("offline", "throughput, round 1")])
def test_bench_writes_no_measurement_and_ends_its_workers(interrupted, tiny_bundles, tmp_path, scenario, marker):
    out = tmp_path / "measurements"
    arguments = ["--length", "quick", "--threads", "2", "--scenario", scenario, "--out", out]
    interrupted(marker, "bench", tiny_bundles["onnxruntime"], *arguments)
    assert not out.exists()


def test_predict_on_a_folder_draws_nothing(interrupted, tiny_bundles, picture, tmp_path):
    for index in range(40):
        picture(tmp_path / "photos" / f"{index:02}.png")
    out = tmp_path / "overlays"
    interrupted("03.png", "predict", tiny_bundles["onnxruntime"], tmp_path / "photos", "--out", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "scratch"]


def test_eval_ends_without_a_trace(interrupted, tiny_bundles, snapshot):
    bundle = tiny_bundles["onnxruntime"]
    before = snapshot(bundle)
    interrupted("paused", "eval", bundle, code=("-c", PAUSED))
    assert snapshot(bundle) == before


@pytest.mark.parametrize("marker", ["data", "epoch 1/1", "held-out samples"])
def test_distill_may_be_interrupted_anywhere_and_gone_on_with(
    edgekd, tiny_config, tiny_run, tmp_path, monkeypatch, marker
):
    """The same signal, in this process, at points that are hard to meet from outside."""
    from edgekd.cli import options
    from edgekd.run import open_run

    lines = options._lines

    def with_signal():
        tell = lines()

        def told(what, share):
            tell(what, share)
            if marker in what:
                signal.raise_signal(signal.SIGINT)

        return told

    run = tmp_path / "lm"
    monkeypatch.setattr(options, "_lines", with_signal)
    ended = edgekd("distill", "landmarks", "--config", tiny_config, "--out", run)
    assert ended.code == 130
    assert ended.err.count("error: interrupted") == 1
    monkeypatch.undo()
    if marker == "data":
        assert not run.exists()
        return
    assert edgekd("distill", "landmarks", "--out", run, "--resume").code == 0
    assert open_run(run).sha256 == open_run(tiny_run).sha256


def test_interrupt_while_a_folder_is_replaced_leaves_one_of_the_two(tmp_path, monkeypatch, snapshot):
    from pathlib import Path

    from edgekd.storage import whole_folder

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("old", encoding="utf-8")
    before, rename, calls = snapshot(tmp_path), Path.rename, []

    def interrupted_rename(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted_rename)
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "b", overwrite=True) as temporary:
        (temporary / "new").write_text("new", encoding="utf-8")
    assert len(calls) == 3
    assert snapshot(tmp_path) == before
