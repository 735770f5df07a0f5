"""The reference session for any typed ONNX graph: ONNX Runtime with every graph optimization off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekd.contracts import Array, Arrays, IoSpec, check_feeds
from edgekd.errors import MachineError


class OnnxReference:
    """Runs Q/DQ and casts as they are written, so that only the arithmetic of the graph itself is seen.

    Used by gates alone: it is slow, and it is no deployment runtime.
    """

    def __init__(self, path: Path, io: IoSpec) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        self.io = io
        self.name = f"ONNX Runtime {onnxruntime.__version__}, unoptimized"
        try:
            model = _rounding(path) or str(path)
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise MachineError(f"{self.name}, cannot load the graph", _said(error)) from None
        self._names = [t.name for t in io.outputs]

    def run(self, feeds: Arrays) -> dict[str, Array]:
        ready = check_feeds(self.io, feeds)
        try:
            values = self._session.run(self._names, ready)
        except Exception as error:
            raise MachineError(f"{self.name}, cannot run the graph", _said(error)) from None
        return {n: np.asarray(v) for n, v in zip(self._names, values, strict=True)}

    def reset(self) -> None:
        pass  # state is carried by edgekd.bundle.session, never here


def _rounding(path: Path) -> bytes | None:
    """The graph with something behind every fp16 value that keeps it one; None where there is no such value.

    ONNX Runtime has few fp16 kernels for CPUs. It runs the others in fp32, and drops the casts between two of them,
    optimized or not: then nothing is rounded, and nothing overflows. Identity is one that it has; a single one
    between two of the others it would run in fp32, too.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    values = (*model.graph.value_info, *model.graph.output)
    halves = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    if not halves:
        return None
    nodes: list[Any] = []
    for node in model.graph.node:
        made = onnx.NodeProto.FromString(node.SerializeToString())
        nodes.append(made)
        for index, name in enumerate(node.output):
            if name in halves:
                made.output[index], half = f"{name}/unrounded", f"{name}/half"
                nodes.append(onnx.helper.make_node("Identity", [made.output[index]], [half]))
                nodes.append(onnx.helper.make_node("Identity", [half], [name]))
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
