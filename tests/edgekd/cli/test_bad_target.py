"""What a target cannot take, and bundles of targets whose runtime is elsewhere that were harmed on the way."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.bundle.manifest import read_manifest, write_manifest

OWN = """
title = "mine"
device = "cuda"
precisions = ["fp32"]

[build]
compute_capabilities = ["{capability}"]
{axes}

[runtime]
flavour = "rtx"
"""


@pytest.fixture(scope="module")
def bundle_of(tiny_run, tmp_path_factory):
    """``bundle_of(target)``: its fp16 bundle of ``tiny_run``."""
    from edgekd.conversion.export import export

    made = {}

    def make(target):
        pytest.importorskip({"tensorrt": "tensorrt_rtx", "coreml": "coremltools"}[target])
        if target not in made:
            (result,) = export(tiny_run, [target], "fp16", tmp_path_factory.mktemp("bundles"))
            if result.error is not None:
                raise result.error
            made[target] = result.path
        return made[target]

    return make


@pytest.fixture
def model(tmp_path):
    """``model(node, inputs, output, **weights)``: an ONNX file of one node."""

    def save(node, inputs, output, **weights):
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
        stored = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
        result = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, output)
        graph = helper.make_graph([node], "g", values, [result], stored)
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
        return path

    return save


@pytest.fixture
def own_profile(tmp_path):
    """``own_profile(capability="sm_86", axes="")``: a profile of the user's own, as ``--target`` takes it."""

    def write(capability="sm_86", axes=""):
        path = tmp_path / "own.toml"
        path.write_text(OWN.format(capability=capability, axes=axes), encoding="utf-8")
        return f"tensorrt/{path}"

    return write


def test_an_mlpackage_without_its_weights_is_told_by_name(edgekd, bundle_of, copy_of):
    bundle = copy_of(bundle_of("coreml"))
    (bundle / "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin").unlink()
    for verb in ("verify", "inspect", "eval"):
        edgekd(verb, bundle).says(2, "weight.bin is missing")


def test_an_engine_that_was_cut_off_is_told_by_name(edgekd, bundle_of, copy_of):
    bundle = copy_of(bundle_of("tensorrt"))
    engine = bundle / "model.engine"
    engine.write_bytes(engine.read_bytes()[:-1000])
    for verb in ("verify", "inspect", "rebuild"):
        edgekd(verb, bundle).says(2, "model.engine has changed")


def test_an_engine_of_another_version_is_told_with_the_way_to_a_new_one(edgekd, bundle_of, copy_of):
    bundle = copy_of(bundle_of("tensorrt"))
    manifest = read_manifest(bundle)
    main = manifest.graphs["main"]
    older = main.model_copy(update={"engine": main.engine.model_copy(update={"version": "1.2.3.4"})})
    write_manifest(bundle, manifest.model_copy(update={"graphs": {"main": older}}))
    ended = edgekd("verify", bundle)
    ended.says(4, "was built by TensorRT-RTX 1.2.3.4, and 1.", "engines are of one version", "edgekd rebuild")


def test_a_gpu_that_the_builder_does_not_know_is_told_with_those_that_it_knows(edgekd, tiny_run, own_profile, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    ended = edgekd("export", tiny_run, "--target", own_profile("sm_90"), "--precision", "fp32", "--out", tmp_path / "b")
    ended.says(2, "knows no compute capability sm_90", "sm_75, sm_80", 'flavour = "full"')
    assert not (tmp_path / "b").exists() or not any((tmp_path / "b").iterdir())


@pytest.mark.parametrize("target", ["tensorrt", "coreml"])
def test_a_file_with_an_op_that_a_target_lacks_is_refused_with_the_node(edgekd, model, target, tmp_path):
    pytest.importorskip({"tensorrt": "tensorrt_rtx", "coreml": "coremltools"}[target])
    node = helper.make_node("Det", ["x"], ["y"], "determinant")
    path = model(node, {"x": [1, 3, 3]}, [1])
    ended = edgekd("export", path, "--target", target, "--precision", "fp32", "--out", tmp_path / "b")
    if target == "tensorrt":
        ended.says(4, "'determinant' (Det)", "it has no Det")
    else:
        ended.says(2, "coreml converts from torch", "coremltools reads no ONNX")


def test_an_axis_of_any_size_needs_a_range_of_the_profile(edgekd, model, own_profile, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    path = model(node, {"x": ["rows", 4]}, ["rows", 2], w=np.ones((4, 2), np.float32))
    samples = tmp_path / "samples.npz"
    np.savez(samples, x=np.random.default_rng(0).random((8, 3, 4), np.float32))
    common = ["export", path, "--calibration", samples, "--precision", "fp32", "--out", tmp_path / "b"]
    edgekd(*common, "--target", own_profile()).says(2, "the axis 'rows' of x may have any size", "[build.axes] rows")
    assert edgekd(*common, "--target", own_profile(axes="axes = { rows = [1, 4, 8] }")).code == 0
    edgekd(*common, "--overwrite", "--target", own_profile(axes="axes = { rows = [8, 4, 1] }")).says(2, "[8, 4, 1]")
    shutil.rmtree(tmp_path / "b")
