"""Small ONNX files as somebody else's exporter might have written them, and feeds for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name: str, shape: Any, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, *shape: int, seed: int = 0) -> Any:
    return numpy_helper.from_array(np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32), name)


def save(path: Path, nodes: Any, inputs: Any, outputs: Any, weights: Any = (), opset: int = 13, **more: Any) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    domains = more.pop("domains", ())
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path, **more)
    return path


def convolutions(path: Path, shape: Any = (1, 3, 16, 16), opset: int = 13, **more: Any) -> Path:
    """Two convolutions, a mean and a linear layer, with slashes in its names."""
    nodes = [
        helper.make_node("Conv", ["x", "a/w"], ["a/y"], name="a/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a/y"], ["a/r"]),
        helper.make_node("Conv", ["a/r", "b/w"], ["b/y"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b/y"], ["b/r"]),
        helper.make_node("GlobalAveragePool", ["b/r"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Gemm", ["f", "c/w"], ["out/y"], name="last"),
    ]
    weights = [weight("a/w", 8, 3, 3, 3), weight("b/w", 8, 8, 3, 3, seed=1), weight("c/w", 8, 5, seed=2)]
    return save(path, nodes, [value("x", shape)], [value("out/y", [shape[0], 5])], weights, opset, **more)


def pictures(path: Path, samples: int = 16, shape: Any = (1, 3, 16, 16)) -> Path:
    np.savez(path, x=np.random.default_rng(3).random((samples, *shape), np.float32))
    return path


def branches(path: Path) -> Path:
    """A matrix product within an If, and a convolution of as many multiplications outside; a truth value chooses."""
    result = [1, 3]
    then = helper.make_graph(
        [helper.make_node("MatMul", ["h", "w1"], ["t"], name="inner")], "then", [], [value("t", result)]
    )
    mean = helper.make_node("ReduceMean", ["h"], ["m"], axes=[1])
    three = helper.make_node("Concat", ["m", "m", "m"], ["e"], axis=1)
    other = helper.make_graph([mean, three], "else", [], [value("e", result)])
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], name="outer"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["h"]),
        helper.make_node("If", ["flag"], ["y"], name="choose", then_branch=then, else_branch=other),
    ]
    inputs = [value("x", [1, 3, 4, 4]), value("flag", [], BOOL)]
    weights = [weight("w0", 4, 3, 1, 1), weight("w1", 64, 3, seed=1)]
    return save(path, nodes, inputs, [value("y", result)], weights, 16)


def recurrent(path: Path) -> Path:
    """An LSTM whose state is simply fed, and the index of its largest value."""
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "", "", "h0", "c0"], ["y", "h", "c"], name="lstm", hidden_size=6),
        helper.make_node("ArgMax", ["h"], ["best"], axis=2, keepdims=0),
    ]
    state = [1, 1, 6]
    inputs = [value("x", ["steps", 1, 4]), value("h0", state), value("c0", state)]
    outputs = [value("h", state), value("c", state), value("best", [1, 1], INT64)]
    return save(path, nodes, inputs, outputs, [weight("w", 1, 24, 4), weight("r", 1, 24, 6, seed=1)], 14)


def lookup(path: Path) -> Path:
    """An embedding that is summed up: the input is whole numbers."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("ReduceSum", ["e", "axes"], ["s"], keepdims=0),
        helper.make_node("MatMul", ["s", "w"], ["y"], name="product"),
    ]
    weights = [weight("table", 10, 8), weight("w", 8, 4, seed=1), numpy_helper.from_array(np.array([1]), "axes")]
    return save(path, nodes, [value("ids", ["batch", 3], INT64)], [value("y", ["batch", 4])], weights, 18)
