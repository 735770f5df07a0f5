"""The example package, installed outside the repository, walks the whole road in a fresh process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_recipe"
ROAD = """
import sys
from edgekd.cli.main import run
small = ["--set", "train.precision=fp32", "--set", "train.epochs=6", "--set", "teacher.epochs=4"]
for arguments in (
    ["distill", "digits", "--control", "--out", "runs/digits", "-q", *small],
    ["distill", "digits", "--teacher", "own_teachers:make", "--out", "runs/taught", "-q", *small],
    ["export", "runs/digits", "--target", "onnxruntime", "--target", "openvino", "--precision", "int8", "-q"],
    ["verify", "bundles/digits-openvino", "-q"],
    ["eval", "bundles/digits-onnxruntime", "--json"],
    ["predict", "bundles/digits-openvino", "digits.npz", "--json"],
    ["bench", "bundles/digits-onnxruntime", "--length", "quick", "-q"],
):
    code = run(arguments)
    print(chr(30), flush=True)
    if code:
        sys.exit(f"{arguments}: {code}")
"""


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Its folder, and what each verb printed."""
    load_digits = pytest.importorskip("sklearn.datasets", reason="the example's data comes with it").load_digits
    here = tmp_path_factory.mktemp("outside")
    source, site, work = here / "source", here / "site", here / "work"
    shutil.copytree(EXAMPLE, source)
    work.mkdir()
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(source)], check=True)
    shutil.copy(EXAMPLE / "own_teachers.py", work)
    images = load_digits().images[:3, None] / 16
    np.savez(work / "digits.npz", image=images)
    paths = [str(site), *(path for path in sys.path if path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", ROAD], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return work, done.stdout.split(chr(30))


def record(run: Path):
    return json.loads((run / "run.json").read_text())


def test_it_is_distilled_exported_verified_judged_and_benched(walked):
    work, said = walked
    stages = {stage["name"]: stage for stage in record(work / "runs" / "digits")["stages"]}
    assert list(stages) == ["teacher", "student", "control"]
    assert stages["student"]["test"]["accuracy"] > 90
    assert stages["student"]["teachers"]["teacher"]["accuracy"] == stages["teacher"]["best"]["accuracy"]
    evaluation = json.loads(said[4])
    assert evaluation["metrics"]["accuracy"] > 90 if "metrics" in evaluation else "accuracy" in said[4]
    assert len(list((work / "measurements").iterdir())) == 1


def test_it_predicts_the_digits_of_an_npz(walked):
    _, said = walked
    assert [int(np.argmax(item["prediction"]["logits"])) for item in json.loads(said[5])] == [0, 1, 2]


def test_a_teacher_that_was_brought_is_judged_and_not_trained(walked):
    work, _ = walked
    taught = record(work / "runs" / "taught")
    assert [stage["name"] for stage in taught["stages"]] == ["student"]
    assert taught["stages"][0]["teachers"]["teacher"]["accuracy"] > 90
    assert taught["data"]["teacher"]["teacher"] == taught["config"]["teacher"]["black_box"] == "own_teachers:make"
    assert len(taught["data"]["teacher"]["sha256"]) == 64


def test_the_users_own_code_is_about_thirty_lines():
    code = (EXAMPLE / "edgekd_digits" / "recipe.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in code) <= 32
