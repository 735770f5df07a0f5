from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import edgekd
from edgekd.bundle.open import open as open_bundle
from edgekd.contracts import Precision
from edgekd.errors import InputError
from edgekd.run import open_run
from edgekd.storage import sha256_file


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_prediction_is_the_students_own(target, tiny_bundles, tiny_run):
    bundle = edgekd.open(tiny_bundles[target], threads=1)
    heldout = open_run(tiny_run).heldout()
    for index in range(3):
        raw = heldout.raws()[index]
        wanted = bundle.pipeline.postprocess({"landmarks": heldout.student["landmarks"][index]}, raw)
        np.testing.assert_allclose(bundle.predict(raw)["landmarks"], wanted["landmarks"], atol=1e-2)  # pixels


def test_it_is_known_by_folder_and_by_the_sha256_of_its_manifest(tiny_bundles, copy_of):
    folder = copy_of(tiny_bundles["onnxruntime"], "renamed")
    bundle = open_bundle(folder)
    assert bundle.name == "renamed"
    assert bundle.sha256 == sha256_file(folder / "manifest.json")
    assert bundle.metrics.primary == "nme"


def test_its_size_is_that_of_what_the_runtime_loads(tiny_bundles):
    size = {t: open_bundle(p).size_bytes for t, p in tiny_bundles.items()}
    path = tiny_bundles["openvino"]
    assert size["onnxruntime"] == (tiny_bundles["onnxruntime"] / "model.onnx").stat().st_size
    parts = sum((path / name).stat().st_size for name in ("model.xml", "model.bin"))
    assert size["openvino"] >= parts


def test_threads_of_the_caller_go_before_the_profiles(tiny_bundles):
    folder = tiny_bundles["onnxruntime"]
    assert open_bundle(folder).graph().options["threads"] == 0
    graph = open_bundle(folder, threads=2).graph()
    assert graph.options["threads"] == 2
    assert (graph.precision, graph.path) == (Precision.FP32, folder / "model.onnx")


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "model.onnx", "vectors.npz", "README.md"])
def test_every_file_is_checked_before_anything_is_loaded(name, tiny_bundles, copy_of):
    folder = copy_of(tiny_bundles["openvino"])
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} has changed"):
        open_bundle(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        open_bundle(folder)


def test_a_foreign_model_has_a_session_and_no_pipeline(tiny_bundles, copy_of, reseal):
    bundle = open_bundle(reseal(copy_of(tiny_bundles["onnxruntime"]), recipe=None))
    assert bundle.session.run({"image": np.zeros((1, 3, 32, 32), np.float32)})["landmarks"].shape == (1, 136)
    for part in ("pipeline", "metrics"):
        with pytest.raises(InputError, match="is a foreign model"):
            getattr(bundle, part)


def test_a_device_needs_neither_torch_nor_a_trainer_nor_the_other_runtime(tiny_bundles):
    code = f"""
        import sys, numpy, edgekd
        bundle = edgekd.open({str(tiny_bundles["onnxruntime"])!r}, threads=1)
        before = set(sys.modules)
        assert "onnxruntime" not in before  # opening imports no runtime
        raw = {{key: value[0] for key, value in bundle.vectors()["raw"].items()}}
        assert bundle.predict(raw)["landmarks"].shape == (68, 2)
        found = {{name.partition(".")[0] for name in sys.modules}}
        print(sorted(found & {{"torch", "onnx", "openvino", "nncf", "pytorch_lightning", "scipy", "matplotlib"}}))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]"
