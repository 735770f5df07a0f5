from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edgekd.bundle.artifact import BundleArtifact, RunArtifact, open_artifact
from edgekd.errors import InputError
from edgekd.run import open_run
from edgekd.storage import sha256_file


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_bundle_is_measured_in_its_runtime(target, tiny_bundles, tiny_run):
    found = open_artifact(str(tiny_bundles[target]), threads=2)
    assert isinstance(found, BundleArtifact)
    assert (found.target, found.profile, found.precision) == (target, "default", "fp32")
    assert found.sha256 == sha256_file(tiny_bundles[target] / "manifest.json")
    assert found.parameters_bytes == open_run(tiny_run).record.student["bytes"]
    assert found.options["threads"] == 2
    assert {"edgekd", "numpy", target} <= set(found.versions)
    assert len(found.inputs()) == 12
    raw = found.inputs()[0]
    outputs = found.load().run(found.pipeline().preprocess(raw))
    assert found.pipeline().postprocess(outputs, raw)["landmarks"].shape == (68, 2)


def test_a_run_is_the_torch_target(tiny_run):
    found = open_artifact(str(tiny_run), threads=1)
    assert isinstance(found, RunArtifact)
    assert (found.name, found.target, found.profile, found.precision) == ("tiny torch", "torch", "default", "fp32")
    assert found.sha256 == sha256_file(tiny_run / "student.safetensors")
    assert found.size_bytes == (tiny_run / "student.safetensors").stat().st_size
    assert found.options == {"mode": "eager", "threads": 1, "device": "cpu"}
    assert found.metrics().primary == "nme"
    compiled = open_artifact(str(tiny_run), "compile")
    assert (compiled.name, compiled.options["mode"]) == ("tiny torch/compile", "compile")
    assert compiled.options["threads"] >= 1  # 0 in the profile is said as a number in a measurement


def test_the_options_that_are_reported_say_how_many_threads_there_really_are(tiny_bundles, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 2, 4}, raising=False)
    assert open_artifact(str(tiny_bundles["openvino"])).options["threads"] == 3


def test_a_profile_is_for_runs_alone_and_must_exist(tiny_run, tiny_bundles):
    with pytest.raises(InputError, match="has its profile already"):
        open_artifact(str(tiny_bundles["openvino"]), "default")
    with pytest.raises(InputError, match="torch has no profile 'fast'"):
        open_artifact(str(tiny_run), "fast")


def test_a_foreign_model_is_fed_its_recorded_feeds(tiny_bundles, copy_of, reseal):
    found = open_artifact(str(reseal(copy_of(tiny_bundles["onnxruntime"]), recipe=None)), threads=1)
    assert found.pipeline() is None
    feeds = found.inputs()[3]
    np.testing.assert_array_equal(feeds["image"], found.bundle.vectors()["feeds"]["image"][3])
    assert found.load().run(feeds)["landmarks"].shape == (1, 136)


def test_the_runtime_is_imported_only_when_it_is_asked_for(tiny_bundles):
    code = (
        "import sys; from edgekd.bundle.artifact import open_artifact\n"
        f"found = open_artifact({str(tiny_bundles['openvino'])!r}); found.runtime()\n"
        "before = 'openvino' in sys.modules; found.import_runtime()\n"
        "print(before, 'openvino' in sys.modules, 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["False", "True", "False"], ended.stderr
