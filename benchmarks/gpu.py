"""Students and teachers on an NVIDIA GPU: PyTorch in every way that it has, and TensorRT.

    python benchmarks/gpu.py [--quick] [--only landmarks]

For each recipe's student and its teacher, batch 1, random weights, which times do not depend on: torch eager in fp32
(TF32 off), channels-last, fp16 and bf16 autocast, torch.compile, a CUDA graph; TensorRT in fp16 where a flavour of it
is installed that knows this GPU. All are measured in one process, in turns, by the wall clock with the device
synchronized and by CUDA events. The try-on student also by its paper's own protocol. Then images per second of the
landmarks recipe's distillation on this GPU and on the CPU. Writes results/gpu.json, raw samples included, which names
the hardware. Without an NVIDIA GPU it says so and ends with 4.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
RECIPES = ("landmarks", "hypergraph", "tryon", "streaming")
SIZED_BY_DATA = ("hypergraph",)  # their io specs are known once their data is
BLOCK = 10  # runs of one contender before it is the next one's turn
PAPER_RUNS = 1000  # DM-VTON, exp/runtime: the mean of so many, after a warm-up
ROWS = 16  # of what takes any number of rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="recipes whose name holds this")
    parser.add_argument("--quick", action="store_true", help="short: to see that it works")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()

    from edgekd.errors import EdgekdError

    try:
        device = gpu()
    except EdgekdError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.code)

    from edgekd.storage import write_json

    seconds = 2.0 if options.quick else 30.0
    rows: list[dict[str, Any]] = []
    for name, module, io in subjects(options.only):
        print(name, flush=True)
        rows += compare(name, module, io, seconds)
        if name == "tryon student":
            rows.append({"name": name, "how": "its paper's protocol", **by_the_paper(module, io, options.quick)})
    results = {
        "conditions": conditions(device, options.quick),
        "rows": rows,
        "distillation": [distillation(kind) for kind in ("gpu", "cpu")] if not options.only else [],
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "gpu.json", results)
    print(section(results))
    return 0


def gpu() -> Any:
    """The GPU, as the driver names it.

    Raises:
        MachineError: no driver, no GPU, or a PyTorch that was built without CUDA.
    """
    import torch

    from edgekd.errors import MachineError
    from edgekd_targets.tensorrt.cuda import first_device

    device = first_device()
    if not torch.cuda.is_available():
        fix = "install a CUDA build of torch"
        raise MachineError(f"torch {torch.__version__} does not use {device.name}", "it sees no CUDA device", fix)
    return device


# --- what is measured --------------------------------------------------------------------------------------------


def subjects(only: str) -> Iterator[tuple[str, Any, Any]]:
    """(name, module, io spec) of each recipe's student and, where a picture alone is fed to it, its teacher."""
    from edgekd.config import resolve
    from edgekd.registry import recipe_part, recipes

    for name in RECIPES:
        if only not in name or name not in recipes():
            continue
        config = resolve(name)
        recipe = recipe_part(name, "recipe").Recipe(config)
        if name in SIZED_BY_DATA:
            with tempfile.TemporaryDirectory(prefix="edgekd-") as cache:
                recipe.datasets(Path(cache), lambda what, share: None)
        io = recipe.io_spec()
        yield f"{name} student", recipe.student(io).eval(), io
        teacher = TEACHERS.get(name)
        if teacher is not None:
            yield f"{name} teacher", teacher(config).eval(), teacher_io(io)


def landmarks_teacher(config: Any) -> Any:
    from edgekd.recipes.landmarks.models import efficientnet

    return efficientnet(config.data.points)


def streaming_teacher(config: Any) -> Any:
    from edgekd.recipes.streaming.classes import CLASSES
    from edgekd.recipes.streaming.models import StillDetector

    return StillDetector(config.teacher, len(CLASSES))


def tryon_teacher(config: Any) -> Any:
    from torch import nn

    from edgekd.recipes.tryon.recipe import Recipe
    from edgekd.recipes.tryon.teacher import CONDITION, Teacher

    height, width = Recipe(config).size

    class Whole(nn.Module):
        """The teacher with all that it sees made of the student's three inputs: times do not depend on it."""

        def __init__(self) -> None:
            super().__init__()
            self.teacher = Teacher(config.teacher.width, (height, width))

        def forward(self, person: Any, clothes: Any, clothes_edge: Any) -> Any:
            condition = clothes_edge.expand(-1, CONDITION, -1, -1)
            batch = {"condition": condition, "clothes": clothes, "clothes_edge": clothes_edge}
            return tuple(self.teacher.outputs({**batch, "preserve": person, "dense_preserve": clothes_edge}))

    return Whole()


# HGNN needs the hypergraph of a data set: benchmarks/hypergraph_speed.py measures it.
TEACHERS: dict[str, Callable[[Any], Any]] = {
    "landmarks": landmarks_teacher, "streaming": streaming_teacher, "tryon": tryon_teacher,
}  # fmt: skip


def teacher_io(io: Any) -> Any:
    """What a teacher is fed: the student's inputs without what it carries from call to call."""
    from edgekd.contracts import IoSpec

    return IoSpec(inputs=io.fed, outputs=io.given)


def example(io: Any, device: str) -> list[Any]:
    """Random inputs, within the ranges of the io spec."""
    import torch

    made = []
    for spec in io.inputs:
        low, high = spec.range or (0.0, 1.0)
        shape = [ROWS if isinstance(axis, str) else axis for axis in spec.shape]
        made.append((torch.rand(shape) * (high - low) + low).to(device))
    return made


# --- how it is run -----------------------------------------------------------------------------------------------


def contenders(module: Any, inputs: list[Any]) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Name -> what makes a call without arguments. Each has weights of its own where it changes them."""
    import copy

    import torch

    def eager() -> Callable[[], Any]:
        return lambda: module(*inputs)

    def channels_last() -> Callable[[], Any]:
        arranged = copy.deepcopy(module).to(memory_format=torch.channels_last)
        given = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
        return lambda: arranged(*given)

    def autocast(dtype: Any) -> Callable[[], Any]:
        def call() -> Any:
            with torch.autocast(inputs[0].device.type, dtype):
                return module(*inputs)

        return call

    def compiled() -> Callable[[], Any]:
        made = torch.compile(copy.deepcopy(module))
        return lambda: made(*inputs)

    def cuda_graph() -> Callable[[], Any]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                module(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            module(*inputs)
        return graph.replay

    return {
        "torch eager fp32": eager,
        "torch channels-last fp32": channels_last,
        "torch fp16": lambda: autocast(torch.float16),
        "torch bf16": lambda: autocast(torch.bfloat16),
        "torch compile fp32": compiled,
        "torch CUDA graph fp32": cuda_graph,
    }


def compare(name: str, module: Any, io: Any, seconds: float) -> list[dict[str, Any]]:
    """A row per contender; one that fails has the reason in its row."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    exported = copy_on_cpu(module)
    module = module.to("cuda")
    inputs = example(io, "cuda")
    rows: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], Any]] = {}
    device_ms: dict[str, Callable[[], float]] = {}
    with torch.inference_mode():
        for how, make in contenders(module, inputs).items():
            rows[how] = {"name": name, "how": how}
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            try:
                calls[how] = make()
                calls[how]()
                torch.cuda.synchronize()
            except Exception as error:  # whatever PyTorch raises belongs into the table
                calls.pop(how, None)
                rows[how]["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
                continue
            rows[how]["peak_bytes"] = torch.cuda.max_memory_allocated()
        how = "TensorRT fp16"
        rows[how] = {"name": name, "how": how}
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            session, facts = tensorrt_session(exported, io, Path(folder))
        rows[how] |= facts
        if session is not None:
            feeds = {spec.name: value.cpu().numpy() for spec, value in zip(io.inputs, inputs, strict=True)}
            calls[how] = lambda: session.run(feeds)
            device_ms[how] = lambda: session.device_ms
        for how, samples in measure(calls, device_ms, seconds).items():
            rows[how] |= samples | {"median_ms": median(samples["wall_ms"])}
            rows[how]["median_device_ms"] = median(samples["device_ms"])
    return list(rows.values())


def copy_on_cpu(module: Any) -> Any:
    import copy

    return copy.deepcopy(module).cpu()


def tensorrt_session(module: Any, io: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The student or teacher in TensorRT's fp16, by whichever flavour knows this GPU; or the reason why not."""
    import numpy as np

    from edgekd.contracts import Graph, Precision, Source
    from edgekd.conversion.to_onnx import export_onnx
    from edgekd.errors import EdgekdError
    from edgekd.nn.folding import fold_batchnorm
    from edgekd.registry import profile
    from edgekd_targets.tensorrt import build, runtime
    from edgekd_targets.tensorrt.cuda import first_device

    class Feeds(list[Any]):
        sha256 = ""

    feeds = Feeds([{s.name: np.asarray(x) for s, x in zip(io.inputs, example(io, "cpu"), strict=True)}])
    reasons = []
    for flavour in ("rtx", "h200"):  # a profile of either flavour, for the GPU that is here
        chosen = profile(f"tensorrt/{flavour}")
        here = {**chosen.build, "compute_capabilities": [first_device().capability]}
        chosen = chosen.model_copy(update={"build": here})
        out = folder / flavour
        out.mkdir()
        try:
            export_onnx(fold_batchnorm(module), io, out / "canonical.onnx")
            built = build.build(Source(out / "canonical.onnx", io), chosen, Precision.FP16, feeds, out)
            session = runtime.load(Graph(built.entry, io, Precision.FP16, chosen.options, built.engine))
            session.run(feeds[0])
        except EdgekdError as error:
            reasons.append(f"{flavour}: {error.what} ({error.why})")
            continue
        facts = {"load_ms": session.load_ms, "compile_ms": session.compile_ms, "first_ms": session.first_ms}
        return session, {**facts, "engine_bytes": built.entry.stat().st_size, "device_bytes": session.device_bytes}
    return None, {"error": "; ".join(reasons)}


def measure(
    calls: dict[str, Callable[[], Any]], device_ms: dict[str, Callable[[], float]], seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Wall and device milliseconds of every run, in blocks that take turns, after a warm-up of each."""
    import torch

    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    found: dict[str, dict[str, list[float]]] = {how: {"wall_ms": [], "device_ms": []} for how in calls}
    warm_until = {how: min(3.0, seconds / 4) for how in calls}
    for how, call in calls.items():
        began, runs = time.perf_counter(), 0
        while time.perf_counter() - began < warm_until[how] or runs < BLOCK:
            call()
            torch.cuda.synchronize()
            runs += 1
    began = time.perf_counter()
    while time.perf_counter() - began < seconds * len(calls):
        for how, call in calls.items():
            for _ in range(BLOCK):
                torch.cuda.synchronize()
                clock = time.perf_counter_ns()
                start.record()
                call()
                stop.record()
                torch.cuda.synchronize()
                found[how]["wall_ms"].append((time.perf_counter_ns() - clock) / 1e6)
                # A session of TensorRT has a stream and events of its own.
                own = device_ms.get(how)
                found[how]["device_ms"].append(own() if own else start.elapsed_time(stop))
    return found


def by_the_paper(module: Any, io: Any, quick: bool) -> dict[str, Any]:
    """DM-VTON's own: batch 1, fp32, eager, random pictures, synchronized around forward, the mean of 1000."""
    import torch

    module, inputs = module.to("cuda"), example(io, "cuda")
    samples = []
    with torch.inference_mode():
        for index in range(10 + (50 if quick else PAPER_RUNS)):
            torch.cuda.synchronize()
            clock = time.perf_counter_ns()
            module(*inputs)
            torch.cuda.synchronize()
            if index >= 10:
                samples.append((time.perf_counter_ns() - clock) / 1e6)
    mean = sum(samples) / len(samples)
    return {"mean_ms": mean, "frames_per_second": 1000 / mean, "wall_ms": samples}


def distillation(accelerator: str) -> dict[str, Any]:
    """Images per second of every stage of the landmarks recipe's quick preset."""
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "edgekd", "distill", "landmarks", "--preset", "quick", "--out", str(run), "-q"]
        done = subprocess.run([*command, "--accelerator", accelerator], capture_output=True, text=True, check=False)
        if done.returncode:
            return {"accelerator": accelerator, "error": (done.stderr.strip().splitlines() or [""])[-1]}
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    stages = {stage["name"]: stage["images_per_second"] for stage in record["stages"]}
    return {"accelerator": accelerator, "images_per_second": stages}


def conditions(device: Any, quick: bool) -> dict[str, Any]:
    from importlib.metadata import version

    import torch

    from edgekd.measuring.machine import read_facts
    from edgekd_targets.tensorrt import runtime

    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "gpu": device.name,
        "capability": device.capability,
        "driver_cuda": device.driver,
        "memory_bytes": torch.cuda.get_device_properties(0).total_memory,
        "machine": read_facts().title,
        "quick": quick,
        "tensorrt": runtime.probe().version or "not installed",
        "versions": {name: version(name) for name in ("edgekd", "torch")} | {"cuda": str(torch.version.cuda)},
    }


# --- the page ----------------------------------------------------------------------------------------------------


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    c = results["conditions"]
    lines = [
        "## `python benchmarks/gpu.py`: what it shows",
        "",
        f"{c['gpu']} ({c['capability']}), {c['memory_bytes'] / 2**30:.0f} GiB, CUDA {c['driver_cuda']}; "
        f"{c['machine']}; torch {c['versions']['torch']}, {c['tensorrt']}; {c['made'][:10]}. Batch 1, medians; "
        "device: between CUDA events, TensorRT's copies included.",
        "",
        "| model | how | ms | device ms | peak MB | |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        if "mean_ms" in row:
            said = f"{row['frames_per_second']:.1f} frames/s"
            lines.append(f"| {row['name']} | {row['how']} | {row['mean_ms']:.2f} (mean) | | | {said} |")
        elif "error" in row:
            lines.append(f"| {row['name']} | {row['how']} | | | | {row['error']} |")
        else:
            peak = f"{row.get('peak_bytes', row.get('device_bytes', 0)) / 1e6:.0f}"
            start = (
                f"loaded in {row['load_ms']:.0f} ms, compiled in {row['compile_ms']:.0f}" if "load_ms" in row else ""
            )
            figures = f"{row['median_ms']:.2f} | {row['median_device_ms']:.2f} | {peak}"
            lines.append(f"| {row['name']} | {row['how']} | {figures} | {start} |")
    if results["distillation"]:
        lines += ["", "| landmarks, preset quick | images/s |", "|---|---|"]
        for row in results["distillation"]:
            stages = row.get("images_per_second", {})
            said = ", ".join(f"{stage} {rate:.0f}" for stage, rate in stages.items()) or row["error"]
            lines.append(f"| {row['accelerator']} | {said} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    raise SystemExit(main())
