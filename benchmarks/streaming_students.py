"""Streaming detectors shaped for two CPU cores, from one teacher: what each keeps, and what forecasting gains.

    python benchmarks/streaming_students.py

Drawn drives at 160x256 (preset ``quick``), where every box is exact. One teacher is trained; every student learns from
it with the same data, order and number of steps. The preset's own is trained with three seeds: distilled, alone (the
control), and distilled without forecasting: the same detector, that says what is in the frame it sees. All are scored
on the boxes of the next frame.

Then every student is put against a clock. Its latency is what ``streaming_speed.py`` measured for its shape at 600x960
from a camera's frame to boxes, in its fastest type; its boxes are those of the network trained here, on longer drives.
So the curve holds what a slow network loses by being late, not what a larger picture would gain.

Training takes two hours of one core, and goes on where it was interrupted (benchmarks/work/streaming); ``--train NAME
...`` trains some of them, so that several processes may share the work.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "streaming_students.json"
SIZE, TIMED_SIZE = (160, 256), (600, 960)
SEEDS = (0, 1, 2)
DRIVES, DRIVE_FRAMES, DRIVES_SEED = 16, 45, 9  # against the clock
CURVE = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)  # frames

SETTINGS = ("train.precision=fp32",)  # all else is the preset's, ``quick``
# name -> what is unlike the preset's student
STUDENTS: dict[str, dict[str, Any]] = {
    "S as published": {"width": 0.5, "neck_blocks": 3},
    "half of S": {"width": 0.25, "neck_blocks": 3},
    "half of S, one block, ReLU": {"width": 0.25, "activation": "relu"},
    "half of S, one plain block, ReLU": {"width": 0.25, "activation": "relu", "neck_kind": "plain"},
    "half of S, PAFPN, ReLU": {"width": 0.25, "activation": "relu", "neck": "pafpn"},
    "a quarter of S, one block": {},
    "a quarter of S, one plain block, ReLU": {"activation": "relu", "neck_kind": "plain"},
}
SMALL = "a quarter of S, one block"  # the preset's: also trained alone, and without forecasting, with every seed
FIRST = "seed 0"  # the run whose teacher the others learn from
WAYS: dict[str, dict[str, Any]] = {
    "distilled": {},
    "control": {"teacher.use": "none"},
    "no forecast": {"student.forecast": False},
}


def jobs() -> dict[str, tuple[dict[str, Any], int]]:
    """Every run that is trained: name -> settings of its own, seed. The teacher's run is the first."""
    every: dict[str, tuple[dict[str, Any], int]] = {FIRST: ({}, 0)}
    for seed in SEEDS:
        for way, own in WAYS.items():
            if (name := run_name(seed, way)) != FIRST:
                every[name] = (own, seed)
    return every | {
        name: ({f"student.{key}": value for key, value in own.items()}, 0)
        for name, own in STUDENTS.items()
        if name != SMALL
    }


def run_name(seed: int, way: str) -> str:
    return f"seed {seed}" if way == "distilled" else f"seed {seed}, {way}"


def place(work: Path, name: str) -> Path:
    return work / "".join(c if c.isalnum() else "-" for c in name)


def train(work: Path, name: str) -> None:
    import edgekd

    own, seed = jobs()[name]
    folder = place(work, name)
    last = [""]

    def tell(what: str, share: float) -> None:
        if what != last[0]:
            print(f"{name}: {what}", flush=True)
            last[0] = what

    if (folder / "run.json").exists():
        edgekd.distill("streaming", folder, resume=True, progress=tell)
        return
    cache = f'data.cache="{(work / "cache").resolve()}"'
    settings = [*SETTINGS, cache, f"seed={seed}", *(f"{key}={_toml(value)}" for key, value in own.items())]
    teacher: str | None = None
    if name != FIRST and own.get("teacher.use") != "none":
        weights = place(work, FIRST) / "stages" / "teacher" / "best.safetensors"
        if not weights.is_file():
            raise SystemExit(f"{name} learns from a teacher: --train '{FIRST}' comes first")
        teacher = str(weights.resolve())
    edgekd.distill("streaming", folder, preset="quick", settings=settings, teacher=teacher, progress=tell)


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "streaming", help="finished runs (not in git)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--train", nargs="*", metavar="NAME", help=f"only these: {'; '.join(jobs())}; none: no training"
    )
    options = parser.parse_args()
    for name in jobs() if options.train is None else options.train:
        train(options.work, name)
    if options.train:
        return 0
    from edgekd.storage import write_json

    found = gather(options.work)
    write_json(options.results, found)
    draw(found, options.results.parent)
    print(section(found))
    return 0


def run_of(student: str) -> str:
    """The run in which a student was trained."""
    return FIRST if student == SMALL else student


def gather(work: Path) -> dict[str, Any]:
    """What every finished run scored, and every student against the clock with the latency measured for its shape."""
    from importlib.metadata import version

    from edgekd.measuring.machine import read_facts

    finished = [name for name in STUDENTS if (place(work, run_of(name)) / "student.safetensors").is_file()]
    runs = {way: [run_name(seed, way) for seed in SEEDS] for way in WAYS}
    seeds = {
        way: [scores(work, run) for run in own if (place(work, run) / "student.safetensors").is_file()]
        for way, own in runs.items()
    }
    latencies = measured_latencies()
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "conditions": {
            "machine_title": read_facts().title,
            "settings": list(SETTINGS),
            "trained_at": list(SIZE),
            "timed_at": list(TIMED_SIZE),
            "drives": {"count": DRIVES, "frames": DRIVE_FRAMES},
            "versions": {name: version(name) for name in ("edgekd", "torch", "numpy", "pycocotools")},
        },
        "teacher": scores(work, FIRST, "teacher"),
        "seeds": seeds,
        "students": {
            name: {"settings": STUDENTS[name], "test": scores(work, run_of(name)), **clocked(work, name, latencies)}
            for name in finished
        },
    }


def scores(work: Path, name: str, role: str = "student") -> dict[str, float]:
    from edgekd.storage import read_json

    record = read_json(place(work, name) / "run.json")
    return dict(next(stage["test"] for stage in record["stages"] if stage["role"] == role))


def measured_latencies() -> dict[str, float]:
    """Milliseconds from a camera's frame to boxes at 600x960, by student."""
    from edgekd.storage import read_json

    path = HERE / "results" / "streaming_speed.json"
    if not path.is_file():
        raise SystemExit(f"{path} is not there: python benchmarks/streaming_speed.py comes first")
    found = {row["student"]: row["alone_ms"]["end_to_end"] for row in read_json(path)["paced"]}
    return {"S as published" if name == "S" else name: ms for name, ms in found.items()}


def clocked(work: Path, name: str, latencies: dict[str, float]) -> dict[str, Any]:
    """Streaming sAP of a student at every student's latency, and on a grid of latencies."""
    from edgekd.bundle.artifact import open_artifact
    from edgekd.measuring.clock import against_clock
    from edgekd.registry import recipe_part

    artifact = open_artifact(str(place(work, run_of(name))), None, 2)
    pipeline, metrics = artifact.pipeline(), artifact.metrics()
    samples = drives(recipe_part("streaming", "recipe"), artifact)
    raws, truths = [s.raw for s in samples], [s.truth for s in samples]
    session = artifact.load()

    def at(ms: float) -> float:
        return against_clock(session, pipeline, metrics, raws, truths, str(ms)).metrics[metrics.primary]

    return {
        "latency_ms": latencies[name],
        "streaming_sap": at(latencies[name]),
        "curve": [[step * 1000 / 30, at(step * 1000 / 30)] for step in CURVE],
    }


def drives(recipes: Any, artifact: Any) -> list[Any]:
    """Drawn drives that are long enough to be late in."""
    from edgekd import config

    record = artifact.run.record
    made = config.restore("streaming", record.config, str(artifact.run.path))
    data = made.data.model_copy(update={"train": 1, "val": 1, "test": DRIVES, "frames": DRIVE_FRAMES})
    recipe = recipes.Recipe(made.model_copy(update={"seed": DRIVES_SEED, "data": data}))
    test = recipe.datasets(Path(data.cache), lambda *_: None).test
    return [test.sample(index) for index in range(len(test))]


def front(students: dict[str, Any]) -> set[str]:
    """Those that no other one beats in both latency and streaming sAP."""

    def beaten(name: str) -> bool:
        own = students[name]
        return any(
            other["latency_ms"] < own["latency_ms"] and other["streaming_sap"] >= own["streaming_sap"]
            for key, other in students.items()
            if key != name
        )

    return {name for name in students if not beaten(name)}


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    c, students = results["conditions"], results["students"]
    on_front = front(students)
    lines = [
        "## `python benchmarks/streaming_students.py`: streaming detectors shaped for two CPU cores",
        "",
        f"Drawn drives at {c['trained_at'][0]}x{c['trained_at'][1]}, the same teacher and steps for every student. "
        "*Next frame*: sAP on the boxes of the next frame, on time. *Latency*: from a camera's frame to boxes at "
        f"{c['timed_at'][0]}x{c['timed_at'][1]}, by streaming_speed.py. *Against the clock*: sAP when every box comes "
        f"that late, on {c['drives']['count']} drives of {c['drives']['frames']} frames. **Bold**: no other student is "
        "both faster and better against the clock.",
        "",
        "| student | next frame: sAP | sAP50 | latency ms | against the clock: sAP |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, row in sorted(students.items(), key=lambda item: -item[1]["latency_ms"]):
        shown = f"**{name}**" if name in on_front else name
        lines.append(
            f"| {shown} | {row['test']['sap']:.2f} | {row['test']['sap50']:.2f} | {row['latency_ms']:.1f} | "
            f"{row['streaming_sap']:.2f} |"
        )
    teacher = results["teacher"]
    lines += [
        f"| *the teacher, which is shown the next frame* | {teacher['sap']:.2f} | {teacher['sap50']:.2f} | | |",
        "",
    ]
    count = len(results["seeds"]["distilled"])
    lines += [
        f"What forecasting and distillation gain ({SMALL}, {count} seeds):",
        "",
        "| metric | distilled | control | no forecast | over control | over no forecast |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for metric in ("sap", "sap50"):
        ways = {way: [run[metric] for run in runs] for way, runs in results["seeds"].items()}
        gains = [_gain(ways["distilled"], ways[other]) for other in ("control", "no forecast")]
        lines.append("| " + " | ".join([metric, *(_spread(values) for values in ways.values()), *gains]) + " |")
    stated = ", ".join(f"{name} {value}" for name, value in c["versions"].items())
    lines += [
        "",
        f"Preset quick with {', '.join(c['settings'])}. Other seeds learn from the first one's teacher, on drives of "
        f"their own. {c['machine_title']}; {stated}. {results['created'][:10]}.",
        "",
        "![Streaming sAP of every student against latency](results/streaming_students.png)",
        "",
    ]
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def _gain(own: list[float], other: list[float]) -> str:
    differences = np.array(own) - np.array(other)
    if len(differences) < 2:
        return f"{differences.mean():+.2f}"
    spread = differences.std(ddof=1)
    return f"{differences.mean():+.2f} ± {spread:.2f}" + ("" if abs(differences.mean()) > spread else ", within it")


def draw(results: dict[str, Any], folder: Path) -> None:
    """Every student's sAP as it is put off, and where its own latency puts it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from edgekd.storage import whole_file

    students = results["students"]
    figure, axis = pyplot.subplots(figsize=(8.5, 5))
    colors = pyplot.get_cmap("tab10")
    for number, (name, row) in enumerate(students.items()):
        axis.plot(*zip(*row["curve"], strict=True), color=colors(number), lw=0.9, alpha=0.6)
        axis.scatter(row["latency_ms"], row["streaming_sap"], s=60, color=colors(number), zorder=3, label=name)
    axis.axvline(1000 / 30, color="#2166ac", ls=":", lw=1)
    axis.text(1000 / 30, 0.2, " 30 frames per second", fontsize=8, color="#2166ac")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("latency from a camera's frame to boxes at 600x960, ms (OpenVINO, two cores)")
    axis.set_ylabel("streaming sAP, % (drawn drives at 160x256)")
    axis.set_title(
        "Dots: each student at its own latency. Lines: the same student, were it as late as that.", fontsize=9
    )
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    with whole_file(folder / "streaming_students.png") as temporary:
        figure.savefig(temporary, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    raise SystemExit(main())
