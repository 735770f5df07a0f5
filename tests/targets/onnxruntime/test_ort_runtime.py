from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.placement import precision_shortfall
from edgekd.contracts import Graph, IoSpec, Precision, TensorSpec
from edgekd.errors import MachineError
from edgekd.nn.quantization import quantize
from edgekd_targets.onnxruntime import runtime


@pytest.fixture(scope="module")
def graph(tiny_bundles):
    return open_bundle(tiny_bundles["onnxruntime"], threads=1).graph()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_the_sessions(threads, graph):
    options = runtime.load(replace(graph, options={"threads": threads})).session.get_session_options()
    assert options.intra_op_num_threads == threads


def test_no_number_of_threads_means_those_this_process_may_use(graph, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    for options in ({}, {"threads": 0}):
        session = runtime.load(replace(graph, options=options)).session
        assert session.get_session_options().intra_op_num_threads == 3


def test_a_provider_that_was_not_asked_for_is_named(graph, monkeypatch):
    """ONNX Runtime falls back without a word."""

    class FellBack(onnxruntime.InferenceSession):
        def get_providers(self):
            return ["AzureExecutionProvider", *super().get_providers()]

    monkeypatch.setattr(onnxruntime, "InferenceSession", FellBack)
    with pytest.raises(MachineError, match=r"runs model\.onnx on AzureExecutionProvider, not CPUExecutionProvider"):
        runtime.load(graph)


def test_a_file_it_cannot_load_is_the_machines_fault_and_named(graph, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(MachineError, match=r"ONNX Runtime cannot load broken\.onnx") as caught:
        runtime.load(replace(graph, path=tmp_path / "broken.onnx"))
    assert caught.value.why


def test_placement_is_of_what_will_execute(graph):
    placement = runtime.placement(graph)
    assert placement.source == "ONNX Runtime optimized graph"
    assert not {"Clip", "BatchNormalization"} & {node.op for node in placement.nodes}  # fused away
    assert placement.share_of_macs("precision") == {"fp32": pytest.approx(1)}
    assert placement.share_of_macs("device") == {"CPUExecutionProvider": pytest.approx(1)}


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """Two linear layers, 4096 and 1024 multiply-accumulates; by what stays in floating point."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="wide"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w2"], ["y"], name="narrow"),
    ]
    weights = [
        numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n)
        for n, s in (("w1", (64, 64)), ("w2", (64, 16)))
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", 64), ("y", 16)))
    folder = tmp_path_factory.mktemp("layers")
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "fp32.onnx"
    )
    io = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 64)),), outputs=(TensorSpec(name="y", shape=(1, 16)),))
    samples = [{"x": rng.random((1, 64), dtype=np.float32)} for _ in range(4)]

    def make(*keep):
        path = folder / ("-".join(("int8", *keep)) + ".onnx")
        quantize(folder / "fp32.onnx", path, samples, {"recipe": "onnxruntime", "keep_float": list(keep)})
        return Graph(path, io, Precision.INT8, {"threads": 1})

    return make


def test_the_share_of_int8_is_by_multiply_accumulates(layers):
    assert runtime.placement(layers()).share_of_macs("precision") == {"int8": pytest.approx(1)}
    narrow = runtime.placement(layers("last"))
    assert narrow.share_of_macs("precision") == {"int8": pytest.approx(0.8), "fp32": pytest.approx(0.2)}
    assert precision_shortfall(narrow, Precision.INT8).found >= 0.8 - 1e-9
    wide = runtime.placement(layers("first"))
    assert wide.share_of_macs("precision") == {"fp32": pytest.approx(0.8), "int8": pytest.approx(0.2)}
    share = precision_shortfall(wide, Precision.INT8)
    assert share.found < share.limit


def test_an_int8_product_with_a_float_answer_is_int8(layers, tmp_path):
    """The answer's quantization removed, ONNX Runtime fuses to a kernel that multiplies in int8 all the same."""
    graph = layers()
    model = onnx.load(graph.path)
    nodes = {n.output[0]: n for n in model.graph.node}
    pair = nodes["y"]
    quantizer = nodes[pair.input[0]]
    product = nodes[quantizer.input[0]]
    product.output[0] = "y"
    model.graph.node.remove(pair)
    model.graph.node.remove(quantizer)
    onnx.save(model, tmp_path / "float_answer.onnx")
    placement = runtime.placement(replace(graph, path=tmp_path / "float_answer.onnx"))
    assert "MatMulIntegerToFloat" in {node.op for node in placement.nodes}
    assert placement.share_of_macs("precision") == {"int8": pytest.approx(1)}


def test_loading_writes_nothing_beside_the_graph(tiny_bundles, graph):
    before = sorted(p.name for p in tiny_bundles["onnxruntime"].iterdir())
    runtime.placement(graph)
    runtime.profile_layers(graph, [{"image": np.zeros((1, 3, 32, 32), np.float32)}])
    assert sorted(p.name for p in tiny_bundles["onnxruntime"].iterdir()) == before
