"""An app in C++ is compiled without a warning, and gives what the bundle recorded: Pillow's resize to the last bit."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgekd

RECIPES = ("landmarks", "hypergraph", "streaming", "tryon")


def _package(name):
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path("nowhere")


def _where(target, folder):
    """What CMake is told of the runtime; skips where its headers or library are not here."""
    if shutil.which("cmake") is None or not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no CMake, or no C++ compiler")
    if target == "openvino":
        if not (_package("openvino") / "cmake").is_dir():
            pytest.skip("this OpenVINO has no CMake files: its wheel does")
        return [f"-DOpenVINO_DIR={_package('openvino') / 'cmake'}"]
    headers = os.environ.get("EDGEKD_ONNXRUNTIME_INCLUDE", "")
    libraries = sorted((_package("onnxruntime") / "capi").glob("libonnxruntime.so.*"))
    if not (Path(headers) / "onnxruntime_cxx_api.h").is_file() or not headers or not libraries:
        pytest.skip("EDGEKD_ONNXRUNTIME_INCLUDE names no folder of ONNX Runtime's headers: its wheel has none")
    library = folder / "libonnxruntime.so.1"  # as it names itself
    library.symlink_to(libraries[0])
    return [f"-DONNXRUNTIME_INCLUDE={headers}", f"-DONNXRUNTIME_LIBRARY={library}"]


def _built(app, where):
    said = ""
    for command in (["cmake", "-S", app, "-B", app / "build", *where], ["cmake", "--build", app / "build"]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr
        assert done.returncode == 0, said
    assert "warning" not in said.lower(), said


def _run(app, *arguments):
    return subprocess.run([str(app / "build/app"), *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "target"), [*((recipe, "openvino") for recipe in RECIPES), ("streaming", "onnxruntime")]
)
def test_it_compiles_without_a_warning_and_gives_what_was_recorded(app_of, copy_of, recipe, target, tmp_path):
    where = _where(target, tmp_path)
    app = copy_of(app_of(recipe, target, "cpp"))
    _built(app, where)
    ended = _run(app, "--verify")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    gap = re.search(r"pre-processing, largest gap: (\S+),", ended.stdout)
    assert gap
    assert float(gap[1]) == 0, "the same bits as Pillow's"


@pytest.mark.slow
def test_a_changed_constant_fails_and_its_command_line_says_what_predict_says(app_of, copy_of, bundle_of, tmp_path):
    where = _where("openvino", tmp_path)
    app = copy_of(app_of("landmarks", "openvino", "cpp"))
    config = (app / "config.hpp").read_text(encoding="utf-8")
    assert '"RGB", "bilinear", 0.003921' in config
    (app / "config.hpp").write_text(config.replace('"RGB", "bilinear"', '"BGR", "bilinear"'), encoding="utf-8")
    _built(app, where)
    changed = _run(app, "--verify")
    assert changed.returncode == 3
    assert "FAIL pre-processing" in changed.stdout

    (app / "config.hpp").write_text(config, encoding="utf-8")
    _built(app, where)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.ppm")
    said = json.loads(_run(app, f"image={tmp_path / 'photo.ppm'}", "box=-5,10.5,70,88").stdout)["landmarks"]
    box = np.array([-5, 10.5, 70, 88], np.float32)
    wanted = edgekd.open(bundle_of("landmarks", "openvino")).predict({"image": pixels, "box": box})["landmarks"]
    np.testing.assert_allclose(said, wanted, rtol=1e-4, atol=1e-2)  # it prints six digits
    missing = _run(app, "nowhere.png")
    assert missing.returncode == 2
    assert "no such file" in missing.stderr
