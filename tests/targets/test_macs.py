"""One count of multiply-accumulates from PyTorch to every runtime, each of them attributed to a node.

Shares of precision and device are shares of these: a node that is missed, or counted by the wrong weight,
would make a graph look as if it had been built in a precision that it was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgekd.bundle.open import open as open_bundle
from edgekd.contracts import Graph, IoSpec, Precision, Source, TensorSpec
from edgekd.conversion.to_onnx import export_onnx
from edgekd.nn.cost import macs
from edgekd.nn.folding import fold_batchnorm
from edgekd.nn.onnx_graph import macs_by_node
from edgekd.recipes.landmarks.models import mobilenet_v2
from edgekd.registry import builder, profile, runtime
from edgekd.run import open_run

CASES = [(1.0, 64), (1.0, 224), (0.5, 64), (0.5, 224)]  # width, input size
PRECISIONS = {"onnxruntime": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8")}
RUNS = [(*case, target, name) for case in CASES for target, names in PRECISIONS.items() for name in names]


class Noise:
    sha256 = "0" * 64

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return 2

    def __iter__(self):
        rng = np.random.default_rng(0)
        for _ in range(2):
            yield {"image": rng.random((1, 3, self.size, self.size), dtype=np.float32)}


def resized(source: Path, out: Path, size: int) -> None:
    """The same ONNX for another input size: no weight and no quantization step depends on it."""
    model = onnx.load(source)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    axes[2].dim_value = axes[3].dim_value = size
    del model.graph.value_info[:]
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), out)


@dataclass
class Student:
    """A student with BatchNorm and its canonical graph; ``other`` is the same one at another size."""

    module: nn.Module
    size: int
    folder: Path
    other: Student | None = None

    @property
    def onnx(self) -> Path:
        return self.folder / "canonical.onnx"

    @property
    def io(self) -> IoSpec:
        image = TensorSpec(name="image", shape=(1, 3, self.size, self.size))
        return IoSpec(inputs=(image,), outputs=(TensorSpec(name="landmarks", shape=(1, 136)),))

    def built(self, target, precision):
        out = self.folder / f"{target}-{precision}"
        if not out.exists():
            out.mkdir()
            source, asked = Source(self.onnx, self.io, self.module), Precision(precision)
            if precision == "int8" and self.other is not None:
                typed = self.folder / f"{target}-int8.onnx"
                resized(self.other.built(target, "int8").path.parent / "model.onnx", typed, self.size)
                source, asked = Source(typed, self.io), Precision.FP32  # as it is: it is typed already
            builder(target).build(source, profile(target), asked, Noise(self.size), out)
        entry = out / {"onnxruntime": "model.onnx", "openvino": "model.xml"}[target]
        return Graph(entry, self.io, Precision(precision), {"threads": 1})


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """By width and size; each width is exported once."""
    made: dict[tuple[float, int], Student] = {}

    def make(width, size):
        if (width, size) not in made:
            other = next((s for (w, _), s in made.items() if w == width), None)
            torch.manual_seed(0)
            module = other.module if other else mobilenet_v2(68, width).eval()
            student = Student(module, size, tmp_path_factory.mktemp(f"student-{width}-{size}"), other)
            if other is None:
                export_onnx(fold_batchnorm(module), student.io, student.onnx)
            else:
                resized(other.onnx, student.onnx, size)
            made[width, size] = student
        return made[width, size]

    return make


@pytest.mark.parametrize(("width", "size"), CASES)
def test_the_canonical_graph_costs_what_the_student_costs(width, size, students):
    student = students(width, size)
    total = macs(student.module, torch.zeros(1, 3, size, size))
    costs = macs_by_node(onnx.load(student.onnx))
    assert sum(costs.values()) == total
    assert len(costs) == sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in student.module.modules())


@pytest.mark.parametrize(("width", "size", "target", "precision"), RUNS)
def test_what_the_runtime_executes_costs_the_same_and_nothing_is_unattributed(width, size, target, precision, students):
    if precision == "bf16":
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip("this CPU has no bf16")
    student = students(width, size)
    graph = student.built(target, precision)
    placement = runtime(target).placement(graph)
    layers = sorted(macs_by_node(onnx.load(student.onnx)).values())
    assert sorted(macs_by_node(onnx.load(graph.path.parent / "model.onnx")).values()) == layers
    assert [node.name for node in placement.nodes if node.macs is None] == []
    assert sorted(node.macs for node in placement.nodes if node.macs) == layers
    shares = placement.share_of_macs("precision")
    assert shares == {precision: pytest.approx(1)}
    assert list(placement.share_of_macs("device").values()) == [pytest.approx(1)]


@pytest.mark.parametrize("target", list(PRECISIONS))
def test_channels_that_fill_no_block_are_counted_too(target, tiny_run, tiny_bundles):
    """Width 0.25 has 8, 24 and 40 channels, where blocked layouts want sixteens."""
    record = open_run(tiny_run).record
    placement = runtime(target).placement(open_bundle(tiny_bundles[target], threads=1).graph())
    assert sum(node.macs for node in placement.nodes) == record.student["macs"]


def convolution(x, weight, y, **attributes):
    return helper.make_node("Conv", [x, weight], [y], name=f"node_{y}", **attributes)


def join(x, weight, y):
    """Two branches of unlike cost that are added, then a skip: either branch may carry the addition."""
    return [
        convolution(x, f"{weight}a", f"{y}_a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [f"{y}_a"], [f"{y}_ar"]),
        convolution(f"{y}_ar", f"{weight}b", f"{y}_b"),
        convolution(x, f"{weight}c", f"{y}_c", pads=[1, 1, 1, 1]),
        helper.make_node("Add", [f"{y}_c", f"{y}_b"], [f"{y}_s"]),
        helper.make_node("Relu", [f"{y}_s"], [f"{y}_t"]),
        convolution(f"{y}_t", f"{weight}d", f"{y}_d"),
        helper.make_node("Add", [f"{y}_d", f"{y}_t"], [y]),
    ]


SQUARE = [1, 16, 12, 12]
GRAPHS = {
    "two branches": (
        join("x", "w", "y"),
        {"x": SQUARE, "y": SQUARE},
        {"wa": [16, 16, 3, 3], "wb": [16, 16, 1, 1], "wc": [16, 16, 3, 3], "wd": [16, 16, 1, 1]},
    ),
    "a weight used twice": (
        [
            convolution("x", "w", "h", strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["h"], ["r"]),
            convolution("r", "w", "y", pads=[1, 1, 1, 1]),
        ],
        {"x": SQUARE, "y": [1, 16, 6, 6]},
        {"w": [16, 16, 3, 3]},
    ),
    "a transposed convolution": (
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", strides=[2, 2])],
        {"x": SQUARE, "y": [1, 8, 24, 24]},
        {"w": [16, 8, 2, 2]},
    ),
    "a grouped convolution": (
        [convolution("x", "w", "y", group=4)],
        {"x": SQUARE, "y": [1, 32, 12, 12]},
        {"w": [32, 4, 1, 1]},
    ),
    "attention": (
        [
            helper.make_node("MatMul", ["x", "wq"], ["q"], name="q"),
            helper.make_node("MatMul", ["x", "wk"], ["k"], name="k"),
            helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["q", "kt"], ["y"], name="scores"),
        ],
        {"x": [1, 10, 32], "y": [1, 10, 10]},
        {"wq": [32, 24], "wk": [32, 24]},
    ),
}


@pytest.mark.parametrize("target", list(PRECISIONS))
@pytest.mark.parametrize("name", list(GRAPHS))
def test_graphs_of_other_shapes_are_attributed_node_by_node(name, target, tmp_path):
    nodes, values, weights = GRAPHS[name]
    rng = np.random.default_rng(0)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, values[n]) for n in "xy")
    constants = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    path, out = tmp_path / "source.onnx", tmp_path / "out"
    onnx.save(model, path)
    out.mkdir()
    io = IoSpec(inputs=(TensorSpec(name="x", shape=values["x"]),), outputs=(TensorSpec(name="y", shape=values["y"]),))
    built = builder(target).build(Source(path, io), profile(target), Precision.FP32, None, out)
    placement = runtime(target).placement(Graph(built.entry, io, Precision.FP32, {"threads": 1}))
    assert [node.name for node in placement.nodes if node.macs is None] == []
    assert sorted(node.macs for node in placement.nodes if node.macs) == sorted(macs_by_node(model).values())
