"""edgekd's inference time beside OpenVINO's benchmark_app and bare loops on the same file: is the bench right?

    python benchmarks/agreement.py           # about 6 minutes
    python benchmarks/agreement.py --quick   # about 1 minute, to try

The landmark student (MobileNetV2 at 224, random weights: time does not depend on them) in fp32 and int8. In each
round every contender has a fresh process, in an order drawn from a seed. Ours is the bench's own worker; the others
are benchmark_app as its wheel installs it, and loops of a few lines around the runtime alone. All have two threads, one
request at a time. Writes results/agreement.json with every contender's raw samples (benchmark_app tells only a
summary). Nothing else should run meanwhile; the file records the load.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
THREADS, SIZE, SAMPLES, SEED = 2, 224, 64, 0
WITHIN = 0.05
TARGETS = ("onnxruntime", "openvino")
OURS = "edgekd bench, infer"
APP = "benchmark_app -api sync"
LOOP = "bare loop"
ONE = "bare loop, one input again and again"
INSIDE = "bare loop, the runtime's own clock"
# What ours is held against, by target: the others explain a difference.
PEER = {"onnxruntime": LOOP, "openvino": APP}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds, to try")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--bare", nargs=5, help=argparse.SUPPRESS)  # target, file, feeds, seconds, one or all
    options = parser.parse_args()
    if options.bare:
        target, file, feeds, seconds, inputs = options.bare
        print(json.dumps(bare(target, Path(file), Path(feeds), float(seconds), inputs == "one")))
        return 0
    from edgekd.measuring.machine import busy_share, read_facts
    from edgekd.storage import write_text

    rounds, seconds = (2, 0.5) if options.quick else (5, 2.0)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = build(folder)
        busy = busy_share(1.0)
        found = measure(folder, files, rounds, seconds)
    results = {
        "created": started,
        "conditions": {
            "machine_title": read_facts().title,
            "machine": read_facts().model_dump(mode="json"),
            "busy_before": busy,
            "threads": THREADS,
            "batch": 1,
            "span": "infer",
            "rounds": rounds,
            "seconds": seconds,
            "seed": SEED,
            "quick": options.quick,
            "versions": versions(),
        },
        "contenders": found,
        "rows": rows(found),
        "per_call_us": per_call(),
    }
    write_text(options.results / "agreement.json", json.dumps(results) + "\n")
    print(section(results))
    return 0


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("edgekd", "onnxruntime", "openvino", "nncf", "torch", "numpy")}


def build(folder: Path) -> dict[str, Path]:
    """``TARGET-PRECISION`` -> its ONNX file; feeds.npz beside them. Each int8 has its own target's Q/DQ."""
    import torch

    from edgekd.conversion.to_onnx import export_onnx
    from edgekd.nn.folding import fold_batchnorm
    from edgekd.nn.quantization import quantize
    from edgekd.recipes.landmarks.models import mobilenet_v2
    from edgekd.registry import profile

    torch.manual_seed(SEED)
    fp32 = folder / "fp32.onnx"
    export_onnx(fold_batchnorm(mobilenet_v2(68)), io_spec(), fp32)
    rng = np.random.default_rng(SEED)
    feeds = rng.random((SAMPLES, 1, 3, SIZE, SIZE), dtype=np.float32)
    np.savez(folder / "feeds.npz", image=feeds)
    files = {}
    for target in TARGETS:
        files[f"{target}-fp32"] = fp32
        files[f"{target}-int8"] = folder / f"{target}-int8.onnx"
        samples = [{"image": image} for image in feeds[:32]]
        quantize(fp32, files[f"{target}-int8"], samples, profile(target).way)
    return files


def io_spec() -> Any:
    from edgekd.contracts import IoSpec, TensorSpec

    image = TensorSpec(name="image", shape=(1, 3, SIZE, SIZE))
    return IoSpec(inputs=(image,), outputs=(TensorSpec(name="landmarks", shape=(1, 136)),))


def measure(folder: Path, files: dict[str, Path], rounds: int, seconds: float) -> dict[str, dict[str, list[Any]]]:
    """File -> contender -> what each round gave: microseconds, or benchmark_app's summary."""
    runs: dict[tuple[str, str], Callable[[int], dict[str, Any]]] = {}
    for name, file in files.items():
        for contender, run in contenders(folder, name, file, seconds):
            runs[name, contender] = run
    found: dict[str, dict[str, list[Any]]] = {name: {} for name in files}
    rng = random.Random(SEED)
    for round_ in range(rounds):
        for name, contender in rng.sample(list(runs), len(runs)):
            print(f"round {round_ + 1} of {rounds}: {name}: {contender}", flush=True)
            for told, samples in runs[name, contender](round_).items():
                found[name].setdefault(told, []).append(samples)
    return found


def contenders(
    folder: Path, name: str, file: Path, seconds: float
) -> Iterator[tuple[str, Callable[[int], dict[str, Any]]]]:
    target, _, precision = name.partition("-")

    def loop(inputs: str) -> dict[str, Any]:
        command = [sys.executable, __file__, "--bare", target, str(file), str(folder / "feeds.npz"), str(seconds)]
        return dict(json.loads(run([*command, inputs])))

    yield OURS, lambda round_: {OURS: ours(folder, target, precision, file, seconds, round_)}
    yield LOOP, lambda round_: loop("all")
    yield ONE, lambda round_: {ONE: loop("one")[LOOP]}
    if target == "openvino":
        yield APP, lambda round_: {APP: app(file, seconds)}


def ours(folder: Path, target: str, precision: str, file: Path, seconds: float, round_: int) -> list[int]:
    """Microseconds of ``infer`` from the bench's own worker, which opens the file by ``open_artifact`` below."""
    from edgekd.measuring.processes import run_worker
    from edgekd.measuring.protocol import FULL_WARM_UP, Share
    from edgekd.measuring.worker import WorkerSpec

    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = run_worker(
        WorkerSpec(
            mode="latency",
            opener="agreement:open_artifact",
            path=str(file),
            profile=f"{target}-{precision}",
            threads=THREADS,
            seed=SEED + round_,
            share=Share(seconds, 64, "both"),
            warm_up=replace(FULL_WARM_UP, seconds=WARM_UP_S, cap_s=4.0),
            result=str(folder / "result.json"),
            spawned_ns=0,
        )
    )
    if result.latency is None:
        raise SystemExit(f"{file.name}: {result.error}")
    return list(result.latency.samples_us["infer"])


WARM_UP_S = 1.0


def app(file: Path, seconds: float) -> dict[str, float]:
    """benchmark_app's own summary in microseconds; it times the request inside the runtime, input already there."""
    command = [str(Path(sys.executable).with_name("benchmark_app")), "-m", str(file), "-d", "CPU", "-hint", "none"]
    command += ["-nstreams", "1", "-nthreads", str(THREADS), "-nireq", "1", "-api", "sync", "-infer_precision", "f32"]
    told = run([*command, "-t", str(max(1, round(seconds + WARM_UP_S)))])
    found = {"count": float(re.findall(r"Count:\s+(\d+)", told)[0])}
    for name in ("Median", "Average", "Min", "Max"):
        value, unit = re.findall(rf"{name}:\s+([\d.]+) (ms|us)", told)[0]
        found[name.lower()] = float(value) * (1e3 if unit == "ms" else 1)
    return found


def bare(target: str, file: Path, feeds: Path, seconds: float, one: bool) -> dict[str, list[int]]:
    """In a process of its own: microseconds of every call, and what the runtime itself counts where it does."""
    images = np.load(feeds)["image"]
    inputs = [{"image": np.ascontiguousarray(image)} for image in (images[:1] if one else images)]
    call, inside = {"onnxruntime": bare_onnxruntime, "openvino": bare_openvino}[target](file)
    taken: dict[str, list[int]] = {LOOP: [], INSIDE: []}
    for warm, limit in ((True, WARM_UP_S), (False, seconds)):
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < limit or count < 64:
            feed = inputs[count % len(inputs)]
            start = time.perf_counter_ns()
            call(feed)
            end = time.perf_counter_ns()
            count += 1
            if not warm:
                taken[LOOP].append(round((end - start) / 1e3))
                taken[INSIDE].append(round(inside()))
    return taken if target == "openvino" else {LOOP: taken[LOOP]}


def bare_onnxruntime(file: Path) -> tuple[Callable[[dict[str, Any]], Any], Callable[[], float]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return (lambda feed: session.run(None, feed)), (lambda: 0.0)


def bare_openvino(file: Path) -> tuple[Callable[[dict[str, Any]], Any], Callable[[], float]]:
    import openvino

    config = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": THREADS}
    request = openvino.Core().compile_model(file, "CPU", config).create_infer_request()
    return (lambda feed: request.infer(feed, share_inputs=True)), (lambda: 1e3 * request.latency)


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def median_us(round_: Any) -> float:
    return float(round_["median"] if isinstance(round_, dict) else np.median(round_))


def rows(found: dict[str, dict[str, list[Any]]]) -> list[dict[str, Any]]:
    """Ours over each other contender, round by round: median of the ratios, with a bootstrap interval over rounds."""
    from edgekd.measuring.statistics import paired_ratio

    table = []
    for name, by_contender in found.items():
        target = name.partition("-")[0]
        mine = [median_us(round_) for round_ in by_contender[OURS]]
        for contender, rounds in by_contender.items():
            medians = [median_us(round_) for round_ in rounds]
            row: dict[str, Any] = {"file": name, "contender": contender, "median_us": float(np.median(medians))}
            if contender != OURS:
                # One number a round, since benchmark_app tells no more: the interval is over rounds.
                nanoseconds = [[np.array([round(1e3 * us)]) for us in side] for side in (mine, medians)]
                ratio = paired_ratio(nanoseconds[0], nanoseconds[1], SEED)
                row |= {"ours_over_it": [ratio.value, ratio.low, ratio.high], "target": contender == PEER[target]}
            table.append(row)
    return table


def per_call() -> dict[str, float]:
    """What a session of ours adds to a call, in microseconds, on a model that does nothing: the least of batches,
    in turns with the runtime alone."""
    import onnx
    from onnx import TensorProto, helper

    from edgekd.contracts import Graph, IoSpec, Precision, TensorSpec
    from edgekd.registry import runtime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relu.onnx"
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy")
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
        x_, y_ = (TensorSpec(name=name, shape=(1, 8)) for name in "xy")
        io = IoSpec(inputs=(x_,), outputs=(y_,))
        feed = {"x": np.ones((1, 8), np.float32)}
        calls = {}
        for target, loop in (("onnxruntime", bare_onnxruntime), ("openvino", bare_openvino)):
            session = runtime(target).load(Graph(path, io, Precision.FP32, {"threads": THREADS}))
            calls[f"{target}, edgekd session"] = session.run
            calls[f"{target}, bare"] = loop(path)[0]
        least = dict.fromkeys(calls, float("inf"))
        for _ in range(40):
            for name, call in calls.items():
                start = time.perf_counter_ns()
                for _ in range(200):
                    call(feed)
                least[name] = min(least[name], (time.perf_counter_ns() - start) / 200 / 1e3)
    return least


def fastest_us(rounds: list[Any]) -> float:
    """Of all runs of all rounds; of benchmark_app only a summary is known."""
    return min(found["min"] if isinstance(found, dict) else min(found) for found in rounds)


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    lines = [
        "## `python benchmarks/agreement.py`: our figure beside benchmark_app's and a bare loop's",
        "",
        "| file | contender | median, ms | ours / it | asked | | fastest call, ms | ours / it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        found = results["contenders"][row["file"]]
        fastest = fastest_us(found[row["contender"]])
        cells = [row["file"], row["contender"], f"{row['median_us'] / 1e3:.3f}", "", "", "", f"{fastest / 1e3:.3f}", ""]
        if "ours_over_it" in row:
            value, low, high = row["ours_over_it"]
            cells[3] = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            cells[7] = f"{fastest_us(found[OURS]) / fastest:.3f}"
            if row["target"]:
                cells[4] = f"within {WITHIN:.0%}"
                cells[5] = "reached" if abs(value - 1) <= WITHIN else "**missed**"
        lines.append(f"| {' | '.join(cells)} |")
    calls = results["per_call_us"]
    shown = "; ".join(f"{name} {us:.1f} µs" for name, us in calls.items())
    c = results["conditions"]
    stated = ", ".join(f"{name} {version}" for name, version in c["versions"].items())
    lines += [
        "",
        "benchmark_app times the request inside the runtime, with an input that stays where it is: so does the bare "
        "loop's row of the runtime's own clock. Ours counts from named arrays in to named arrays out, over 64 inputs "
        f"in rotation. One call on a model that does nothing: {shown}. On a shared machine whole processes are slower "
        "or faster than their neighbours, so the medians' intervals are wide; the fastest calls tell what the loops "
        "themselves cost.",
        "",
        f"Measured {results['created'][:10]} on {c['machine_title']}; {c['threads']} threads, batch {c['batch']}, "
        f"span {c['span']}; {c['rounds']} rounds, in each a fresh process for every contender in seeded order, "
        f"{c['seconds']:g} s each after {WARM_UP_S:g} s of warm-up; medians of the rounds' medians, 95 % bootstrap "
        f"intervals over rounds; {c['busy_before']:.0%} of the machine busy before. {stated}.",
        "",
    ]
    return "\n".join(lines)


def open_artifact(path: str, profile: str | None, threads: int | None) -> Any:
    """What the bench's worker opens: an ONNX file, its target and precision in ``profile`` (``openvino-int8``)."""
    return _File(Path(path), profile or "", threads or THREADS)


class _File:
    """``edgekd.measuring.artifact.Artifact`` of a bare file: no pipeline, inputs are feeds."""

    def __init__(self, path: Path, kind: str, threads: int) -> None:
        from edgekd.contracts import Graph, Precision
        from edgekd.storage import sha256_file

        self.name, self.profile = kind, "default"
        self.target, _, self.precision = kind.partition("-")
        self.io, self.options = io_spec(), {"threads": threads}
        self.graph = Graph(path, self.io, Precision(self.precision), self.options)
        self.sha256, self.size_bytes = sha256_file(path), path.stat().st_size
        self.parameters_bytes = self.size_bytes
        self.graph_name, self.graphs_bytes = "main", {"main": self.size_bytes}
        self.versions: dict[str, str] = {}

    def import_runtime(self) -> None:
        __import__(self.target)

    def load(self) -> Any:
        from edgekd.registry import runtime

        return runtime(self.target).load(self.graph)

    def pipeline(self) -> None:
        return None

    def inputs(self) -> list[dict[str, Any]]:
        images = np.load(self.graph.path.with_name("feeds.npz"))["image"]
        return [{"image": np.ascontiguousarray(image)} for image in images]


if __name__ == "__main__":
    raise SystemExit(main())
