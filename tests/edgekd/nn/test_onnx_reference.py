from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.nn.onnx_reference import OnnxReference

IO = IoSpec(
    inputs=(TensorSpec(name="x", shape=(1, 4)),),
    outputs=(TensorSpec(name="z", shape=(1, 4)), TensorSpec(name="y", shape=(1, 4))),
)


@pytest.fixture
def path(tmp_path):
    """y = quantized x with a step of 0.1; z = -y. Outputs stand in another order than in the io spec."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["y"]),
        helper.make_node("Neg", ["y"], ["z"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xyz"]
    constants = [numpy_helper.from_array(np.float32(0.1), "step"), numpy_helper.from_array(np.int8(0), "zero")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    file = tmp_path / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


def test_quantization_is_run_as_it_is_written_and_outputs_go_by_name(path):
    x = np.array([[0.04, 0.06, 0.27, 99.0]], np.float32)
    outputs = OnnxReference(path, IO).run({"x": x})
    np.testing.assert_allclose(outputs["y"], [[0.0, 0.1, 0.3, 12.7]], atol=1e-6)
    np.testing.assert_array_equal(outputs["z"], -outputs["y"])


def test_its_name_says_that_nothing_was_optimized(path):
    reference = OnnxReference(path, IO)
    assert reference.name.startswith("ONNX Runtime 1.")
    assert reference.name.endswith("unoptimized")
    assert reference.io == IO


def test_feeds_that_do_not_fit_are_refused(path):
    with pytest.raises(InputError, match="the model takes"):
        OnnxReference(path, IO).run({"image": np.zeros((1, 4), np.float32)})


def test_fp16_is_rounded_after_every_node_and_overflows(tmp_path):
    """ONNX Runtime alone runs these in fp32, casts between them dropped: 300 would come back as 300."""
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=half),
        helper.make_node("Mul", ["h", "h"], ["s"]),
        helper.make_node("Sqrt", ["s"], ["r"]),
        helper.make_node("Cast", ["r"], ["y"], to=single),
    ]
    values = [helper.make_tensor_value_info(name, single, [4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    specs = [(TensorSpec(name=name, shape=(4,)),) for name in "xy"]
    x = np.array([300, 1.2345, 3.3, 0.1], np.float32)
    found = OnnxReference(tmp_path / "m.onnx", IoSpec(inputs=specs[0], outputs=specs[1])).run({"x": x})["y"]
    with np.errstate(over="ignore"):
        wanted = np.sqrt(np.square(x.astype(np.float16)).astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    assert np.isinf(found[0])
