from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.nn.quantization import quantize
from edgekd.nn.sensitivity import measured, sensitive_nodes

IO = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 4, 8, 8)),), outputs=(TensorSpec(name="y", shape=(1, 4, 8, 8)),))


class Samples:
    """One channel a thousand times as large as the others: a range that eight bits cannot hold for all of them."""

    sha256 = "0" * 64

    def __len__(self):
        return 8

    def __iter__(self):
        rng = np.random.default_rng(0)
        for _ in range(len(self)):
            value = rng.normal(size=(1, 4, 8, 8)).astype(np.float32)
            value[:, 0] *= 1000
            yield {"x": value}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """A convolution that brings the large channel down, a Relu, and two more; and the same in int8."""
    folder = tmp_path_factory.mktemp("sensitive")
    rng = np.random.default_rng(1)
    scale = np.array([1e-4, 1, 1, 1], np.float32)[None, :, None, None]
    weights = {"w1": rng.normal(size=(4, 4, 1, 1)) * scale, "w2": rng.normal(size=(4, 4, 3, 3)) * 0.2}
    weights["w3"] = rng.normal(size=(4, 4, 3, 3)) * 0.2
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="wide"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w2"], ["b"], name="middle", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["b", "w3"], ["y"], name="last", pads=[1, 1, 1, 1]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 8, 8]) for n in "xy")
    tensors = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "s.onnx")
    quantize(folder / "s.onnx", folder / "q.onnx", Samples(), {"recipe": "onnxruntime"})
    return folder / "s.onnx", folder / "q.onnx"


def sqnr(exact, typed):
    pairs = [(OnnxReference(p, IO), []) for p in (exact, typed)]
    for session, found in pairs:
        found += [session.run(feeds)["y"] for feeds in Samples()]
    a, b = (np.stack(found) for _, found in pairs)
    return 10 * np.log10(np.square(a).sum() / np.square(a - b).sum())


def test_each_part_is_charged_with_the_noise_of_its_own_quantizers(graphs, tmp_path):
    parts = {part.nodes[0]: part for part in measured(*graphs, IO, list(Samples()), tmp_path)}
    assert {name: part.macs for name, part in parts.items()} == {"wide": 1024, "middle": 9216, "last": 9216}
    assert parts["wide"].noise > 100 * max(parts["middle"].noise, parts["last"].noise)
    together = 10 ** (-sqnr(*graphs) / 10)
    assert sum(part.noise for part in parts.values()) == pytest.approx(together, rel=0.2)  # powers add up


def test_what_is_kept_is_enough_and_no_more(graphs, tmp_path):
    source, typed = graphs
    assert sqnr(source, typed) < 20
    kept = sensitive_nodes(source, typed, IO, list(Samples()), 20.0, tmp_path)
    assert "wide" in kept
    assert not {"middle", "last"} & set(kept)
    settings = {"recipe": "onnxruntime", "keep_float": kept}
    quantize(source, tmp_path / "again.onnx", Samples(), settings)
    assert sqnr(source, tmp_path / "again.onnx") > 20


def test_nothing_is_kept_where_all_is_exact_enough(graphs, tmp_path):
    assert sensitive_nodes(*graphs, IO, list(Samples()), -20.0, tmp_path) == []
