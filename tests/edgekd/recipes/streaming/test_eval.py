"""A student of seconds, judged against a clock: state, sequences and latencies all the way through the verb."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from edgekd.cli.main import run as command
from edgekd.errors import InputError
from edgekd.measuring.quality import evaluate
from edgekd.training.distill import distill

TINY = (
    "data.train=1", "data.val=1", "data.test=2", "data.frames=5", "student.input_height=64", "student.input_width=96",
    "student.width=0.0625", "student.neck_blocks=1", "teacher.use=none", "train.epochs=1", "train.batch_size=2",
    "train.scales=0.0", "train.precision=fp32",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    cache = tmp_path_factory.mktemp("streets")
    return distill("streaming", tmp_path_factory.mktemp("runs") / "tiny", settings=[*TINY, f"data.cache={cache}"]).path


def test_latency_decides_how_many_frames_are_seen(run):
    found = [evaluate(run, threads=1, latency=latency).clock for latency in ("10", "70ms")]
    assert [clock.seen for clock in found] == [8, 4]
    assert all(set(clock.metrics) >= {"sap", "sap50", "sap75"} for clock in found)
    assert evaluate(run, threads=1).clock is None
    with pytest.raises(InputError, match="is no time"):
        evaluate(run, threads=1, latency="fast")


def test_the_verb_prints_the_figures_and_draws_the_curve(run, tmp_path, capsys):
    picture = tmp_path / "sap.png"
    assert command(["eval", str(run), "--latency", "measured", "--out", str(picture), "--json", "--threads", "1"]) == 0
    clock = json.loads(capsys.readouterr().out)["clock"]
    assert clock["latency"] == "measured"
    assert clock["latency_ms"] > 0
    assert len(clock["sweep"]) > 4
    assert Image.open(picture).width > 500
    assert command(["eval", str(run), "--latency", "33", "--out", str(picture), "--threads", "1"]) == 2
    assert "exists" in capsys.readouterr().err
