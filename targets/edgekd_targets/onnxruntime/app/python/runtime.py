from pathlib import Path
from typing import Any

import onnxruntime


class Graph:
    """One graph in ONNX Runtime, on the CPU: named arrays in, named arrays out."""

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))
