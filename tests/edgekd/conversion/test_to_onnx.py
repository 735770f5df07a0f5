"""The canonical graph: what every target starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import edgekd
from edgekd.contracts import IoSpec, TensorSpec
from edgekd.conversion.to_onnx import OPSET, export_onnx
from edgekd.errors import GateError
from edgekd.nn.onnx_reference import OnnxReference


@pytest.fixture(scope="module")
def graph(canonical):
    return onnx.load(canonical.source.model)


def test_it_is_opset_20_in_one_static_checked_file(canonical, graph):
    assert {o.domain: o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")} == {"": OPSET}
    assert OPSET == 20
    assert [p.name for p in canonical.source.model.parent.iterdir()] == ["main.onnx"]
    assert not [t.name for t in graph.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    onnx.checker.check_model(graph, full_check=True)
    axes = [d for v in (*graph.graph.input, *graph.graph.output) for d in v.type.tensor_type.shape.dim]
    assert all(d.dim_value > 0 and not d.dim_param for d in axes)


def test_it_has_the_io_specs_names_and_shapes_and_no_batch_norm(canonical, graph):
    for values, specs in (
        (graph.graph.input, canonical.source.io.inputs),
        (graph.graph.output, canonical.source.io.outputs),
    ):
        assert [v.name for v in values] == [t.name for t in specs]
        shapes = [tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values]
        assert shapes == [t.shape for t in specs]
    ops = {node.op_type for node in graph.graph.node}
    assert "Conv" in ops
    assert not ops & {"BatchNormalization", "Identity", "Dropout"}
    assert {node.domain for node in graph.graph.node} == {""}
    assert not graph.functions
    assert len({node.name for node in graph.graph.node}) == len(graph.graph.node)  # recipes keep nodes by name


def test_it_holds_no_note_and_no_path_of_this_machine(canonical, graph):
    content = canonical.source.model.read_bytes()
    for folder in (Path(edgekd.__file__).parents[1], Path(torch.__file__).parents[1], Path.home(), Path(nn.__file__)):
        assert str(folder).encode() not in content
    for word in (b".py", b"stack_trace", b"pkg.torch", b'File "'):
        assert word not in content
    parts = (graph, graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output, *graph.graph.value_info)
    assert not any(list(part.metadata_props) or part.doc_string for part in parts)


class TwoHeads(nn.Module):
    """Adds an embedding of ``index`` to ``rows`` vectors; gives two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.linear = nn.Embedding(5, 4), nn.Linear(4, 3)

    def forward(self, index, vectors, flip):
        hidden = vectors + self.embedding(index)
        hidden = torch.where(flip, -hidden, hidden)
        return self.linear(hidden), hidden.mean(0, keepdim=True)


TWO_HEADS = IoSpec(
    inputs=(
        TensorSpec(name="index", shape=("rows",), dtype="int64"),
        TensorSpec(name="vectors", shape=("rows", 4)),
        TensorSpec(name="flip", shape=(1,), dtype="bool"),
    ),
    outputs=(TensorSpec(name="scores", shape=("rows", 3)), TensorSpec(name="mean", shape=(1, 4))),
)


def test_named_axes_types_and_several_inputs_and_outputs_are_kept(tmp_path):
    module, path = TwoHeads(), tmp_path / "two.onnx"
    export_onnx(module, TWO_HEADS, path)
    found = onnx.load(path).graph
    axes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*found.input, *found.output)
    }
    assert axes == {t.name: list(t.shape) for t in (*TWO_HEADS.inputs, *TWO_HEADS.outputs)}
    reference, rng = OnnxReference(path, TWO_HEADS), np.random.default_rng(0)
    for rows in (1, 2, 7):
        feeds = {
            "index": rng.integers(0, 5, rows),
            "vectors": rng.normal(size=(rows, 4)).astype(np.float32),
            "flip": np.array([rows == 7]),
        }
        with torch.no_grad():
            scores, mean = module(*(torch.from_numpy(feeds[t.name]) for t in TWO_HEADS.inputs))
        outputs = reference.run(feeds)
        np.testing.assert_allclose(outputs["scores"], scores, atol=1e-6)
        np.testing.assert_allclose(outputs["mean"], mean, atol=1e-6)


class Halves(nn.Module):
    def forward(self, x):
        return x[:, :2]


def test_a_shape_that_is_not_the_io_specs_is_refused(tmp_path):
    io = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 4)),), outputs=(TensorSpec(name="y", shape=(1, 4)),))
    with pytest.raises(GateError, match="not the canonical one") as caught:
        export_onnx(Halves(), io, tmp_path / "halves.onnx")
    assert "'y': [1, 2]" in caught.value.why
    assert "'y': [1, 4]" in caught.value.why


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_student_that_cannot_be_exported_fails_the_arrow_with_the_reason(tmp_path, capsys):
    io = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 4)),), outputs=(TensorSpec(name="y", shape=(1, 4)),))
    with pytest.raises(GateError, match="student → canonical ONNX") as caught:
        export_onnx(Branches(), io, tmp_path / "branches.onnx")
    assert "data-dependent" in caught.value.why
    assert "\n" not in caught.value.why


def test_logging_is_left_as_it_was(tmp_path):
    import logging

    io = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 4)),), outputs=(TensorSpec(name="y", shape=(1, 2)),))
    before = logging.root.manager.disable
    export_onnx(Halves(), io, tmp_path / "halves.onnx")
    assert logging.root.manager.disable == before


class _Turned(nn.Module):
    """A map whose channels are last within: turned to the front, read there, and turned back."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        within = (x.permute(0, 2, 3, 1) + 1).permute(0, 3, 1, 2)
        return torch.relu(within), within.permute(0, 2, 3, 1) * 2


def test_transposes_that_undo_each_other_are_dropped_though_the_map_between_is_read(tmp_path):
    io = IoSpec(
        inputs=(TensorSpec(name="x", shape=(1, 2, 3, 4)),),
        outputs=(TensorSpec(name="front", shape=(1, 2, 3, 4)), TensorSpec(name="last", shape=(1, 3, 4, 2))),
    )
    export_onnx(_Turned(), io, tmp_path / "x.onnx")
    nodes = onnx.load(tmp_path / "x.onnx").graph.node
    assert sum(node.op_type == "Transpose" for node in nodes) == 2
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    found = OnnxReference(tmp_path / "x.onnx", io).run({"x": x})
    np.testing.assert_allclose(found["front"], np.maximum(x + 1, 0))
    np.testing.assert_allclose(found["last"], (x.transpose(0, 2, 3, 1) + 1) * 2)
