"""ONNX Runtime on the device. Imports onnxruntime late, and no torch ever."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.bundle.session import check_graph
from edgekd.bundle.threads import thread_count
from edgekd.contracts import Array, Arrays, Graph, NodePlacement, Placement, Probe, check_feeds
from edgekd.errors import InputError, MachineError
from edgekd.nn.onnx_graph import attribute, graphs, macs_by_node

FIX = 'pip install "edgekd[onnxruntime]"'
PROVIDER = "CPUExecutionProvider"


def probe() -> Probe:
    try:
        import onnxruntime
    except ImportError as error:
        return Probe(False, why=f"onnxruntime does not import: {error}", fix=FIX)
    return Probe(True, onnxruntime.__version__, devices=("CPU",))


class OrtSession:
    def __init__(self, graph: Graph, **extra: Any) -> None:
        runtime = _onnxruntime()
        options = _options(graph)
        for key, value in extra.items():
            setattr(options, key, value)
        self.io = graph.io
        try:
            self.session = runtime.InferenceSession(str(graph.path), options, providers=[PROVIDER])
        except Exception as error:  # its exceptions share no base class
            raise MachineError(f"ONNX Runtime cannot load {graph.path.name}", str(error).splitlines()[0]) from None
        given = self.session.get_providers()
        if given[0] != PROVIDER:  # it falls back without a word
            raise MachineError(f"ONNX Runtime runs {graph.path.name} on {given[0]}, not {PROVIDER}")
        inputs = {
            value.name: (_dtype(value.type), [axis if isinstance(axis, int) else None for axis in value.shape])
            for value in self.session.get_inputs()
        }
        check_graph(graph, inputs, [value.name for value in self.session.get_outputs()])
        self._names = [t.name for t in graph.io.outputs]

    def run(self, feeds: Arrays) -> dict[str, Array]:
        ready = check_feeds(self.io, feeds)
        try:
            values = self.session.run(self._names, ready)
        except Exception as error:  # its exceptions share no base class
            why = str(error).strip().splitlines()[0]
            raise MachineError("ONNX Runtime cannot run the graph on these inputs", why) from None
        return {n: np.asarray(v) for n, v in zip(self._names, values, strict=True)}

    def reset(self) -> None:
        pass  # a graph's state is carried by edgekd.bundle.session


def load(graph: Graph) -> OrtSession:
    return OrtSession(graph)


def placement(graph: Graph) -> Placement:
    """From the graph that ONNX Runtime itself writes after optimizing."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        session = OrtSession(graph, optimized_model_filepath=str(optimized))
        provider = session.session.get_providers()[0]
        del session
        model, source = onnx.load(optimized), onnx.load(graph.path)
    costs = macs_by_node(source, graph.io)
    placed = [node for inner in graphs(model.graph) for node in inner.node]
    computing = {index: node for index, node in enumerate(placed) if _computes(node.op_type)}
    owners = _owners(computing, attribute(source, costs))
    floats = {t.name: t.data_type for inner in graphs(model.graph) for t in inner.initializer}
    nodes = []
    for index, node in enumerate(placed):
        owner = owners.get(index, "")
        macs = (costs[owner] if owner else None) if index in computing else 0
        kernel = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        nodes.append(NodePlacement(node.name, node.op_type, _type(node, floats), provider, kernel, macs, owner))
    return Placement(tuple(nodes), "ONNX Runtime optimized graph")


def profile_layers(graph: Graph, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        session = OrtSession(graph, enable_profiling=True, profile_file_prefix=str(Path(folder) / "ort"))
        for feed in (*feeds, *feeds):
            session.run(feed)
        events = json.loads(Path(session.session.end_profiling()).read_text())
    times: dict[tuple[str, str], list[float]] = {}
    for event in sorted(events, key=lambda event: event["ts"]):
        if event["name"].endswith("_kernel_time"):
            key = (event["name"].removesuffix("_kernel_time"), event["args"]["op_name"])
            times.setdefault(key, []).append(event["dur"] / 1e3)
    # The second half is the second time through the feeds; a loop's body runs several times in each.
    rows = [(n, k, sum(ms[len(ms) // 2 :]) / len(feeds)) for (n, k), ms in times.items()]
    return sorted(rows, key=lambda row: -row[2])


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MachineError("onnxruntime is not installed", str(error), FIX) from None
    return onnxruntime


def _options(graph: Graph) -> Any:
    options = _onnxruntime().SessionOptions()
    unknown = set(graph.options) - {"device", "threads"}
    if unknown:
        raise InputError(
            f"onnxruntime knows no runtime option {sorted(unknown)[0]!r}", fix="there are: device, threads"
        )
    if str(graph.options.get("device", "cpu")).lower() != "cpu":
        raise MachineError(f"onnxruntime runs on the CPU, not on {graph.options['device']}", f"it uses {PROVIDER}")
    options.intra_op_num_threads = thread_count(graph.options)
    options.log_severity_level = 3
    return options


def _dtype(kind: str) -> str:
    """numpy's name of ``tensor(float)``."""
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)


def _computes(op: str) -> bool:
    return bool(re.search(r"Conv|Gemm|MatMul|LSTM|GRU", op))


def _owners(nodes: Mapping[int, Any], known: Mapping[str, tuple[str, ...]]) -> dict[int, str]:
    """Which node of the source each optimized one is: first by names that mean one, then by what is left."""
    owners: dict[int, str] = {}
    taken: set[str] = set()
    for certain in (True, False):
        for index, node in nodes.items():
            if index in owners:
                continue
            for name in _identities(node):
                candidates = known.get(name, ())
                free = [owner for owner in candidates if owner not in taken]
                if free and not (certain and len(candidates) > 1):
                    owners[index] = free[0]
                    taken.add(free[0])
                    break
    return owners


def _identities(node: Any) -> list[str]:
    """Names under which the source graph may know this node: itself, its output, its weight."""
    own = re.sub(r"(_nchwc)?(_token_\d+)?$", "", node.name)
    weights = [re.sub(r"_quantized$", "", name) for name in node.input[1:]]
    return [node.name, own, *node.output, *node.input[1:], *weights]


def _type(node: Any, initializers: dict[str, int]) -> str:
    import onnx

    if (
        node.op_type.startswith(("QLinear", "QGemm", "QAttention"))
        or "Integer" in node.op_type
        or "DynamicQuantize" in node.op_type
    ):
        return "int8"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return "convert"
    held = {initializers[name] for name in node.input if name in initializers}
    return "fp16" if onnx.TensorProto.FLOAT16 in held else "fp32"
