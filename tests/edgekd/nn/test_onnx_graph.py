"""Costs of small graphs made by hand, so that each count can be checked by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.nn.onnx_graph import attribute, macs_by_node


def model(nodes, inputs, outputs, weights, opset=20, domains=()):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def one(op, inputs, output, weights=None, extra_inputs=(), **attributes):
    names = [*inputs, *(weights or {}), *extra_inputs]
    return model([helper.make_node(op, names, ["y"], name="n", **attributes)], inputs, {"y": output}, weights or {})


@pytest.mark.parametrize(
    ("graph", "macs"),
    [
        (one("Conv", {"x": [1, 3, 8, 8]}, [1, 5, 6, 6], {"w": [5, 3, 3, 3]}), 5 * 6 * 6 * 3 * 3 * 3),
        (one("Conv", {"x": [2, 3, 8, 8]}, [2, 5, 6, 6], {"w": [5, 3, 3, 3]}), 2 * 5 * 6 * 6 * 27),
        (one("Conv", {"x": [1, 4, 8, 8]}, [1, 4, 6, 6], {"w": [4, 1, 3, 3]}, group=4), 4 * 6 * 6 * 9),
        (one("Conv", {"x": [1, 4, 9]}, [1, 2, 7], {"w": [2, 4, 3]}), 2 * 7 * 4 * 3),
        (
            one("ConvTranspose", {"x": [1, 4, 5, 5]}, [1, 6, 10, 10], {"w": [4, 6, 2, 2]}, strides=[2, 2]),
            4 * 5 * 5 * 6 * 2 * 2,
        ),
        (one("Gemm", {"x": [7, 3]}, [7, 5], {"w": [3, 5]}), 7 * 3 * 5),
        (one("Gemm", {"x": [7, 3]}, [7, 5], {"w": [5, 3]}, transB=1), 7 * 3 * 5),
        (one("MatMul", {"x": [2, 7, 3]}, [2, 7, 5], {"w": [3, 5]}), 2 * 7 * 3 * 5),
        (one("MatMul", {"x": [7, 3]}, [7], {"w": [3]}), 7 * 3),
        (one("MatMul", {"q": [4, 7, 3], "k": [4, 3, 9]}, [4, 7, 9]), 4 * 7 * 3 * 9),
        (one("Conv", {"x": ["batch", 3, 8, 8]}, ["batch", 5, 6, 6], {"w": [5, 3, 3, 3]}), 5 * 6 * 6 * 27),
    ],
)
def test_multiply_accumulates(graph, macs):
    onnx.checker.check_model(graph, full_check=True)
    assert macs_by_node(graph) == {"y": macs}


def test_the_weight_of_a_deformable_convolution_is_its_second_input():
    inputs = {"x": [1, 3, 8, 8], "o": [1, 18, 6, 6]}
    node = helper.make_node("DeformConv", ["x", "w", "o"], ["y"])
    graph = model([node], inputs, {"y": [1, 5, 6, 6]}, {"w": [5, 3, 3, 3]})
    assert macs_by_node(graph) == {"y": 5 * 6 * 6 * 27}


def test_unnamed_nodes_and_nodes_of_one_name_are_all_counted():
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in (("x", "h"), ("h", "i"), ("i", "y"))]
    graph = model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {"w": [4, 4]})
    assert macs_by_node(graph) == {"h": 16, "i": 16, "y": 16}
    for node in graph.graph.node:
        node.name = "same"
    assert sum(macs_by_node(graph).values()) == 48


def test_what_has_no_shape_is_left_out_and_not_guessed():
    nodes = [
        helper.make_node("Secret", ["x"], ["h"], domain="someone.else"),
        helper.make_node("MatMul", ["h", "w"], ["i"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph = model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {"w": [4, 4]}, domains=["someone.else"])
    assert macs_by_node(graph) == {"y": 16}


def conv(x, w, y, **attributes):
    return helper.make_node("Conv", [x, w], [y], name=f"node_{y}", **attributes)


@pytest.fixture
def residual():
    """y = Relu(B(Relu(A(x))) + C(x)) + x', the shape of two residual blocks."""
    nodes = [
        conv("x", "wa", "a"),
        helper.make_node("Relu", ["a"], ["ar"], name="relu_a"),
        conv("ar", "wb", "b"),
        conv("x", "wc", "c"),
        helper.make_node("Add", ["b", "c"], ["s"], name="join"),
        helper.make_node("Relu", ["s"], ["t"], name="relu_s"),
        conv("t", "wd", "d"),
        helper.make_node("Add", ["t", "d"], ["y"], name="skip"),
    ]
    square = [4, 4, 1, 1]
    weights = {"wa": square, "wb": square, "wc": square, "wd": square}
    return model(nodes, {"x": [1, 4, 3, 3]}, {"y": [1, 4, 3, 3]}, weights)


def test_a_node_is_known_by_name_output_weight_and_by_what_follows_it(residual):
    known = attribute(residual, macs_by_node(residual))
    assert {name for name, owners in known.items() if owners == ("a",)} == {"node_a", "a", "wa", "relu_a", "ar"}


def test_an_addition_of_two_branches_may_be_either_and_a_skip_is_only_its_branch(residual):
    known = attribute(residual, macs_by_node(residual))
    assert known["s"] == known["t"] == known["join"] == ("b", "c")
    assert known["y"] == known["skip"] == ("d",)  # t is read twice: it exists, so d alone can hold the addition


def test_a_shared_weight_may_be_either_and_names_are_not():
    nodes = [conv("x", "w", "a"), conv("a", "w", "y")]
    graph = model(nodes, {"x": [1, 4, 3, 3]}, {"y": [1, 4, 3, 3]}, {"w": [4, 4, 1, 1]})
    known = attribute(graph, macs_by_node(graph))
    assert known["w"] == ("a", "y")
    assert (known["node_a"], known["node_y"]) == (("a",), ("y",))


def test_an_activation_is_no_weight():
    """In attention both sides of a product are activations: the keys' own layer must keep its name."""
    nodes = [
        helper.make_node("MatMul", ["x", "wk"], ["k"], name="keys"),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "kt"], ["y"], name="scores"),
    ]
    graph = model(nodes, {"x": [5, 4]}, {"y": [5, 5]}, {"wk": [4, 4]})
    costs = macs_by_node(graph)
    assert costs == {"k": 5 * 4 * 4, "y": 5 * 4 * 5}
    known = attribute(graph, costs)
    assert known["k"] == ("k",)
    assert known["y"] == ("y",)


def test_a_weight_is_seen_through_its_quantization():
    nodes = [
        helper.make_node("DequantizeLinear", ["wq", "s"], ["w"], name="dq"),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="n"),
    ]
    graph = model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {})
    graph.graph.initializer.extend(
        [numpy_helper.from_array(np.zeros((4, 4), np.int8), "wq"), numpy_helper.from_array(np.float32(1), "s")]
    )
    assert macs_by_node(graph) == {"y": 16}
    assert attribute(graph, {"y": 16})["wq"] == ("y",)
