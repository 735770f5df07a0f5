"""The built wheel, in an empty environment: a bundle opens with neither torch nor a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPEN = """
import json, sys
import edgekd
bundle = edgekd.open(sys.argv[1])
raw = {name: value[0] for name, value in bundle.vectors()["raw"].items()}
points = bundle.predict(raw)["landmarks"]
print(json.dumps({"shape": points.shape, "torch": "torch" in sys.modules, "from": edgekd.__file__}))
"""


@pytest.mark.slow
def test_the_wheel_opens_a_bundle_without_torch_or_checkout(tiny_bundles, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def call(*command: object, cwd: Path = tmp_path) -> str:
        done = subprocess.run(
            [str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("edgekd-*.whl")
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pins = ROOT / "constraints.txt"
    call(python, "-m", "pip", "install", "--quiet", "--constraint", pins, f"{wheel}[onnxruntime]")

    found = json.loads(call(python, "-c", OPEN, tiny_bundles["onnxruntime"]))
    assert found["shape"] == [68, 2]
    assert not found["torch"]
    assert not Path(found["from"]).is_relative_to(ROOT)
    installed = {row["name"] for row in json.loads(call(python, "-m", "pip", "list", "--format=json"))}
    assert "torch" not in installed

    edgekd = python.parent / "edgekd"
    assert "vectors as recorded" in call(edgekd, "verify", tiny_bundles["onnxruntime"])
    assert "landmarks" in call(edgekd, "list", "recipes")
    missing = subprocess.run(
        [str(edgekd), "verify", str(tiny_bundles["openvino"])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 4
    assert 'pip install "edgekd[openvino]"' in missing.stderr
