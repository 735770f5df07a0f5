from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgekd.bundle.manifest import read_manifest
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.verify import check, verify
from edgekd.errors import GateError
from edgekd.storage import read_arrays, write_arrays

TARGETS = ("onnxruntime", "openvino")


@pytest.mark.parametrize("target", TARGETS)
def test_a_sound_bundle_passes_with_its_figures(target, tiny_bundles):
    result = verify(tiny_bundles[target], threads=1)
    assert result.passed
    assert [item.name for item in result.checks] == ["pre-processing", "output", "precision"]
    assert all(item.passed for item in result.checks)
    assert (result.samples, result.target, result.precision) == (12, target, "fp32")
    assert result.distance_to_fp32.relative_max < 1e-4
    assert result.placement.precision_by_macs == {"fp32": pytest.approx(1)}
    assert result.placement.unattributed_macs == 0


def change_vectors(folder, part, change):
    arrays = read_arrays(folder / "vectors.npz")
    (name,) = [n for n in arrays if n.startswith(part)]
    arrays[name] = change(arrays[name])
    write_arrays(folder / "vectors.npz", arrays)


def one_value(by):
    def change(array):
        array = array.copy()
        array[3].flat[7] += by
        return array

    return change


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("part", "by", "named"),
    [("built/", 1e-3, "output"), ("feeds/", 0.02, "pre-processing"), ("built/", np.nan, "output")],
)
def test_one_value_that_differs_is_named_with_both_figures(target, part, by, named, tiny_bundles, copy_of, reseal):
    folder = copy_of(tiny_bundles[target])
    change_vectors(folder, part, one_value(by))
    reseal(folder)
    with pytest.raises(GateError, match=f"{named} differs on this machine") as caught:
        verify(folder, threads=1)
    assert "allowed over 12 vectors" in caught.value.why
    result = check(open_bundle(folder, threads=1))
    assert named in [item.name for item in result.checks if not item.passed]


def test_what_is_within_its_tolerance_passes(tiny_bundles, copy_of, reseal):
    folder = copy_of(tiny_bundles["onnxruntime"])
    change_vectors(folder, "built/", one_value(5e-5))
    change_vectors(folder, "feeds/", one_value(1 / 255))
    assert verify(reseal(folder), threads=1).passed


@pytest.mark.parametrize("part", ["feeds/", "built/"])
def test_vectors_of_another_shape_are_named_and_no_bug(part, tiny_bundles, copy_of, reseal):
    folder = copy_of(tiny_bundles["onnxruntime"])
    change_vectors(folder, part, lambda array: array[..., :-1])
    reseal(folder)
    from edgekd.errors import EdgekdError

    with pytest.raises(EdgekdError):
        verify(folder, threads=1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_precision_that_this_machine_does_not_build_is_named(target, tiny_bundles, copy_of, reseal):
    """An fp32 graph that calls itself int8: its outputs are as recorded, only the read-back tells."""
    folder = reseal(copy_of(tiny_bundles[target]), precision="int8")
    with pytest.raises(GateError, match="precision differs on this machine") as caught:
        verify(folder, threads=1)
    assert "0 found" in caught.value.why
    assert "share of MACs in int8, least that may be" in caught.value.why
    assert [item.passed for item in check(open_bundle(folder, threads=1)).checks] == [True, True, False]


def test_a_changed_mean_is_named_as_pre_processing(tiny_bundles, copy_of, reseal):
    folder = copy_of(tiny_bundles["onnxruntime"])
    graphs = json.loads((folder / "manifest.json").read_text())["graphs"]
    graphs["main"]["io"]["inputs"][0]["image"]["mean"] = [0.5, 0.5, 0.5]
    with pytest.raises(GateError, match="pre-processing differs") as caught:
        verify(reseal(folder, graphs=graphs), threads=1)
    assert caught.value.why.startswith("0.5 found, at most 0.00784 allowed")


def test_weights_changed_in_a_bundle_that_was_sealed_again_are_named_as_output(tiny_bundles, copy_of, reseal):
    import onnx

    folder = copy_of(tiny_bundles["onnxruntime"])
    model = onnx.load(folder / "model.onnx")
    bias = next(t for t in model.graph.initializer if t.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1e-3), "head.bias"))
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(GateError, match="output differs"):
        verify(reseal(folder), threads=1)


def test_a_foreign_model_has_no_pre_processing_to_compare(tiny_bundles, copy_of, reseal):
    result = verify(reseal(copy_of(tiny_bundles["onnxruntime"]), recipe=None), threads=1)
    assert [item.name for item in result.checks] == ["output", "precision"]


def test_a_runtime_that_gives_nan_here_is_named(tiny_bundles, monkeypatch):
    bundle = open_bundle(tiny_bundles["onnxruntime"], threads=1)
    real = bundle.session

    class Broken:
        io = real.io

        def run(self, feeds):
            return {name: value * np.nan for name, value in real.run(feeds).items()}

        def reset(self):
            pass

    bundle.__dict__["session"] = Broken()
    result = check(bundle)
    assert [item.name for item in result.checks if not item.passed] == ["output"]
    assert result.checks[1].found == np.inf


def test_the_session_is_reset_before_the_first_vector(tiny_bundles):
    bundle = open_bundle(tiny_bundles["onnxruntime"], threads=1)
    calls = []
    real = bundle.session

    class Watched:
        io = real.io

        def run(self, feeds):
            calls.append("run")
            return real.run(feeds)

        def reset(self):
            calls.append("reset")

    bundle.__dict__["session"] = Watched()
    check(bundle)
    assert calls == ["reset"] + ["run"] * 12


def test_the_tolerance_of_int8_is_what_quantization_itself_did(tiny_bundles, copy_of, reseal):
    """A manifest's own tolerance is used, not a constant."""
    folder = copy_of(tiny_bundles["onnxruntime"])
    change_vectors(folder, "built/", one_value(1e-2))
    facts = read_manifest(tiny_bundles["onnxruntime"]).vectors
    assert verify(reseal(folder, vectors=facts.model_copy(update={"outputs_tolerance": 2e-2})), threads=1).passed
    with pytest.raises(GateError):
        verify(reseal(folder, vectors=facts.model_copy(update={"outputs_tolerance": 5e-3})), threads=1)


def test_a_bundles_graph_is_loaded_with_the_threads_asked_for(tiny_bundles, monkeypatch):
    from edgekd_targets.onnxruntime import runtime

    seen = []
    real = runtime.load
    monkeypatch.setattr(runtime, "load", lambda graph: seen.append(graph.options["threads"]) or real(replace(graph)))
    verify(tiny_bundles["onnxruntime"], threads=2)
    assert seen == [2]
