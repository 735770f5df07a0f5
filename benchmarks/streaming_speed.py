"""What a streaming detector costs at 600x960 on this machine, and which camera rate it holds.

    python benchmarks/streaming_speed.py             # about 25 minutes, 8 GB
    python benchmarks/streaming_speed.py --quick     # S and one shaped student, short; nothing is written

The published S, M and L, and the students of ``streaming_students.py``, with the weights that it trained where they
lie in its work folder and fresh ones otherwise: time does not depend on them, but for how many boxes are found. All are
built by OpenVINO's own builder from the default profile; S also from the plain profile, whose lowerings are none, and
as the released code runs it: without a memory, four frames encoded for each that comes. int8 is calibrated on drawn
streets of this size. All contenders run in one process, in turns.

``end to end`` is a camera's 1200x1920 frame in, boxes out: resized, run with the state carried, suppressed. ``holds``
is the highest rate at which at most 1 % of the frames come late or are dropped (``paced``).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from streaming_students import STUDENTS, place, run_of

from edgekd import registry
from edgekd.bundle.session import CarriedState
from edgekd.contracts import Arrays, Graph, IoSpec, Precision, Source
from edgekd.measuring.machine import busy_share, read_facts
from edgekd.measuring.paced import highest_rate, pace
from edgekd.measuring.protocol import Share
from edgekd.measuring.race import RaceResult, race, time_ratio
from edgekd.storage import write_json

HERE = Path(__file__).parent
THREADS = 2
SIZE, CAMERA = (600, 960), (1200, 1920)
FRAMES = 12  # of the drawn drive that is fed in turn
CAMERA_FPS = 30.0
PUBLISHED = {"S": "paper-s", "M": "paper-m", "L": "paper-l"}
WAY = "nncf"  # the profile's way to place int8
ASKED = {"buffered": 3.0, "stock": 2.5}  # S: over encoding four frames; the best type over plain fp32


class Samples(list[Arrays]):
    """Feeds that calibrate: all of them."""

    sha256 = "0" * 64


class Fed:
    """A session with feeds of its own, as contenders have maps of different sizes."""

    def __init__(self, session: Any, feeds: list[Arrays]) -> None:
        self.session, self.feeds, self.turn = session, feeds, 0

    def run(self, feeds: Arrays) -> Any:
        self.turn += 1
        return self.session.run(self.feeds[self.turn % len(self.feeds)])

    def reset(self) -> None:
        """State is among the feeds."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "streaming", help="of streaming_students.py")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "streaming_speed.json")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    busy = busy_share(1.0)
    names = ["S", "a quarter of S, one plain block, ReLU"] if options.quick else [*PUBLISHED, *STUDENTS]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.work, [n for n in names if n != "S as published"], options.quick)
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "conditions": conditions(busy),
        **found,
    }
    if not options.quick:
        write_json(options.results, results)
    print(section(results))
    return 0


def measure(folder: Path, work: Path, names: list[str], quick: bool) -> dict[str, Any]:
    sessions: dict[str, Fed] = {}
    about: dict[str, dict[str, Any]] = {}
    pictures = drive(SIZE)
    for name in names:
        io, student, trained = make(name, work)
        plain = name == "S"
        for kind, profile in (("lowered", "openvino"), *((("plain", "openvino/plain"),) if plain else ())):
            for precision in ("fp32", "bf16", "int8") if plain and kind == "lowered" else ("fp32", "int8"):
                if kind == "plain" and precision != "fp32":
                    continue
                key = f"{name}, {kind} {precision}"
                graph, macs, feeds = build(student, io, profile, precision, folder / slug(key), pictures)
                session = registry.runtime("openvino").load(graph)
                sessions[key] = Fed(session, feeds)
                about[key] = {
                    "student": name,
                    "precision": precision,
                    "kind": kind,
                    "trained": trained,
                    "gmacs": macs / 1e9,
                    "file_bytes": sum(f.stat().st_size for f in (graph.path, graph.path.with_suffix(".bin"))),
                    "state_bytes": sum(feeds[0][own].nbytes for own in io.state.values()),
                    "parameters": sum(p.numel() for p in student.parameters()),
                }
                print(f"built {key}", flush=True)
        if plain:
            key = "S, four frames encoded fp32"
            graph, macs, feeds = build_without_memory(student, io, folder / slug(key), pictures)
            sessions[key] = Fed(registry.runtime("openvino").load(graph), feeds)
            about[key] = {"student": name, "precision": "fp32", "kind": "four frames", "gmacs": macs / 1e9}
            print(f"built {key}", flush=True)
    results = race(sessions, [{}], rounds=4 if quick else 16, block=2, budget_s=60.0 if quick else 420.0)
    rows = [{"name": key, **about[key], **timed(results[key])} for key in sessions]
    ratios = {
        "buffered": ratio(results, "S, four frames encoded fp32", "S, lowered fp32"),
        "stock": max(
            (ratio(results, "S, plain fp32", f"S, lowered {p}") for p in ("fp32", "bf16", "int8")), key=lambda r: r[0]
        ),
    }
    return {"rows": rows, "ratios": ratios, "paced": paced(names, work, results, sessions, quick)}


def make(name: str, work: Path) -> tuple[IoSpec, Any, bool]:
    """Io spec and folded student of 600x960; with trained weights where there are."""
    from edgekd import config
    from edgekd.nn.folding import fold_batchnorm
    from edgekd.recipes.weights import load_weights

    recipes = registry.recipe_part("streaming", "recipe")
    size = [f"student.input_height={SIZE[0]}", f"student.input_width={SIZE[1]}"]
    if name in PUBLISHED:
        made = config.resolve("streaming", PUBLISHED[name], settings=size)
    else:
        own = [f"student.{key}={toml(value)}" for key, value in STUDENTS[name].items()]
        made = config.resolve("streaming", "quick", settings=[*size, *own])
    recipe = recipes.Recipe(made)
    io = recipe.io_spec()
    student = recipe.student(io).eval()
    weights = place(work, run_of("S as published" if name == "S" else name)) / "student.safetensors"
    if weights.is_file():
        load_weights(student, weights)
    return io, fold_batchnorm(student), weights.is_file()


def toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def drive(size: tuple[int, int]) -> list[Any]:
    """Frames of one drawn drive, (H, W, 3) uint8 RGB."""
    from edgekd.recipes.streaming.street import drive as drawn

    return [np.array(picture) for picture, _ in drawn(0, 77, FRAMES, (size[1], size[0]))]


def image(picture: Any) -> Any:
    return np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)


def build(
    student: Any, io: IoSpec, profile_name: str, precision: str, out: Path, pictures: list[Any]
) -> tuple[Graph, int, list[Arrays]]:
    """The graph as export builds it, its multiply-accumulates, and frames with the state before them."""
    from edgekd.nn.lowering import lower

    profile = registry.profile(profile_name)
    module = lower(student, profile.lowerings)
    source, macs = exported(module, io, out)
    first = {t.name: np.zeros([int(axis) for axis in t.shape], np.float32) for t in io.inputs}
    runner = built(source, io, module, "openvino", "fp32", None, out / "fp32")
    session, feeds, state = registry.runtime("openvino").load(runner), Samples(), first
    for picture in pictures:
        fed = {**state, io.inputs[0].name: image(picture)}
        feeds.append(fed)
        said = session.run(fed)
        state = {**fed, **{own: np.array(said[new]) for new, own in io.state.items()}}
    if precision == "fp32":
        return runner, macs, feeds
    return built(source, io, module, profile_name, precision, feeds, out / precision), macs, feeds


def built(
    source: Path, io: IoSpec, module: Any, profile_name: str, precision: str, feeds: Samples | None, out: Path
) -> Graph:
    profile = registry.profile(profile_name)
    if precision == "int8":
        profile = profile.only(next(w for w in profile.quantization if w.get("name") == WAY))
    out.mkdir(parents=True)
    made = registry.builder("openvino").build(Source(source, io, module), profile, Precision(precision), feeds, out)
    return Graph(made.entry, io, Precision(precision), {**profile.options, "threads": THREADS})


def exported(module: Any, io: IoSpec, out: Path) -> tuple[Path, int]:
    import onnx

    from edgekd.conversion.to_onnx import export_onnx
    from edgekd.nn.onnx_graph import macs_by_node

    out.mkdir(parents=True)
    source = out / "lowered.onnx"
    export_onnx(module, io, source)
    return source, sum(macs_by_node(onnx.load(source)).values())


def build_without_memory(student: Any, io: IoSpec, out: Path, pictures: list[Any]) -> tuple[Graph, int, list[Arrays]]:
    """S as the released code runs it: the frame and the three before it are encoded each time."""
    import torch
    from torch import nn

    from edgekd.nn.lowering import lower

    class FourFrames(nn.Module):
        def __init__(self, detector: Any) -> None:
            super().__init__()
            self.detector = detector

        def forward(self, newest: Any, one: Any, two: Any, three: Any) -> Any:
            raw, sizes = self.detector.raw(torch.stack((newest, one, two, three), 1))
            return self.detector.decode(raw, sizes)

    names = ("newest", "one", "two", "three")
    inputs = tuple(io.inputs[0].model_copy(update={"name": name}) for name in names)
    own = IoSpec(inputs=inputs, outputs=(io.outputs[0],))
    module = FourFrames(lower(student, registry.profile("openvino").lowerings)).eval()
    source, macs = exported(module, own, out)
    graph = built(source, own, module, "openvino", "fp32", None, out / "fp32")
    feeds = [{name: image(pictures[k - back]) for back, name in enumerate(names)} for k in range(3, len(pictures))]
    return graph, macs, feeds


def timed(result: RaceResult) -> dict[str, Any]:
    return {
        "median_ms": result.median_ms,
        "fastest_ms": min(int(min(block)) for block in result.blocks_ns) / 1e6,
        "blocks_ms": [[round(float(ns) / 1e6, 3) for ns in block] for block in result.blocks_ns],
    }


def ratio(results: Mapping[str, RaceResult], base: str, other: str) -> list[Any]:
    found = time_ratio(results[base], results[other])
    return [found.value, found.low, found.high, base, other]


def paced(
    names: list[str], work: Path, results: Mapping[str, RaceResult], sessions: Mapping[str, Fed], quick: bool
) -> list[dict[str, Any]]:
    """Each student in its fastest type, from a camera's frame to boxes."""
    camera, rows = drive(CAMERA), []
    share = Share(2.0 if quick else 8.0, 60 if quick else 200, "either")
    for name in names:
        io, _, _ = make(name, work)
        best = min((key for key in sessions if key.startswith(f"{name}, lowered")), key=lambda k: results[k].median_ms)
        pipeline = registry.recipe_part("streaming", "pipeline").Pipeline(io)
        session = CarriedState(sessions[best].session, io)
        spans: dict[str, list[float]] = {"pre": [], "infer": [], "post": [], "end_to_end": []}

        def once(index: int, session: Any = session, pipeline: Any = pipeline, spans: Any = spans) -> None:
            import time

            raw = {"image": camera[index % len(camera)]}
            marks = [time.perf_counter_ns()]
            feeds = pipeline.preprocess(raw)
            marks.append(time.perf_counter_ns())
            said = session.run(feeds)
            marks.append(time.perf_counter_ns())
            pipeline.postprocess(said, raw)
            marks.append(time.perf_counter_ns())
            for span, start, end in zip(spans, marks, marks[1:], strict=False):
                spans[span].append((end - start) / 1e6)
            spans["end_to_end"].append((marks[-1] - marks[0]) / 1e6)

        for index in range(8 if quick else 40):
            once(index)
        alone = {span: float(np.median(values[4:])) for span, values in spans.items()}
        at_camera = trial(once, CAMERA_FPS, share)
        rate, _ = highest_rate(lambda fps, once=once: trial(once, fps, share), alone["end_to_end"] * 1e6)  # type: ignore[misc]
        rows.append(
            {
                "student": name,
                "contender": best,
                "alone_ms": alone,
                "at_camera": {name: getattr(at_camera, name) for name in ("fps", "late", "dropped", "frames")},
                "holds_fps": rate,
            }
        )  # fmt: skip
        print(f"paced {name}: {rows[-1]['holds_fps']}", flush=True)
    return rows


def trial(once: Callable[[int], None], fps: float, share: Share) -> Any:
    return pace(once, fps, share).trial


def conditions(busy: float) -> dict[str, Any]:
    from importlib.metadata import version

    facts = read_facts()
    return {
        "machine_title": facts.title,
        "machine": facts.model_dump(mode="json"),
        "busy_before": busy,
        "threads": THREADS,
        "size": list(SIZE),
        "camera": list(CAMERA),
        "versions": {name: version(name) for name in ("edgekd", "torch", "openvino", "nncf", "numpy")},
    }


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    c, ratios = results["conditions"], results["ratios"]
    height, width = c["size"]
    lines = [
        "## `python benchmarks/streaming_speed.py`: what it shows",
        "",
        f"{c['machine_title']}, {c['threads']} threads, batch 1, {height}x{width}; OpenVINO, all in one process, in "
        "turns; medians.",
        "",
        f"- A memory instead of four frames encoded, S in fp32, asked ≥ {ASKED['buffered']:g}x: "
        f"{_ratio(ratios['buffered'], ASKED['buffered'])}.",
        f"- S, {ratios['stock'][4].partition(', ')[2]} over the plain export in fp32, asked ≥ {ASKED['stock']:g}x: "
        f"{_ratio(ratios['stock'], ASKED['stock'])}.",
        "",
        "| student | form, type | ms | GMAC | GMAC/s | file MB | state MB | M parameters |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in results["rows"]:
        file, state = (f"{row[key] / 1e6:.1f}" if key in row else "" for key in ("file_bytes", "state_bytes"))
        weights = f"{row['parameters'] / 1e6:.2f}" if "parameters" in row else ""
        lines.append(
            f"| {row['student']} | {row['kind']}, {row['precision']} | {row['median_ms']:.1f} | {row['gmacs']:.1f} | "
            f"{row['gmacs'] / row['median_ms'] * 1e3:.0f} | {file} | {state} | {weights} |"
        )
    lines += [
        "",
        f"From a camera's {c['camera'][0]}x{c['camera'][1]} frame to boxes, each student in its fastest type:",
        "",
        "| student | type | pre ms | network ms | post ms | end to end ms | at 30 frames/s: late, dropped of | holds |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in results["paced"]:
        alone, shown = row["alone_ms"], row["at_camera"]
        rate = "none tried" if row["holds_fps"] is None else f"{row['holds_fps']:.1f} frames/s"
        lines.append(
            f"| {row['student']} | {row['contender'].rpartition(' ')[2]} | {alone['pre']:.1f} | {alone['infer']:.1f} | "
            f"{alone['post']:.1f} | {alone['end_to_end']:.1f} | {shown['late']}, {shown['dropped']} of "
            f"{shown['frames']} | {rate} |"
        )
    return "\n".join([*lines, ""])


def _ratio(found: list[Any], asked: float) -> str:
    value, low, high = found[:3]
    return f"{value:.2f}x [{low:.2f}, {high:.2f}], {'reached' if low >= asked else '**missed**'}"


if __name__ == "__main__":
    raise SystemExit(main())
