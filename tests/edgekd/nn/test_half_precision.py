from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.nn.half_precision import kept_float, scan, to_half
from edgekd.nn.half_range import note
from edgekd.nn.onnx_reference import OnnxReference

F = TensorProto.FLOAT


def _model(nodes, inputs, outputs, weights=None):
    sides = [[helper.make_tensor_value_info(n, F, s) for n, s in side.items()] for side in (inputs, outputs)]
    stored = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", *sides, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _run(model, feeds, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    values = [[TensorSpec(name=v.name, shape=tuple(d.dim_value for d in v.type.tensor_type.shape.dim)) for v in side]
              for side in (model.graph.input, model.graph.output)]  # fmt: skip
    return OnnxReference(path, IoSpec(inputs=values[0], outputs=values[1])).run(feeds)


def _casts(model):
    return [n for n in model.graph.node if n.op_type == "Cast"]


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)


def test_every_node_rounds_to_fp16_and_inputs_and_outputs_stay_fp32(x, tmp_path):
    nodes = [helper.make_node("Mul", ["x", "w"], ["m"], "m"), helper.make_node("Add", ["m", "x"], ["y"], "a")]
    w = np.array([1.0001, 3.3333, 0.1, 7.7], np.float32)
    found = _run(to_half(_model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {"w": w})), {"x": x}, tmp_path)["y"]
    half = x.astype(np.float16)
    np.testing.assert_array_equal(found, (half * w.astype(np.float16) + half).astype(np.float32))
    assert found.dtype == np.float32


def test_a_cast_stands_once_at_each_border_and_nowhere_else(x, tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "a"),
        helper.make_node("Sigmoid", ["a"], ["b"], "b"),
        helper.make_node("Mul", ["b", "b"], ["c"], "c"),
        helper.make_node("Add", ["b", "c"], ["y"], "y"),
    ]
    model = _model(nodes, {"x": [1, 4]}, {"y": [1, 4]})
    assert len(_casts(to_half(model))) == 2  # in and out
    assert len(_casts(to_half(model, ["c"]))) == 4  # b down to fp32 once, c back up once
    everything = to_half(model, ["a", "b", "c", "y"])
    assert not _casts(everything)
    np.testing.assert_array_equal(_run(everything, {"x": x}, tmp_path)["y"], _run(model, {"x": x}, tmp_path)["y"])


def test_an_output_that_is_also_read_has_both_types(x, tmp_path):
    nodes = [helper.make_node("Exp", ["x"], ["y"], "e"), helper.make_node("Neg", ["y"], ["z"], "n")]
    found = _run(to_half(_model(nodes, {"x": [1, 4]}, {"y": [1, 4], "z": [1, 4]})), {"x": x}, tmp_path)
    np.testing.assert_array_equal(found["z"], -found["y"])


def test_between_two_nodes_that_stay_fp32_nothing_is_rounded(x, tmp_path):
    nodes = [helper.make_node("Mul", ["x", "big"], ["m"], "m"), helper.make_node("Div", ["m", "big"], ["y"], "d")]
    model = _model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {"big": np.array([1e6], np.float32)})
    kept = kept_float(model, {})
    assert kept == {"m": "its constant big reaches 1e+06", "y": "its constant big reaches 1e+06"}
    np.testing.assert_allclose(_run(to_half(model, kept), {"x": x}, tmp_path)["y"], x, rtol=1e-6)


def test_what_overflows_is_found_by_running_it(tmp_path):
    nodes = [helper.make_node("Mul", ["x", "x"], ["s"], "s"), helper.make_node("Sqrt", ["s"], ["y"], "r")]
    model = _model(nodes, {"x": [1, 4]}, {"y": [1, 4]})
    onnx.save(model, tmp_path / "m.onnx")
    small, large = ({"x": np.full((1, 4), value, np.float32)} for value in (2, 300))
    assert scan(tmp_path / "m.onnx", [small]) == {"x": 2, "s": 4, "y": 2}
    assert not kept_float(model, scan(tmp_path / "m.onnx", [small]))
    kept = kept_float(model, scan(tmp_path / "m.onnx", [small, large]))
    assert kept == {"s": "s reaches 9e+04", "y": "s reaches 9e+04"}
    np.testing.assert_array_equal(_run(to_half(model, kept), large, tmp_path)["y"], large["x"])
    assert np.isinf(_run(to_half(model), large, tmp_path)["y"]).all()


def test_what_is_no_number_is_kept(tmp_path):
    model = _model([helper.make_node("Log", ["x"], ["y"], "l")], {"x": [1, 4]}, {"y": [1, 4]})
    onnx.save(model, tmp_path / "m.onnx")
    assert scan(tmp_path / "m.onnx", [{"x": -np.ones((1, 4), np.float32)}])["y"] == np.inf


def test_numbers_that_are_all_too_small_are_kept_and_zeros_are_not():
    nodes = [helper.make_node("Neg", ["x"], ["a"], "n"), helper.make_node("Abs", ["a"], ["y"], "a")]
    model = _model(nodes, {"x": [1, 4]}, {"y": [1, 4]})
    assert not kept_float(model, {"x": 0.0, "a": 2.0**-14, "y": 1.0})
    kept = kept_float(model, {"x": 1.0, "a": 3e-6, "y": 1.0})
    assert kept == dict.fromkeys(("a", "y"), "a reaches 3e-06 alone, and fp16 loses bits below 6.1e-05")


def test_a_note_names_the_first_nodes_and_how_many_there_are():
    assert note({}, 8) == "fp16 throughout; ranges scanned over 8 calibration samples"
    said = note({"m": "the model marks it", **{f"n{k}": f"reason {k}" for k in range(4)}}, None)
    assert said.startswith("5 nodes stay fp32 (n0: reason 0; n1: reason 1; n2: reason 2; and 2 more); no ranges were")


def test_a_sum_counts_as_long_as_it_is():
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], "m")]
    model = _model(nodes, {"x": [1, 64, 64, 64]}, {"y": [1, 1, 1, 1]})
    assert not kept_float(model, {"x": 0.1})
    assert "its sum over 262144 numbers up to 6" in kept_float(model, {"x": 6.0})["y"]


def test_an_epsilon_that_fp16_does_not_have_keeps_its_node():
    nodes = [helper.make_node("Add", ["x", "epsilon"], ["s"], "e"), helper.make_node("Sqrt", ["s"], ["y"], "r")]
    model = _model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {"epsilon": np.array(1e-8, np.float32)})
    assert kept_float(model, {}) == {"s": "its constant epsilon is 1e-08"}


def test_coordinates_stay_fp32_and_the_convolution_that_gave_them_does_not(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["offset"], "c"),
        helper.make_node("Transpose", ["offset"], ["t"], "t", perm=[0, 2, 3, 1]),
        helper.make_node("Add", ["t", "base"], ["grid"], "a"),
        helper.make_node("GridSample", ["x", "grid"], ["y"], "g", align_corners=1),
    ]
    rng = np.random.default_rng(0)
    shape = {"x": [1, 3, 40, 900]}
    axes = np.meshgrid(np.linspace(-1, 1, 900), np.linspace(-1, 1, 40))
    weights = {"w": np.zeros((2, 3, 1, 1), np.float32), "base": np.stack(axes, -1)[None].astype(np.float32)}
    model = _model(nodes, shape, {"y": [1, 3, 40, 900]}, weights)
    kept = kept_float(model, {})
    assert set(kept) == {"t", "grid", "y"}
    ramp = np.broadcast_to(np.arange(900, dtype=np.float32) / 900, (1, 3, 40, 900)) + rng.random() / 900
    exact = _run(to_half(model, kept), {"x": ramp}, tmp_path)["y"]
    np.testing.assert_allclose(exact, ramp, atol=1e-4)  # 0.1 pixels; fp16 coordinates are up to 0.22 beside
    assert np.abs(_run(to_half(model, ["y"]), {"x": ramp}, tmp_path)["y"] - ramp).max() > 1e-4


def test_what_the_model_marks_stays_fp32():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "r"),
        helper.make_node("Mul", ["a", "a"], ["y"], "keep_float/boxes"),
    ]
    assert kept_float(_model(nodes, {"x": [1, 4]}, {"y": [1, 4]}), {}) == {"y": "the model marks it"}


def test_what_the_standard_wants_in_fp32_stays_so(tmp_path):
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], "r", mode="nearest")]
    weights = {"scales": np.array([1, 1, 2, 2], np.float32)}
    model = to_half(_model(nodes, {"x": [1, 1, 2, 2]}, {"y": [1, 1, 4, 4]}, weights))
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(_run(model, {"x": x}, tmp_path)["y"], x.repeat(2, 2).repeat(2, 3))


def test_quantizers_get_fp16_scales_and_names_of_types_follow(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "d"),
        helper.make_node("Cast", ["k"], ["f"], "f", to=F),
        helper.make_node("Add", ["d", "f"], ["y"], "y"),
    ]
    weights = {"scale": np.array(0.5, np.float32), "zero": np.array(0, np.int8), "k": np.array([3], np.int64)}
    model = to_half(_model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights))
    x = np.array([[0.2, 0.8, -3.1, 100]], np.float32)
    wanted = np.clip(np.rint(x / 0.5), -128, 127) * 0.5 + 3
    np.testing.assert_array_equal(_run(model, {"x": x}, tmp_path)["y"], wanted)
    assert {i.name: i.data_type for i in model.graph.initializer if "scale" in i.name} == {"scale/fp16": 10}


def test_quantizers_of_one_product_stay_fp32_together():
    """TensorRT refuses a product of which one side has its scale in fp16 and the other in fp32."""
    pair = ("QuantizeLinear", "DequantizeLinear")
    nodes = [
        helper.make_node(op, [i, "tiny", "zero"], [o], o) for op, i, o in zip(pair, ("x", "q"), ("q", "d"), strict=True)
    ]
    nodes += [helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["dw"], "dw")]
    nodes += [helper.make_node("MatMul", ["d", "dw"], ["m"], "m"), helper.make_node("Relu", ["m"], ["y"], "r")]
    weights = {"tiny": np.array(1e-5, np.float32), "scale": np.array(0.5, np.float32), "zero": np.array(0, np.int8)}
    model = _model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights | {"w": np.ones((4, 4), np.int8)})
    kept = kept_float(model, {})
    assert set(kept) == {"q", "d", "dw", "m"}
    assert set(kept.values()) == {"its constant tiny is 1e-05"}
