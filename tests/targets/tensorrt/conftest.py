"""A small network of convolutions, a reduction and a matrix product, as a builder gets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.contracts import IoSpec, Source, TensorSpec


def save(path: Path, nodes: Any, inputs: Any, outputs: Any, weights: Any = None) -> Path:
    """An opset 20 model; shapes by name, axes of any size being text."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", *values, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def saved() -> Callable[..., Path]:
    return save


class Samples(list[dict[str, Any]]):
    """Calibration feeds, as a builder gets them."""

    sha256 = "0" * 64


@pytest.fixture(scope="session")
def calibration() -> Samples:
    rng = np.random.default_rng(0)
    return Samples({"image": rng.random((1, 3, 16, 16), dtype=np.float32)} for _ in range(4))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "second", pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["a"], "residual"),
        helper.make_node("ReduceMean", ["a", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("Gemm", ["m", "w3", "b3"], ["scores"], "head", transB=1),
    ]
    weights = {
        "w1": weight(8, 3, 3, 3), "b1": weight(8, 1)[:, 0], "w2": weight(8, 8, 3, 3),
        "w3": weight(4, 8), "b3": weight(4, 1)[:, 0], "axes": np.array([2, 3]),
    }  # fmt: skip
    path = tmp_path_factory.mktemp("source") / "canonical.onnx"
    save(path, nodes, {"image": [1, 3, 16, 16]}, {"scores": [1, 4]}, weights)
    io = IoSpec(
        inputs=(TensorSpec(name="image", shape=(1, 3, 16, 16)),), outputs=(TensorSpec(name="scores", shape=(1, 4)),)
    )
    return Source(path, io)
