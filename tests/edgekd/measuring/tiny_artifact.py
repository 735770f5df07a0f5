"""An artefact in numpy alone, opened by worker processes. Its path says how it behaves."""

from __future__ import annotations

import os
import time

import numpy as np

from edgekd.contracts import IoSpec, NodePlacement, Placement, TensorSpec
from edgekd.errors import MachineError

IO = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 64)),), outputs=(TensorSpec(name="y", shape=(1, 64)),))
STATEFUL = IoSpec(
    inputs=(*IO.inputs, TensorSpec(name="h", shape=(1, 64))),
    outputs=(*IO.outputs, TensorSpec(name="h_next", shape=(1, 64))),
    state={"h_next": "h"},
)


class Session:
    def __init__(self, io: IoSpec, wait_s: float) -> None:
        self.io, self._wait_s = io, wait_s
        self._weight = np.eye(64, dtype=np.float32)
        self.resets: list[int] = []
        self.runs = 0

    def run(self, feeds):
        self.runs += 1
        until = time.perf_counter() + self._wait_s
        while time.perf_counter() < until:
            pass
        return {"y": feeds["x"] @ self._weight}

    def reset(self) -> None:
        self.resets.append(self.runs)


class OnDevice(Session):
    device_bytes = 3_000_000


class Pipeline:
    def preprocess(self, raw):
        return {"x": raw["image"].reshape(1, 64).astype(np.float32) / 255}

    def postprocess(self, outputs, raw):
        return {"points": outputs["y"][0] * len(raw["image"])}


class Artifact:
    target, profile, precision = "numpy", "default", "fp32"
    size_bytes, parameters_bytes = 17_000, 16_384
    graph_name, graphs_bytes = "main", {"main": 17_000}

    def __init__(self, path: str, threads: int | None) -> None:
        self.name = path
        self.sha256 = path.encode().hex().ljust(64, "0")
        self.io = STATEFUL if path == "stateful" else IO
        self.options = {"threads": threads or 1, "kernels": ("eye",)}
        self.versions = {"numpy": np.__version__}

    def import_runtime(self) -> None:
        if self.name == "broken":
            raise MachineError("no driver", "this machine has none", "install one")
        if self.name == "buggy":
            raise ZeroDivisionError("a bug of ours")

    def load(self) -> Session:
        if self.name == "dies":
            os._exit(3)
        if self.name == "hangs":
            with open(os.environ["TINY_PID_FILE"], "w", encoding="utf-8") as file:
                file.write(str(os.getpid()))
            time.sleep(120)
        if self.name == "ballast":
            self.ballast = np.ones(64_000_000, dtype=np.uint8)
        kind = OnDevice if self.name == "device" else Session
        return kind(self.io, wait_s=0.002 if self.name == "slow" else 0.0005)

    def pipeline(self) -> Pipeline | None:
        return None if self.name in ("foreign", "stateful") else Pipeline()

    def inputs(self):
        rng = np.random.default_rng(5)
        if self.pipeline() is None:
            return [{"x": rng.normal(size=(1, 64)).astype(np.float32)} for _ in range(3)]
        if self.name == "black":
            return [{"image": np.zeros((8, 8), dtype=np.uint8)}]
        return [{"image": rng.integers(0, 255, (8, 8), dtype=np.uint8)} for _ in range(3)]

    def placement(self) -> Placement:
        return Placement((NodePlacement("matmul", "MatMul", "fp32", "CPU", macs=4096),), "numpy")

    def layers(self, feeds):
        return [("matmul", "gemm", 0.4), ("add", "add", 0.1)]


def open_artifact(path: str, profile: str | None, threads: int | None) -> Artifact:
    return Artifact(path, threads)
