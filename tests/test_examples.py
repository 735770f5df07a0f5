"""Every example runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.cli.main import run as edgekd

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_example_is_left_out():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"demo.py", "own_teacher.py", "predict.py", "use_app.py"}


def test_predict_opens_a_bundle_and_draws(tiny_bundles, tmp_path):
    shown = run_example("predict.py", str(tiny_bundles["onnxruntime"]), cwd=tmp_path)
    assert "outer eye corners" in shown
    assert (tmp_path / "prediction.png").stat().st_size > 1000


def test_a_product_uses_an_app_without_edgekd(tiny_bundles, tmp_path):
    from edgekd.embedding.embed import embed

    embed(tiny_bundles["onnxruntime"], "python", tmp_path / "app")
    shown = run_example("use_app.py", str(tmp_path / "app"), cwd=tmp_path)
    assert "landmarks float32 [68, 2]" in shown
    assert "of a constant that was changed: FAIL pre-processing" in shown


def test_a_teacher_of_ones_own_labels_pictures(tmp_path, monkeypatch):
    pytest.importorskip("dlib", reason="dlib finds the faces")
    sys.path.insert(0, str(EXAMPLES))
    try:
        from demo import collect_pictures

        _, faces, _ = collect_pictures(tmp_path)
    except SystemExit as error:
        pytest.skip(str(error))
    finally:
        sys.path.remove(str(EXAMPLES))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "own_teacher", raising=False)  # other tests have one of that name
    small = ["student.input_size=32", "student.width=0.25", 'student.init=""', "train.epochs=1", "augment.factor=1"]
    settings = [part for setting in small for part in ("--set", setting)]
    arguments = ["--data", f"images:{faces}", "--teacher", "own_teacher:average_face", "--out", str(tmp_path / "own")]
    assert edgekd(["distill", "landmarks", "--preset", "pictures", *arguments, *settings, "-q"]) == 0


@pytest.mark.slow
def test_the_demo_walks_the_whole_road(tmp_path):
    pytest.importorskip("dlib", reason="dlib is the teacher")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    small = ["student.input_size=64", "train.epochs=1", "augment.factor=1"]
    settings = [part for setting in small for part in ("--set", setting)]
    shown = run_example("demo.py", "--out", "demo", *settings, cwd=tmp_path)
    assert "16 vectors as recorded" in shown
    assert (tmp_path / "demo" / "astronaut.png").stat().st_size > 10_000
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert "dlib68" in page
