"""A runtime that is not installed: exit 4 with the exact pip line, and whoever does not need it still runs."""

from __future__ import annotations

import json

import pytest

# Several commands in one fresh interpreter, each with its own streams: starting one costs seconds.
SEVERAL = """
import contextlib, io, json, sys
from edgekd.cli.main import run
ended = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    ended.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""


@pytest.fixture
def several(python, tmp_path):
    """``several(commands, without=packages)``: (code, stdout, stderr) of each."""

    def call(commands, without):
        texts = [[str(part) for part in command] for command in commands]
        done = python("-c", SEVERAL, json.dumps(texts), without=without, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return [tuple(one) for one in json.loads(done.stdout.splitlines()[-1])]

    return call


def _says(ended, *parts):
    code, _, err = ended
    assert code == 4, err
    messages = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1, err
    assert "Traceback" not in err
    assert "a bug in" not in err
    for part in parts:
        assert part in err, err


def test_without_openvino_everything_else_goes_on(several, tiny_run, tiny_bundles, tmp_path):
    bundle, other = tiny_bundles["openvino"], tiny_bundles["onnxruntime"]
    both = ["--target", "openvino", "--target", "onnxruntime", "--precision", "fp32"]
    commands = [
        ["verify", bundle],
        ["eval", bundle],
        ["predict", bundle, tmp_path / "photo.png"],
        ["export", tiny_run, *both, "--out", tmp_path / "b"],
        ["bench", bundle, other, "--length", "quick", "--out", tmp_path / "m"],
        ["verify", other],
        ["inspect", bundle],
        ["doctor", "--json"],
    ]
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    verify, evaluate, predict, export, bench, fine, inspect, doctor = several(commands, ("openvino",))
    pip = 'pip install "edgekd[openvino]"'
    for ended in (verify, evaluate, predict, export, bench):
        _says(ended, "openvino is not installed", pip)
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["tiny-onnxruntime"]
    measured = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "m").iterdir()]
    assert [m["artifact"]["target"] for m in measured] == ["onnxruntime"]
    assert fine[0] == 0
    assert inspect[0] == 0
    assert "recorded at export; not here: openvino is not installed" in " ".join(inspect[1].split())
    targets = {t["target"]: t for t in json.loads(doctor[1])["targets"]}
    assert targets["openvino"]["runs"] is False
    assert targets["openvino"]["fix"] == pip
    assert targets["onnxruntime"]["runs"] is True


def test_on_a_machine_with_the_base_install_every_verb_says_what_it_needs(several, tiny_run, tiny_bundles, tmp_path):
    commands = [
        ["doctor", "--json"],
        ["list", "targets", "--json"],
        ["verify", tiny_bundles["onnxruntime"]],
        ["eval", tiny_bundles["openvino"]],
        ["eval", tiny_run],
        ["distill", "landmarks", "--out", tmp_path / "x"],
        ["export", tiny_run, "--target", "onnxruntime", "--out", tmp_path / "b"],
        ["bench", tiny_bundles["onnxruntime"], "--length", "quick", "--out", tmp_path / "m"],
        ["report", tiny_run, "--out", tmp_path / "r.html"],
        ["inspect", tiny_bundles["onnxruntime"] / "model.onnx"],
        ["config", "show", "landmarks"],
    ]
    heavy = (
        "torch",
        "pytorch_lightning",
        "onnx",
        "onnxruntime",
        "openvino",
        "nncf",
        "matplotlib",
        "safetensors",
        "tomli_w",
        "coremltools",
        "tensorrt_rtx",
        "tensorrt",
    )
    ended = several(commands, heavy)
    doctor, listed, *rest, config = ended
    assert doctor[0] == listed[0] == 0
    assert {t["target"]: (t["runs"], t["fix"]) for t in json.loads(doctor[1])["targets"]} == {
        "coreml": (False, 'pip install "edgekd[coreml]"'),
        "tensorrt": (False, 'pip install "edgekd[tensorrt-rtx]"'),
        "onnxruntime": (False, 'pip install "edgekd[onnxruntime]"'),
        "openvino": (False, 'pip install "edgekd[openvino]"'),
        "torch": (False, 'pip install "edgekd[distill]"'),
    }
    lines = ["onnxruntime", "openvino", "distill", "distill", "distill", "onnxruntime", "report", "onnxruntime"]
    for one, extra in zip(rest, lines, strict=True):
        _says(one, f'pip install "edgekd[{extra}]"')
    _says(config, 'pip install "edgekd[distill]"')
    assert {path.name for path in tmp_path.iterdir()} <= {"site"}
