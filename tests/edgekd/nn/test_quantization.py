from __future__ import annotations

import logging
import weakref

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.nn.onnx_graph import macs_by_node
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.nn.quantization import quantize

RECIPES = ("onnxruntime", "nncf")
IO = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 3, 8, 8)),), outputs=(TensorSpec(name="y", shape=(1, 5)),))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Convolution, ReLU, convolution, ReLU, mean, linear layer."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu_first"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="middle", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu_middle"),
        helper.make_node("ReduceMean", ["r2", "axes"], ["m"], name="mean", keepdims=0),
        helper.make_node("Gemm", ["m", "w3", "b3"], ["y"], name="last", transB=1),
    ]
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,), "w3": (5, 8), "b3": (5,)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.3, s).astype(np.float32), n) for n, s in shapes.items()]
    weights.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        weights,
    )
    path = tmp_path_factory.mktemp("source") / "source.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


class Streamed:
    """Forty-eight samples, and how many of them were alive at once."""

    sha256 = "0" * 64

    def __init__(self, count=48):
        self.count, self.made, self.most_alive = count, 0, 0
        self._alive = weakref.WeakSet()

    def __len__(self):
        return self.count

    def __iter__(self):
        rng = np.random.default_rng(1)
        for _ in range(self.count):
            value = rng.random((1, 3, 8, 8), np.float32).view(Watched).copy()  # owns its memory
            self._alive.add(value)
            self.made += 1
            self.most_alive = max(self.most_alive, len(self._alive))
            yield {"x": value}
            del value


class Watched(np.ndarray):
    """An array that can be watched, and stands in a set."""

    __hash__ = object.__hash__


@pytest.fixture(scope="module")
def quantized(source, tmp_path_factory):
    """By recipe: the Q/DQ graph, and the calibration that made it."""
    made = {}
    for recipe in RECIPES:
        calibration = Streamed()
        out = tmp_path_factory.mktemp(recipe) / "model.onnx"
        quantize(source, out, calibration, {"recipe": recipe})
        made[recipe] = (out, calibration)
    return made


def floats_of(path):
    """The MAC nodes whose weight comes from no DequantizeLinear."""
    model = onnx.load(path)
    dequantized = {o for node in model.graph.node if node.op_type == "DequantizeLinear" for o in node.output}
    weights = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    return {node.name for node in weights if node.input[1] not in dequantized}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_multiplication_is_quantized_and_the_answer_stays(recipe, source, quantized):
    path, _ = quantized[recipe]
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert floats_of(path) == set()
    exact, typed = OnnxReference(source, IO), OnnxReference(path, IO)
    error, signal = 0.0, 0.0
    for feeds in Streamed(16):
        a, b = exact.run(feeds)["y"], typed.run(feeds)["y"]
        error, signal = error + float(np.square(a - b).sum()), signal + float(np.square(a).sum())
    assert 10 * np.log10(signal / error) > 25  # dB
    assert error > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_costs_are_read_through_the_quantization(recipe, source, quantized):
    costs = sorted(macs_by_node(onnx.load(source)).values())
    assert sorted(macs_by_node(onnx.load(quantized[recipe][0])).values()) == costs
    assert costs == [5 * 8, 8 * 64 * 27, 8 * 64 * 72]


@pytest.mark.parametrize("recipe", RECIPES)
def test_calibration_is_streamed(recipe, quantized):
    _, calibration = quantized[recipe]
    assert calibration.made >= len(calibration)  # all of it is used
    assert calibration.most_alive <= 4  # never gathered into a list


def test_only_opsets_that_are_used_are_imported(quantized):
    """ONNX Runtime's pre-processing imports domains that no node uses, and strict parsers refuse them."""
    model = onnx.load(quantized["onnxruntime"][0])
    assert {o.domain for o in model.opset_import} == {node.domain for node in model.graph.node} == {""}


def test_onnxruntime_by_default_is_unsigned_activations_and_signed_weights_per_channel(quantized):
    graph = onnx.load(quantized["onnxruntime"][0]).graph
    tensors = {t.name: t for t in graph.initializer}
    producers = {o: n for n in graph.node for o in n.output}
    conv = next(n for n in graph.node if n.name == "middle")
    activation, weight = (producers[name] for name in conv.input[:2])
    assert tensors[activation.input[2]].data_type == TensorProto.UINT8
    assert tensors[weight.input[0]].data_type == TensorProto.INT8
    assert list(tensors[weight.input[1]].dims) == [8]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("keep", "floats"),
    [(["first"], {"first"}), (["last"], {"last"}), (["first", "last"], {"first", "last"}), (["middle"], {"middle"})],
)
def test_what_the_profile_keeps_in_floating_point_stays(recipe, keep, floats, source, tmp_path):
    quantize(source, tmp_path / "kept.onnx", Streamed(4), {"recipe": recipe, "keep_float": keep})
    assert floats_of(tmp_path / "kept.onnx") == floats


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_node_to_keep_that_does_not_exist_is_refused(recipe, source, tmp_path):
    """Both quantizers would take no notice of it."""
    with pytest.raises(InputError, match="the graph has no node 'midle'") as caught:
        quantize(source, tmp_path / "x.onnx", Streamed(4), {"recipe": recipe, "keep_float": ["midle"]})
    assert 'did you mean "middle"?' in caught.value.fix
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "there is no quantization recipe None"),
        ({"recipe": "magic"}, "there is no quantization recipe 'magic'"),
        ({"recipe": "onnxruntime", "bits": 4}, "the quantization recipe onnxruntime knows no setting 'bits'"),
        ({"recipe": "nncf", "weight": "int8"}, "the quantization recipe nncf knows no setting 'weight'"),
        ({"recipe": "onnxruntime", "activation": "int4"}, "quantization.activation = 'int4' cannot be used"),
        ({"recipe": "onnxruntime", "calibration": "guess"}, "quantization.calibration = 'guess' cannot be used"),
        ({"recipe": "nncf", "preset": "best"}, "quantization.preset = 'best' cannot be used"),
    ],
)
def test_an_unknown_recipe_or_setting_is_refused_before_any_work(options, what, source, tmp_path):
    calibration = Streamed()
    with pytest.raises(InputError) as caught:
        quantize(source, tmp_path / "x.onnx", calibration, options)
    assert what in caught.value.what
    assert calibration.made == 0
    assert not (tmp_path / "x.onnx").exists()


def test_a_profiles_options_are_not_used_up(source, tmp_path):
    options = {"recipe": "onnxruntime", "activation": "int8", "symmetric_activations": True, "quantize_bias": False}
    before = dict(options)
    quantize(source, tmp_path / "x.onnx", Streamed(4), options)
    assert options == before
    tensors = {t.name: t for t in onnx.load(tmp_path / "x.onnx").graph.initializer}
    zeros = [numpy_helper.to_array(t) for name, t in tensors.items() if name.endswith("zero_point")]
    assert zeros
    assert all(z.dtype == np.int8 and not z.any() for z in zeros)  # signed and symmetric throughout
    assert not [t for t in tensors.values() if t.data_type == TensorProto.INT32]  # and the bias stays a float


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_quantizers_own_noise_is_kept_from_the_user_and_logging_is_left_alone(recipe, source, tmp_path, capsys):
    before = logging.root.manager.disable
    quantize(source, tmp_path / "x.onnx", Streamed(4), {"recipe": recipe})
    assert capsys.readouterr().out == ""
    assert logging.root.manager.disable == before


def test_the_same_calibration_gives_the_same_graph(source, quantized, tmp_path):
    quantize(source, tmp_path / "again.onnx", Streamed(), {"recipe": "onnxruntime"})
    assert (tmp_path / "again.onnx").read_bytes() == quantized["onnxruntime"][0].read_bytes()


@pytest.mark.parametrize("recipe", RECIPES)
def test_only_nodes_that_are_worth_it_are_quantized_where_a_share_says_so(source, tmp_path, recipe):
    # middle does 36,864 of the 50,728 multiply-accumulates, first 13,824, last 40
    quantize(source, tmp_path / "x.onnx", Streamed(4), {"recipe": recipe, "least_share": 0.5})
    graph = onnx.load(tmp_path / "x.onnx").graph
    dequantized = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    held = {node.name for node in graph.node if node.op_type in ("Conv", "Gemm") and node.input[1] in dequantized}
    assert held == {"middle"}


@pytest.mark.parametrize("share", [-0.1, 1.5, True, "half"])
def test_a_share_that_is_none_is_refused(source, tmp_path, share):
    with pytest.raises(InputError, match="least_share"):
        quantize(source, tmp_path / "x.onnx", Streamed(1), {"recipe": "nncf", "least_share": share})


def test_a_kind_of_node_can_be_kept_in_floating_point(source, tmp_path):
    quantize(source, tmp_path / "x.onnx", Streamed(4), {"recipe": "onnxruntime", "keep_float": ["Conv"]})
    graph = onnx.load(tmp_path / "x.onnx").graph
    floats = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    assert {"w1", "w2"} <= floats
