"""A small run, its bundle and a measurement of it, made in milliseconds: no training, no torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.contracts import ImageSpec, IoSpec, Precision, TensorSpec
from edgekd.measuring.figures import span_figures
from edgekd.measuring.machine import read_facts, read_state
from edgekd.measuring.measurement import (
    ArtifactFacts,
    Comparison,
    Conditions,
    FramesPerSecond,
    Headline,
    InputsRecord,
    LatencyResult,
    Measurement,
    Memory,
    Startup,
    Verdict,
    WarmUpRecord,
    WorkerRecord,
    save,
)
from edgekd.run import FILES
from edgekd.storage import sha256_file, write_arrays, write_json

SIZE, SAMPLES = 32, 8
IO = IoSpec(
    inputs=(TensorSpec(name="image", shape=(1, 3, SIZE, SIZE), layout="NCHW", image=ImageSpec()),),
    outputs=(TensorSpec(name="landmarks", shape=(1, 136)),),
)
CSV = """epoch,step,name,value
0,4,train/main,0.9
0,4,train/tough,0.2
0,4,train/loss,1.1
0,4,val/nme,12.0
1,8,train/main,0.6
1,8,train/tough,0.1
1,8,train/loss,0.7
1,8,val/nme,9.0
"""


def stage(name: str, role: str, nme: float, **more: Any) -> dict[str, Any]:
    scores = {"nme": nme}
    record = {"name": name, "role": role, "epochs": 2, "best_epoch": 1, "best": scores, "last": scores, "test": scores}
    return {**record, "images_per_second": 100.0, "seconds": 3.0, "precision": "32-true", "weights": 1000, **more}


STAGES = (
    stage("tough", "teacher", 5.0),
    stage("student", "student", 8.0, teachers={"tough": {"nme": 5.0}}),
    stage("control", "control", 10.0),
)


def heldout() -> dict[str, np.ndarray]:
    """Pictures whose truth is a face; the student's outputs are off by more from sample to sample."""
    rng = np.random.default_rng(0)
    face = rng.uniform(-0.3, 0.3, (68, 2))
    face[36], face[45] = (-0.25, 0.0), (0.25, 0.0)
    off = np.array([0.05, 0.01, 0.04, 0.02, 0.08, 0.03, 0.07, 0.06])
    outputs = (face[None] + off[:, None, None] * [[[1.0, 0.0]]]).reshape(SAMPLES, 1, 136)
    return {
        "raw/image": rng.integers(0, 255, (SAMPLES, SIZE, SIZE, 3), dtype=np.uint8),
        "raw/box": np.tile(np.array([0, 0, SIZE, SIZE], np.float32), (SAMPLES, 1)),
        "truth/landmarks": np.tile(((face + 0.5) * SIZE).astype(np.float32), (SAMPLES, 1, 1)),
        "student/landmarks": outputs.astype(np.float32),
    }


def safetensors(**shapes: tuple[int, ...]) -> bytes:
    tensors = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    counter = {"steps": {"dtype": "I64", "shape": [1], "data_offsets": [0, 0]}}
    header = json.dumps({**tensors, **counter}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.fixture
def make_run(tmp_path):
    def make(name: str = "lm", status: str = "complete", **changes: Any) -> Path:
        folder = tmp_path / "runs" / name
        for each in STAGES:
            (folder / "stages" / each["name"]).mkdir(parents=True)
            (folder / "stages" / each["name"] / "metrics.csv").write_text(changes.get("csv", CSV))
            (folder / "stages" / each["name"] / "stage.json").write_text(json.dumps(each))
        (folder / "stages/tough/best.safetensors").write_bytes(safetensors(weight=(20, 10), bias=(20,)))
        (folder / "student.safetensors").write_bytes(safetensors(weight=(10, 10)))
        write_arrays(folder / "heldout.npz", heldout())
        (folder / "calibration.npz").write_bytes(b"not looked into here")
        (folder / "config.toml").write_text("seed = 0\n")
        files = {f: sha256_file(folder / f) for f in FILES}
        record = {
            "schema_version": 1,
            "status": status,
            "recipe": "landmarks",
            "preset": "quick",
            "config": {
                "seed": 0,
                "data": {"points": 68},
                "student": {"width": 0.5},
                "teacher": {"use": "tough", "width": 0.4},
            },
            "seed": 0,
            "io": IO.model_dump(mode="json"),
            "versions": {"torch": "2.13"},
            "data": {"sources": [{"source": "drawn", "licence": "Apache-2.0"}], "labels": {"teacher": "none: exact"}},
            "stages": list(STAGES) if status == "complete" else [],
            "student": {"weights": 2_432_200, "parameters": 2_400_000, "bytes": 9_728_800, "macs": 8_000_000},
            "files": files if status == "complete" else {},
            **changes.get("record", {}),
        }
        write_json(folder / "run.json", record)
        return folder

    return make


def constant_model(path: Path) -> None:
    """ONNX that says the mean face whatever it is shown."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    face = heldout()["student/landmarks"][0]
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["landmarks"]),
    ]
    weights = [
        numpy_helper.from_array(np.zeros((3, 136), np.float32), "weight"),
        numpy_helper.from_array(face[0], "bias"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, [1, 136])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def gate(arrow: str, before: float, after: float, where: str = "ONNX Runtime") -> dict[str, Any]:
    loss = (after - before) / before
    return {
        "arrow": arrow,
        "where": where,
        "metric": "nme",
        "before": before,
        "after": after,
        "relative_loss": loss,
        "interval": [loss - 0.001, loss + 0.001],
        "limit": "nme may lose 2 %",
        "samples": SAMPLES,
        "distance": {"landmarks": {"relative_max": 0.001, "sqnr_db": 40.0, "cosine": 1.0}},
        "passed": True,
    }


GATES = (
    gate("training → student and pipeline", 8.0, 8.0),
    gate("student → canonical ONNX", 8.0, 8.0),
    gate("canonical ONNX → onnxruntime int8 graph", 8.0, 8.08),
    gate("onnxruntime int8 graph → built", 8.08, 8.1),
    gate("student → onnxruntime int8, whole road", 8.0, 8.1),
)


@pytest.fixture
def make_bundle(tmp_path):
    def make(run: Path, name: str = "lm-onnxruntime", **changes: Any) -> Path:
        folder = tmp_path / "bundles" / name
        folder.mkdir(parents=True)
        constant_model(folder / "model.onnx")
        arrays = heldout()
        built = {f"{part}/landmarks": arrays["student/landmarks"] for part in ("fp32", "built")}
        raws = {k: v for k, v in arrays.items() if k.startswith("raw/")}
        write_arrays(folder / "vectors.npz", {**raws, **built, "feeds/image": np.zeros((8, 1, 3, SIZE, SIZE), "f4")})
        files = {f.name: {"sha256": sha256_file(f), "bytes": f.stat().st_size} for f in folder.iterdir()}
        record = json.loads((run / "run.json").read_text())
        manifest = {
            "schema_version": 1,
            "name": name,
            "edgekd_version": "0.1.0",
            "created": "2026-01-01T00:00:00+00:00",
            "recipe": "landmarks",
            "target": "onnxruntime",
            "profile": "default",
            "precision_asked": "auto",
            "precision": Precision.INT8.value,
            "raced": "raced",
            "graphs": {"main": {"entry": "model.onnx", "typed_onnx": "model.onnx", "io": IO.model_dump(mode="json")}},
            "runtime": {"threads": 1},
            "versions": {"onnxruntime": "1.32"},
            "calibration": {"samples": 4, "sha256": "c" * 64},
            "gates": list(GATES),
            "candidates": [
                {"precision": "int8", "outcome": "shipped", "why": "the fastest here", "median_ms": 0.5, "ratio": 1.0},
                {"precision": "fp32", "outcome": "passed its gates, not shipped", "why": "slower than int8 here"},
            ],
            "placement": {
                "source": "optimized graph",
                "precision_by_macs": {"int8": 0.9, "fp32": 0.1},
                "device_by_macs": {"CPU": 1.0},
                "precision_by_nodes": {"int8": 9, "fp32": 2},
            },
            "vectors": {"samples": 8, "outputs_tolerance": 1e-4, "built_outputs_from": "this runtime, at export"},
            "licences": {"drawn": "Apache-2.0"},
            "provenance": {
                "run": run.name,
                "run_path": f"../../runs/{run.name}",
                "student_sha256": record["files"]["student.safetensors"],
                "heldout_sha256": record["files"]["heldout.npz"],
                "seed": 0,
                "preset": "quick",
                "data": record["data"],
                "stages": list(STAGES),
            },
            "weights": {"weights": 2_432_200, "parameters": 2_400_000, "bytes": 9_728_800, "macs": 8_000_000},
            "files": files,
            **changes,
        }
        write_json(folder / "manifest.json", manifest)
        return folder

    return make


def worker(samples_us: tuple[int, ...]) -> WorkerRecord:
    state = read_state()
    result = LatencyResult(
        startup=STARTUP,
        warm_up=WarmUpRecord(rule="full", runs=60, seconds=3, settled=True, medians_ns=(1.0, 1.0)),
        inputs=InputsRecord(originals=8, jittered=56, seed=0),
        elapsed_s=1,
        samples_us={"infer": samples_us, "end-to-end": tuple(s + 100 for s in samples_us)},
        before=state,
        after=state,
    )
    return WorkerRecord(round=0, position=0, busy_before=0, variation=0, contention=(), result=result)


STARTUP = Startup(process_ms=200, open_ms=10, import_ms=150, load_ms=80, first_inference_ms=5, torch_imported=False)


@pytest.fixture(scope="session")
def make_measurement():
    facts = read_facts()

    def make(sha256: str = "a" * 64, name: str = "lm-onnxruntime", ms: float = 2.0, **changes: Any) -> Measurement:
        samples = tuple(int(ms * 1000) + 10 * k for k in range(70))
        pooled = np.asarray([s + 100 for s in samples])
        comparison = Comparison(
            reference="lm torch",
            reference_sha256="0" * 64,
            span="end-to-end",
            speedup=6.2,
            low=5.9,
            high=6.6,
            confidence=0.95,
            rounds=5,
        )
        values: dict[str, Any] = {
            "edgekd_version": "0",
            "created": "2026-01-02T03:04:05.000006+00:00",
            "artifact": ArtifactFacts(
                name=name,
                target="onnxruntime",
                profile="default",
                precision="int8",
                sha256=sha256,
                size_bytes=3_000_000,
                parameters_bytes=9_728_800,
                inputs={"image": (1, 3, SIZE, SIZE)},
                stateful=False,
                options={"threads": 2},
                versions={"onnxruntime": "1.32"},
            ),
            "conditions": Conditions(
                scenario="single",
                length="standard",
                workers=2,
                least_seconds=60,
                least_runs=64,
                stop="both",
                warm_up="full",
                batch=1,
                threads=None,
                seed=0,
                contenders=("a", "b"),
            ),
            "machine": facts,
            "machine_id": facts.id,
            "lock_command": None,
            "workers": (worker(samples), worker(samples)),
            "startup": STARTUP,
            "spans": {span: span_figures([pooled]) for span in ("infer", "end-to-end")},
            "headline": Headline(span="end-to-end", p90_ms=ms, low_ms=ms * 0.98, high_ms=ms * 1.03, how="median of 2"),
            "reproduced": True,
            "fps": FramesPerSecond(value=1000 / ms, span="end-to-end"),
            "memory": Memory(
                artifact_bytes=3_000_000,
                parameters_bytes=9_728_800,
                rss_baseline_bytes=50_000_000,
                rss_high_water_bytes=90_000_000,
                rss_increase_bytes=40_000_000,
                pss_bytes=None,
                runs=16,
            ),
            "placement": None,
            "comparisons": (comparison,),
            "verdict": Verdict(label="valid", reasons=()),
            **changes,
        }
        return Measurement(**values)

    return make


@pytest.fixture
def project(tmp_path, make_run, make_bundle, make_measurement, monkeypatch):
    """A directory with ``runs``, ``bundles`` and ``measurements``, in which the test stands."""
    bundle = make_bundle(make_run())
    save(make_measurement(sha256_file(bundle / "manifest.json")), tmp_path / "measurements")
    monkeypatch.chdir(tmp_path)
    return tmp_path
