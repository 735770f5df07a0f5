"""How much faster the try-on student runs when a profile chooses the form of its blocks.

    python benchmarks/tryon_speed.py                 # about 15 minutes, 6 GB
    python benchmarks/tryon_speed.py --run RUN       # the weights of a trained run instead of random ones
    python benchmarks/tryon_speed.py --quick         # fewer contenders, short

The paper's student at 256x192, batch 1, built by the targets' own builders from the plain profile and the default one,
whose ``[lowerings]`` are the only difference, at each precision; PyTorch eager beside them. Two ways to run: one
graph (person and garment in), and the live mirror, whose garment's maps are held from frame to frame. All contenders
run in one process, in turns. The machine's peak is measured among them: a chain of 256-channel 3x3 convolutions, the
layer that the student spends most on, in each type.

Random weights tell time as well as trained ones do; they are woken (residual branches not zero, offsets of some
pixels), so that nothing is multiplied by zero and warps look where they would. Precision they cannot tell.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import registry
from edgekd.contracts import Arrays, Calibration, Graph, IoSpec, Precision, Source, TensorSpec
from edgekd.measuring.machine import busy_share, read_facts
from edgekd.measuring.race import RaceResult, race, time_ratio
from edgekd.storage import write_json

HERE = Path(__file__).parent
THREADS = 2
HEIGHT, WIDTH = 256, 192
SAMPLES = 8  # feeds in rotation; the same calibrate int8
# (target, precision, way to place int8) of each profile
PLAIN = (("openvino", "fp32", ""), ("openvino", "bf16", ""), ("openvino", "int8", "nncf"), ("onnxruntime", "fp32", ""))
FAST = (
    ("openvino", "fp32", ""), ("openvino", "bf16", ""), ("openvino", "int8", "nncf"),
    ("openvino", "int8", "nncf-large"), ("onnxruntime", "fp32", ""), ("onnxruntime", "int8", ""),
)  # fmt: skip
WAYS = {"main": "one graph", "frame": "live mirror"}
BASE = "openvino bf16 plain, one graph"
TARGETS = {"one graph": 2.5, "live mirror": 3.5}  # times faster than BASE
PEAK_CHANNELS, PEAK_LAYERS, PEAK_SIZE = 256, 4, (64, 48)
PEAKS = ("fp32", "bf16", "int8")
PAPER_MB = 37.8


class Samples(list[Arrays]):
    """Feeds that calibrate: all of them."""

    sha256 = "0" * 64


class Held:
    """A live mirror's frame graph: what the garment graph gave is fed with every picture of the person."""

    def __init__(self, session: Any, held: Arrays) -> None:
        self.session, self.held = session, held

    def run(self, feeds: Arrays) -> Any:
        return self.session.run({"person": feeds["person"], **self.held})

    def reset(self) -> None:
        """No state."""


class Fixed:
    """A session that is always fed the same: the peak's."""

    def __init__(self, session: Any, feeds: Arrays) -> None:
        self.session, self.feeds = session, feeds

    def run(self, feeds: Arrays) -> Any:
        return self.session.run(self.feeds)

    def reset(self) -> None:
        """No state."""


class Eager:
    """PyTorch, as the student is trained."""

    def __init__(self, module: Any, io: IoSpec) -> None:
        self.module, self.io = module, io

    def run(self, feeds: Arrays) -> Any:
        import torch

        with torch.inference_mode():
            return self.module(*(torch.from_numpy(feeds[t.name]) for t in self.io.inputs))

    def reset(self) -> None:
        """No state."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a trained run of the tryon recipe")
    parser.add_argument("--quick", action="store_true", help="nothing is written unless --results says where")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(measure_memory(json.loads(options.memory_of))))
        return 0
    import torch

    torch.set_num_threads(THREADS)
    busy = busy_share(1.0)
    with tempfile.TemporaryDirectory() as temporary:
        results = measure(Path(temporary), options.run, options.quick)
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "conditions": conditions(busy, options.run),
        **results,
    }
    folder = options.results or (None if options.quick else HERE / "results")
    if folder is not None:
        write_json(folder / "tryon_speed.json", results)
    print(section(results))
    return 0


def measure(folder: Path, run: Path | None, quick: bool) -> dict[str, Any]:
    student, recipe, io = make_student(run)
    feeds = samples(io)
    sessions: dict[str, Any] = {}
    graphs: dict[str, tuple[str, Graph]] = {}
    macs: dict[str, int] = {}
    size: dict[str, int] = {}
    for profile, contenders in (("plain", PLAIN), ("default", FAST)):
        for target, precision, way in contenders:
            if quick and target != "openvino":
                continue
            built, multiplied = build(student, recipe, io, feeds, f"{target}/{profile}", precision, way, folder)
            form = "plain" if profile == "plain" else "fast"
            kind = f"{precision}{' large' if way.endswith('large') else ''}"
            for graph in WAYS:
                name = f"{target} {kind} {form}, {WAYS[graph]}"
                graphs[name] = (target, built[graph])
                size[name] = sum(f.stat().st_size for f in files(built[graph].path))
            one, live = (f"{target} {kind} {form}, {way_}" for way_ in WAYS.values())
            load = registry.runtime(target).load
            sessions[one] = load(built["main"])
            held = load(built["garment"]).run({k: feeds[0][k] for k in ("clothes", "clothes_edge")})
            sessions[live] = Held(load(built["frame"]), held)
            macs |= {one: multiplied["main"], live: multiplied["frame"]}
            print(f"built {one}", flush=True)
    if not quick:
        sessions["torch eager fp32, one graph"] = Eager(student, io)
    peak_macs = PEAK_LAYERS * PEAK_CHANNELS**2 * 9 * PEAK_SIZE[0] * PEAK_SIZE[1]
    for precision in PEAKS:
        sessions[f"peak {precision}"] = peak(precision, folder)
    rounds, budget = (5, 60.0) if quick else (20, 300.0)
    found = race(sessions, feeds, rounds=rounds, block=2, budget_s=budget)
    peaks = {p: peak_macs / (found[f"peak {p}"].median_ms * 1e6) for p in PEAKS}
    return {
        "peak_gmacs_per_s": peaks,
        "rows": [
            row(name, found, macs, size, peaks, macs[f"{BASE.partition(',')[0]}, {way}"])
            for way in WAYS.values()
            for name in found
            if name.endswith(way)
        ],
        "memory": {name: peak_memory(*graphs[name]) for name in found if name in graphs},
        "profiles": {name: layers(graphs[name], sessions[name], feeds) for name in profiled(found)},
        "differences": differences(sessions, student, io, feeds[0]),
    }


def make_student(run: Path | None) -> tuple[Any, Any, IoSpec]:
    """The student with BatchNorm folded, its recipe and its io spec."""
    import torch
    from torch import nn

    from edgekd import config
    from edgekd.nn.folding import fold_batchnorm
    from edgekd.recipes.weights import load_weights
    from edgekd.run import open_run

    recipes = registry.recipe_part("tryon", "recipe")
    if run is not None:
        opened = open_run(run)
        recipe = recipes.Recipe(config.restore("tryon", opened.record.config, str(run)))
        student = recipe.student(opened.record.io)
        load_weights(student, opened.weights)
        return fold_batchnorm(student.eval()), recipe, opened.record.io
    recipe = recipes.Recipe(config.resolve("tryon", settings=[f"height={HEIGHT}", f"width={WIDTH}"]))
    io = recipe.io_spec()
    student = recipe.student(io).eval()
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
                module.weight.fill_(0.5)
        for head in (*student.warping.flow.main, *student.warping.flow.refine):
            head.last.weight.mul_(30)
    return fold_batchnorm(student), recipe, io


def samples(io: IoSpec) -> Samples:
    """Smooth pictures and a garment's mask; what they show matters to no one here."""
    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(0)
    height, width = (int(axis) for axis in io.inputs[0].shape[2:])

    def smooth(channels: int) -> torch.Tensor:
        coarse = torch.randn(1, channels, height // 16, width // 16, generator=generator)
        return F.interpolate(coarse, (height, width), mode="bicubic").clamp(-1, 1)

    found = Samples()
    for _ in range(SAMPLES):
        edge = (smooth(1) > -0.3).float()
        person, clothes = smooth(3), smooth(3) * edge
        found.append({"person": person.numpy(), "clothes": clothes.numpy(), "clothes_edge": edge.numpy()})
    return found


def build(
    student: Any, recipe: Any, io: IoSpec, feeds: Samples, spec: str, precision: str, way: str, folder: Path
) -> tuple[dict[str, Graph], dict[str, int]]:
    """``main``, ``garment`` and ``frame``, as export builds them, and the multiply-accumulates of each."""
    import onnx

    from edgekd.conversion.to_onnx import export_onnx
    from edgekd.nn.lowering import lower
    from edgekd.nn.onnx_graph import macs_by_node
    from edgekd.nn.onnx_reference import OnnxReference

    profile = registry.profile(spec)
    if way:
        profile = profile.only(next(w for w in profile.quantization if w.get("name") == way))
    lowered = lower(student, profile.lowerings)
    garment: dict[str, Any] = {}
    built: dict[str, Graph] = {}
    multiplied: dict[str, int] = {}
    for name, (module, own) in {"main": (lowered, io), **recipe.graphs(lowered, io)}.items():
        source = folder / f"{spec.replace('/', '-')}-{name}.onnx"
        if not source.exists():
            export_onnx(module, own, source)
        multiplied[name] = sum(macs_by_node(onnx.load(source)).values())
        fed: Calibration = Samples({t.name: {**f, **garment}[t.name] for t in own.inputs} for f in feeds)
        if name == "garment":
            garment = OnnxReference(source, own).run(next(iter(fed)))
        out = folder / f"{spec.replace('/', '-')}-{precision}-{way}-{name}"
        out.mkdir()
        made = registry.builder(profile.target).build(
            Source(source, own, module), profile, Precision(precision), fed, out
        )
        built[name] = Graph(made.entry, own, Precision(precision), {**profile.options, "threads": THREADS})
    return built, multiplied


MEMORY_RUNS = 3


def peak_memory(target: str, graph: Graph) -> dict[str, int]:
    """Bytes resident in a process of its own that loads one graph and runs it: what it added to the runtime's own."""
    asked = {
        "target": target, "path": str(graph.path), "io": graph.io.model_dump(mode="json"),
        "precision": str(graph.precision.value), "options": dict(graph.options),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), "--memory-of", json.dumps(asked)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout)
    return found


def measure_memory(asked: dict[str, Any]) -> dict[str, int]:
    """In the process of its own. A graph of one addition loads the runtime before, so that it is not counted."""
    from edgekd.measuring.memory import forget_high_water, high_water_bytes, resident_bytes

    io = IoSpec.model_validate(asked["io"])
    load = registry.runtime(asked["target"]).load
    rng = np.random.default_rng(0)
    feeds = {t.name: rng.random([int(axis) for axis in t.shape], np.float32) for t in io.inputs}
    with tempfile.TemporaryDirectory() as folder:
        load(tiny(asked["target"], Path(folder))).run({"x": np.zeros((1, 1), np.float32)})
        forget_high_water()
        before = resident_bytes()
        session = load(Graph(Path(asked["path"]), io, Precision(asked["precision"]), asked["options"]))
        for _ in range(MEMORY_RUNS):
            session.run(feeds)
        return {"peak": high_water_bytes() - before, "after": resident_bytes() - before, "runtime": before}


def tiny(target: str, folder: Path) -> Graph:
    import torch

    from edgekd.conversion.to_onnx import export_onnx

    io = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 1)),), outputs=(TensorSpec(name="y", shape=(1, 1)),))
    source, out = folder / "tiny.onnx", folder / "tiny"
    export_onnx(torch.nn.Linear(1, 1), io, source)
    out.mkdir()
    profile = registry.profile(f"{target}/plain")
    made = registry.builder(target).build(Source(source, io), profile, Precision.FP32, Samples(), out)
    return Graph(made.entry, io, Precision.FP32, {**profile.options, "threads": THREADS})


def files(entry: Path) -> list[Path]:
    """What the runtime reads: an IR has its weights beside it."""
    return [entry, entry.with_suffix(".bin")] if entry.suffix == ".xml" else [entry]


def peak(precision: str, folder: Path) -> Fixed:
    """Convolutions of the student's most expensive kind, one after the other."""
    import torch
    from torch import nn

    from edgekd.conversion.to_onnx import export_onnx

    torch.manual_seed(0)
    shape = (1, PEAK_CHANNELS, *PEAK_SIZE)
    io = IoSpec(inputs=(TensorSpec(name="x", shape=shape),), outputs=(TensorSpec(name="y", shape=shape),))
    layers = [nn.Conv2d(PEAK_CHANNELS, PEAK_CHANNELS, 3, padding=1) for _ in range(PEAK_LAYERS)]
    module = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    source, out = folder / "peak.onnx", folder / f"peak-{precision}"
    export_onnx(module, io, source)
    out.mkdir()
    feeds = {"x": torch.rand(shape).numpy()}
    profile = registry.profile("openvino/plain")
    profile = profile.only(profile.quantization[0])
    made = registry.builder("openvino").build(Source(source, io), profile, Precision(precision), Samples([feeds]), out)
    graph = Graph(made.entry, io, Precision(precision), {**profile.options, "threads": THREADS})
    return Fixed(registry.runtime("openvino").load(graph), feeds)


def row(
    name: str,
    found: Mapping[str, RaceResult],
    macs: Mapping[str, int],
    size: Mapping[str, int],
    peaks: Mapping[str, float],
    plain_macs: int,
) -> dict[str, Any]:
    result = found[name]
    over = {}
    for label, base in (("bf16", BASE), ("fp32", BASE.replace("bf16", "fp32"))):
        ratio = time_ratio(found[base], result)
        over[label] = [ratio.value, ratio.low, ratio.high]
    precision = name.split()[1] if name.split()[1] in peaks else "fp32"
    at_peak_ms = {"done": macs.get(name, plain_macs), "asked": plain_macs}
    return {
        "name": name,
        "median_ms": result.median_ms,
        "fastest_ms": min(int(min(block)) for block in result.blocks_ns) / 1e6,
        "blocks_ns": [list(map(int, block)) for block in result.blocks_ns],
        "gmacs": macs.get(name, plain_macs) / 1e9,
        "file_bytes": size.get(name),
        "faster_than_plain": over,
        # of what the graph multiplies, and of what the plain graph would have had to
        "share_of_peak": {k: v / (peaks[precision] * 1e9) / (result.median_ms / 1e3) for k, v in at_peak_ms.items()},
    }


def profiled(found: Mapping[str, RaceResult]) -> tuple[str, ...]:
    """Before: the baseline in fp32 and bf16. After: the fastest way to run one graph, and fp32."""
    fast = [name for name in found if " fast, one graph" in name]
    best = min(fast, key=lambda name: found[name].median_ms)
    chosen = (BASE.replace("bf16", "fp32"), BASE, "openvino fp32 fast, one graph", best)
    return tuple(dict.fromkeys(name for name in chosen if name in found))


def layers(graph: tuple[str, Graph], session: Any, feeds: Samples) -> dict[str, Any]:
    """Milliseconds by kind of layer and kernel, and the dearest layers, from the runtime's own counters."""
    found = registry.runtime(graph[0]).profile_layers(graph[1], feeds[:2])
    kinds: Counter[str] = Counter()
    for _, kind, ms in found:
        kinds[kind] += ms
    return {"layers": len(found), "kinds": kinds.most_common(10), "dearest": found[:10]}


def differences(sessions: Mapping[str, Any], student: Any, io: IoSpec, feeds: Arrays) -> dict[str, dict[str, float]]:
    """Largest difference of each fp32 contender from PyTorch, by output. Other types: on trained weights, by export."""
    wanted = dict(zip((t.name for t in io.outputs), Eager(student, io).run(feeds), strict=True))
    return {
        name: {key: float(np.abs(value - wanted[key].numpy()).max()) for key, value in session.run(feeds).items()}
        for name, session in sessions.items()
        if " fp32 " in name and name.endswith("one graph") and not name.startswith("torch")
    }


def conditions(busy: float, run: Path | None) -> dict[str, Any]:
    from importlib.metadata import version

    facts = read_facts()
    return {
        "machine_title": facts.title,
        "machine": facts.model_dump(mode="json"),
        "busy_before": busy,
        "threads": THREADS,
        "size": [HEIGHT, WIDTH],
        "weights": "random" if run is None else "trained",
        "versions": {name: version(name) for name in ("edgekd", "torch", "onnxruntime", "openvino", "nncf", "numpy")},
    }


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    facts, peaks = results["conditions"], results["peak_gmacs_per_s"]
    lines = [
        "## `python benchmarks/tryon_speed.py`: what it shows",
        "",
        f"{facts['machine_title']}, {facts['threads']} threads, batch 1, {facts['size'][0]}x{facts['size'][1]}, "
        f"{facts['weights']} weights; all in one process, in turns; medians, and ratios of pairs with their 95 % "
        "interval. Measured peak, a chain of 256-channel 3x3 convolutions through OpenVINO: "
        + ", ".join(f"{value:.0f} GMAC/s in {name}" for name, value in peaks.items())
        + ". *Share of peak* counts what the graph multiplies; in brackets, what the plain graph would have.",
        "",
    ]
    for way, least in TARGETS.items():
        rows = sorted((r for r in results["rows"] if r["name"].endswith(way)), key=lambda r: r["median_ms"])
        best = max((r["faster_than_plain"]["bf16"] for r in rows), key=lambda ratio: ratio[0])
        verdict = "reached" if best[1] >= least else "**missed**"
        lines += [
            f"**{way.capitalize()}**, asked ≥ {least:g}x over the plain export through OpenVINO in bf16, one graph: "
            f"{_ratio(best)}, {verdict}.",
            "",
            "| contender | ms | frames/s | over plain bf16 | over plain fp32 | GMAC | share of peak | file MB | peak |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for r in rows:
            share, size = r["share_of_peak"], r["file_bytes"]
            lines.append(
                f"| {r['name'].partition(',')[0]} | {r['median_ms']:.1f} | {1e3 / r['median_ms']:.1f} | "
                f"{_ratio(r['faster_than_plain']['bf16'])} | {_ratio(r['faster_than_plain']['fp32'])} | "
                f"{r['gmacs']:.1f} | {share['done']:.0%} ({share['asked']:.0%}) | "
                f"{'' if size is None else f'{size / 1e6:.1f}'} | {_peak(results, r['name'])} |"
            )
        lines.append("")
    lines += [
        f"*File*: what the runtime reads, beside the paper's {PAPER_MB:g} MB (fp32 parameters and buffers). *Peak*: "
        "the most resident memory, in MB, that a process gained by loading the graph and running it, above what the "
        "runtime itself took.",
        "",
        "Where the time goes, by OpenVINO's counters, ms:",
        "",
    ]
    for name, profile in results["profiles"].items():
        kinds = "; ".join(f"{kind} {ms:.1f}" for kind, ms in profile["kinds"][:8])
        lines.append(f"- {name.partition(',')[0]} ({profile['layers']} layers): {kinds}")
    worst = max(value for found in results["differences"].values() for value in found.values())
    lines += ["", f"No fp32 contender differs from PyTorch by more than {worst:.1e} in any output.", ""]
    return "\n".join(lines)


def _peak(results: dict[str, Any], name: str) -> str:
    found = results["memory"].get(name)
    return "" if found is None else f"{found['peak'] / 1e6:.0f}"


def _ratio(ratio: list[float]) -> str:
    return f"{ratio[0]:.2f}x [{ratio[1]:.2f}, {ratio[2]:.2f}]"


if __name__ == "__main__":
    raise SystemExit(main())
