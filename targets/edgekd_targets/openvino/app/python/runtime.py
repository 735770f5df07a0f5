from pathlib import Path
from typing import Any

import openvino

# The default on many CPUs is bf16, and f16 slows an int8 graph down: it is never left open.
HINTS = {"fp32": "f32", "int8": "f32", "mixed": "f32", "bf16": "bf16", "fp16": "f16"}


class Graph:
    """One graph in OpenVINO, on the CPU: named arrays in, named arrays out."""

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        properties = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        compiled = openvino.Core().compile_model(path, "CPU", properties)
        self._request = compiled.create_infer_request()
        self._names = [sorted(port.get_names()) for port in compiled.outputs]

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        self._request.infer(feeds)
        values = [self._request.get_output_tensor(k).data.copy() for k in range(len(self._names))]
        return {name: value for names, value in zip(self._names, values, strict=True) for name in names}
