"""An app in Python needs no edgekd, says what ``predict`` says, and its ``--verify`` sees what was changed in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import edgekd
from edgekd.embedding.embed import embed
from edgekd.errors import GateError, InputError
from edgekd.storage import row

RECIPES = ("landmarks", "hypergraph", "streaming", "tryon")
TARGETS = ("onnxruntime", "openvino")


def _app(folder, *arguments):
    """Isolated: neither a checkout nor PYTHONPATH is seen."""
    command = [sys.executable, "-I", str(folder / "app.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_it_says_what_predict_says_and_needs_no_edgekd(app_of, bundle_of, recipe, target, tmp_path):
    app, bundle = app_of(recipe, target, "python"), edgekd.open(bundle_of(recipe, target))
    assert "edgekd" not in re.sub(r'""".*?"""|#.*', "", (app / "app.py").read_text(encoding="utf-8"), flags=re.S)
    code = (
        "import sys, numpy as np\nsys.path.insert(0, sys.argv[1])\nimport app\nstudent = app.Student()\n"
        "said = [student.predict(raw) for raw in app.vectors('raw')]\n"
        "np.savez(sys.argv[2], **{f'{k}/{n}': v for k, one in enumerate(said) for n, v in one.items()})\n"
        "assert 'edgekd' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-I", "-c", code, str(app), str(tmp_path / "said.npz")], check=True)
    said = np.load(tmp_path / "said.npz")
    raws = bundle.vectors()["raw"]
    for k in range(bundle.manifest.vectors.samples):
        for name, value in bundle.predict(row(raws, k)).items():
            np.testing.assert_array_equal(said[f"{k}/{name}"], value)


@pytest.mark.parametrize(
    ("recipe", "old", "new", "fails"),
    [
        ("landmarks", "scale=0.00392156862745098", "scale=0.00392", "pre-processing"),
        ("landmarks", 'resampler="bilinear"', 'resampler="bicubic"', "pre-processing"),
        ("landmarks", 'color="RGB"', 'color="BGR"', "pre-processing"),
        ("landmarks", "(low + high) / 2", "(low + high) / 2.001", "post-processing"),
        ("hypergraph", 'normalization="l1"', 'normalization="none"', "pre-processing"),
        ("streaming", "GREY = 114", "GREY = 115", "pre-processing"),
        ("streaming", "OVERLAP = 0.65", "OVERLAP = 0.66", "post-processing"),
        ("tryon", "mean=(1.0, 1.0, 1.0)", "mean=(1.0, 1.0, 1.01)", "pre-processing"),
        ("tryon", "(edge > 127)", "(edge > 300)", "pre-processing"),
        ("tryon", "live.held = {sink: given", "live.held = {sink: 0 * given", "outputs of frame, prepared"),
    ],
)
def test_what_is_changed_in_it_fails_its_verification(app_of, copy_of, recipe, old, new, fails):
    app = copy_of(app_of(recipe, "onnxruntime", "python"))
    text = (app / "app.py").read_text(encoding="utf-8")
    assert old in text
    assert _app(app, "--verify").returncode == 0
    (app / "app.py").write_text(text.replace(old, new), encoding="utf-8")
    ended = _app(app, "--verify")
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert re.search(f"^FAIL {fails}", ended.stdout, re.M), ended.stdout


def test_state_is_carried_as_edgekd_carries_it(app_of, bundle_of, tmp_path):
    """Of the state itself: what a tiny student says depends on it less than the tolerance."""
    app, bundle = app_of("streaming", "onnxruntime", "python"), edgekd.open(bundle_of("streaming", "onnxruntime"))
    code = (
        "import sys, numpy as np\nsys.path.insert(0, sys.argv[1])\nimport app\nstudent = app.Student()\n"
        "for raw in app.vectors('raw')[:3]: student.predict(raw)\n"
        "np.savez(sys.argv[2], **student.main.state)"
    )
    subprocess.run([sys.executable, "-I", "-c", code, str(app), str(tmp_path / "state.npz")], check=True)
    raws = bundle.vectors()["raw"]
    for k in range(3):
        bundle.predict(row(raws, k))
    wanted, found = bundle.session._state, np.load(tmp_path / "state.npz")
    assert set(found.files) == set(wanted)
    for name, value in wanted.items():
        assert np.abs(value).max() > 0
        np.testing.assert_array_equal(found[name], value)


def test_its_command_line_takes_a_photo_a_folder_of_frames_a_table_and_two_pictures(app_of, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "frames").mkdir()
    for k in range(3):
        Image.fromarray(rng.integers(0, 256, (80, 100, 3), np.uint8)).save(tmp_path / "frames" / f"{k}.png")
    rows = rng.random((2, 12))
    (tmp_path / "rows.csv").write_text("\n".join(",".join(map(str, row)) for row in rows), encoding="utf-8")
    garment = rng.integers(0, 256, (90, 60, 4), np.uint8)
    garment[..., 3] = 0
    garment[20:70, 10:50, 3] = 255
    Image.fromarray(garment).save(tmp_path / "c.png")

    photo = tmp_path / "frames" / "0.png"
    face = _app(app_of("landmarks", "onnxruntime", "python"), photo, "box=10,10,60,60")
    assert np.shape(json.loads(face.stdout)["landmarks"]) == (68, 2)
    street = _app(app_of("streaming", "onnxruntime", "python"), tmp_path / "frames").stdout.splitlines()
    assert [json.loads(line)["frame"] for line in street] == [0, 1, 2]
    labels = _app(app_of("hypergraph", "onnxruntime", "python"), tmp_path / "rows.csv").stdout.splitlines()
    assert len(labels) == 2
    worn = _app(app_of("tryon", "onnxruntime", "python"), f"person={photo}", f"clothes={tmp_path / 'c.png'}",
                "--out", tmp_path / "worn.png")  # fmt: skip
    assert json.loads(worn.stdout)["tryon"] == "100x80 px"
    assert Image.open(tmp_path / "worn.png").size == (100, 80)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["picture=x.png"], "picture is no input"),
        (["missing.png"], "does not exist"),
        ([__file__], "is not a picture"),
        (["box=1,2,3,4"], "image is missing"),
    ],
)
def test_bad_input_is_one_message(app_of, arguments, said):
    ended = _app(app_of("landmarks", "onnxruntime", "python"), *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_times_its_own_loop(app_of):
    found = json.loads(_app(app_of("hypergraph", "onnxruntime", "python"), "--bench", "0.05").stdout)
    assert found["p50_ms"] <= found["p90_ms"]
    assert found["calls"] >= 10


def test_an_app_that_lies_is_not_written(bundle_of, tmp_path, monkeypatch):
    from edgekd.embedding import python

    honest = python.composed
    monkeypatch.setattr(python, "composed", lambda plan: honest(plan).replace("/ 2 + points", "/ 3 + points"))
    with pytest.raises(GateError, match="post-processing"):
        embed(bundle_of("landmarks", "onnxruntime"), "python", tmp_path / "app")
    assert list(tmp_path.iterdir()) == []


def test_outputs_in_the_way_and_bundles_without_an_app_are_refused(bundle_of, app_of, tmp_path):
    bundle = bundle_of("landmarks", "openvino")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years", encoding="utf-8")
    with pytest.raises(InputError, match="something else"):
        embed(bundle, "python", tmp_path / "mine", overwrite=True)
    with pytest.raises(InputError, match="lies in the bundle"):
        embed(bundle, "python", bundle / "app")
    embed(bundle, "python", tmp_path / "app")
    with pytest.raises(InputError, match="exists"):
        embed(bundle, "python", tmp_path / "app")
    assert embed(bundle, "python", tmp_path / "app", overwrite=True).verified.startswith("verified here")
    with pytest.raises(InputError) as refused:
        embed(bundle, "tensor", tmp_path / "other")
    assert "python" in str(refused.value)
