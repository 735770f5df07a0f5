from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.contracts import IoSpec, Precision, Source, TensorSpec
from edgekd.errors import InputError, MachineError
from edgekd.registry import profile
from edgekd_targets.openvino import build as builder

IO = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 64)),), outputs=(TensorSpec(name="y", shape=(1, 64)),))


@pytest.fixture
def source(tmp_path):
    value = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 64]) for n in "xy")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="n")
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(value, "w")])
    path = tmp_path / "source.model"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return Source(path, IO)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_floating_point_is_the_canonical_graph_with_uncompressed_weights(precision, source, out):
    built = builder.build(source, profile("openvino"), Precision(precision), None, out)
    assert {p.name for p in out.iterdir()} == {"model.xml", "model.bin", "model.onnx"}
    assert (built.entry.name, built.typed_onnx.name) == ("model.xml", "model.onnx")
    assert built.typed_onnx.read_bytes() == source.model.read_bytes()
    assert (out / "model.bin").stat().st_size >= 64 * 64 * 4  # save_model alone would halve it to f16
    feeds = {"x": np.ones((1, 64), np.float32)}
    assert builder.reference(built, IO).run(feeds)["y"].shape == (1, 64)


@pytest.mark.parametrize("precision", ["fp16", "w8", "mixed"])
def test_a_precision_it_does_not_build_is_refused(precision, source, out):
    with pytest.raises(InputError, match=f"openvino builds fp32, bf16 and int8, not {precision}"):
        builder.build(source, profile("openvino"), Precision(precision), None, out)


def test_int8_without_calibration_is_refused(source, out):
    with pytest.raises(InputError, match="int8 needs calibration"):
        builder.build(source, profile("openvino"), Precision.INT8, None, out)


def test_an_op_it_has_no_rule_for_is_named(tmp_path, out):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Det", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "d.onnx")
    with pytest.raises(MachineError, match="cannot read the graph") as caught:
        builder.build(Source(tmp_path / "d.onnx", IO), profile("openvino"), Precision.FP32, None, out)
    assert "Det" in caught.value.why


def test_versions_are_of_what_decides_the_graph():
    assert set(builder.versions()) == {"nncf", "onnx", "openvino"}
