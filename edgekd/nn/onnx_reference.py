"""The reference session for any typed ONNX graph: ONNX Runtime with every graph optimization off."""

from __future__ import annotations

from pathlib import Path

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
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
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


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
