"""The whole way with a real runtime: a small ONNX model in ONNX Runtime, against a heavier one."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from edgekd.measuring.bench import bench

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

OPENER = """
import hashlib
from pathlib import Path

import numpy as np

from edgekd.contracts import IoSpec, NodePlacement, Placement, TensorSpec


class Session:
    def __init__(self, path, io):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.io = io
        self._session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])

    def run(self, feeds):
        return {"y": self._session.run(None, dict(feeds))[0]}

    def reset(self):
        pass


class Artifact:
    target, profile, precision = "onnxruntime", "default", "fp32"

    def __init__(self, path):
        self.path = Path(path)
        self.name = self.path.stem
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self.size_bytes = self.parameters_bytes = self.path.stat().st_size
        self.graph_name, self.graphs_bytes = "main", {"main": self.size_bytes}
        spec = TensorSpec(name="x", shape=(1, 3, 32, 32))
        self.io = IoSpec(inputs=(spec,), outputs=(TensorSpec(name="y", shape=(1, 3, 32, 32)),))
        self.options = {"threads": 1}

    @property
    def versions(self):
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}

    def import_runtime(self):
        import onnxruntime

    def load(self):
        return Session(self.path, self.io)

    def pipeline(self):
        return None

    def inputs(self):
        rng = np.random.default_rng(0)
        return [{"x": rng.random((1, 3, 32, 32), dtype=np.float32)} for _ in range(2)]

    def placement(self):
        return Placement((NodePlacement("conv", "Conv", "fp32", "CPU", macs=1),), "test")


def open_artifact(path, profile, threads):
    return Artifact(path)
"""


def _model(path, convolutions):
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(0, 0.1, (3, 3, 5, 5)).astype(np.float32), "w")
    names = ["x", *(f"t{i}" for i in range(convolutions - 1)), "y"]
    nodes = [helper.make_node("Conv", [names[i], "w"], [names[i + 1]], pads=[2, 2, 2, 2]) for i in range(convolutions)]
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 32, 32]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def test_a_heavier_onnx_model_is_found_to_be_slower(tmp_path, rule, monkeypatch):
    (tmp_path / "small_onnx_opener.py").write_text(textwrap.dedent(OPENER))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _model(tmp_path / "light.onnx", 1)
    _model(tmp_path / "heavy.onnx", 60)

    result = bench(
        [tmp_path / "light.onnx", tmp_path / "heavy.onnx"],
        rule,
        tmp_path / "measurements",
        opener="small_onnx_opener:open_artifact",
    )

    assert result.failures == ()
    light, heavy = result.measurements
    (comparison,) = light.comparisons
    assert comparison.reference == "heavy"
    assert comparison.low > 2  # sixty convolutions against one
    assert not light.startup.torch_imported
    assert light.startup.import_ms > 1  # ONNX Runtime is imported, and that is not part of loading
    assert light.artifact.inputs == {"x": (1, 3, 32, 32)}
    assert "onnxruntime" in light.artifact.versions
    assert heavy.spans["infer"].percentiles_ms["p90"] is not None
    assert heavy.spans["infer"].percentiles_ms["p99.9"] is None or heavy.runs >= 6636


def test_a_graph_with_a_batch_axis_is_tried_in_batches_and_answers_the_same_in_each(tmp_path):
    from onnx import TensorProto, helper

    from edgekd.contracts import Graph, IoSpec, Precision, TensorSpec
    from edgekd.measuring.offline import Crew, arrangements, batch_axis, batched
    from edgekd.measuring.protocol import Share
    from edgekd.registry import runtime

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"], axis=1)], "g", [x], [y])
    path = tmp_path / "softmax.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    io = IoSpec(inputs=(TensorSpec(name="x", shape=("batch", 4)),), outputs=(TensorSpec(name="y", shape=("batch", 4)),))
    assert batch_axis(io)
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.random((1, 4), dtype=np.float32)} for _ in range(6)]
    load = runtime("onnxruntime").load
    session = load(Graph(path, io, Precision.FP32, {"threads": 1}))
    whole = session.run(batched(feeds, 4)[0])["y"]
    np.testing.assert_allclose(whole, np.concatenate([session.run(feed)["y"] for feed in feeds[:4]]), rtol=1e-6)
    for arrangement in arrangements(2, batchable=True)[-2:]:
        sessions = [load(Graph(path, io, Precision.FP32, {"threads": 1})) for _ in range(arrangement.sessions)]
        found = Crew(sessions, feeds, arrangement.batch, stateful=False).measure(Share(0.0, 200, "both"))
        assert found.samples >= 200
        assert found.samples % arrangement.batch == 0
