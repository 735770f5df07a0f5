"""Every command of the README runs, in its order, as a reader would type it; only the training is made small."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest

from edgekd.cli.main import run as edgekd

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line[2:] for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines()]
# distill: seconds instead of minutes, the same stages.
SMALL = {
    "data.train": 48,
    "data.val": 8,
    "data.test": 12,
    "student.input_size": 32,
    "student.width": 0.25,
    "teacher.epochs": 1,
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.precision": "fp32",
}


def test_the_readme_shows_every_verb():
    from edgekd.cli.main import VERBS

    shown = {shlex.split(command)[1] for command in COMMANDS}
    assert shown == {*VERBS, "config"}


@pytest.mark.slow
def test_every_command_runs_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("scikit-image, which carries the photo, is not installed")
    shutil.copy(Path(spec.submodule_search_locations[0]) / "data" / "astronaut.png", "photo.png")
    from PIL import Image

    Image.open("photo.png").convert("RGB").save("photo.jpg")
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "edgekd"
        if arguments[0] == "distill":
            arguments += [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
        code = edgekd(arguments)
        output = capsys.readouterr()
        assert code == 0, f"{command}\n{output.out}\n{output.err}"
    assert Image.open("overlay.png").size[0] >= 400
    assert "lm-openvino" in Path("report.html").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(tiny_bundles, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "bundles").mkdir()
    shutil.copytree(tiny_bundles["openvino"], tmp_path / "bundles" / "lm-openvino")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(code, scope)
    prediction = scope["prediction"]
    assert isinstance(prediction, dict)
    assert prediction["landmarks"].shape == (68, 2)


def test_every_link_of_the_documents_leads_somewhere():
    for document in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (ROOT / document).parent.joinpath(target).exists(), f"{document}: {target}"
