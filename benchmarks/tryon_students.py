"""Try-on students of several shapes from one teacher: what each costs, what it keeps, and what distillation gains.

    python benchmarks/tryon_students.py

Drawn people at 128 x 96, where the truth is known: a person in garment b, garment a, and the same person in a. One
teacher is trained; every student learns from it with the same data, order and number of steps. The smallest one is
distilled three times, each time beside its control, which sees the same pictures and has the same losses but for the
teacher's maps and flows. Then every student is built for OpenVINO at the paper's 256 x 192 and timed in turns with the
others: the one graph, and the frame graph of the live mirror.

Training takes an hour and a half of one core, and goes on where it was interrupted (benchmarks/work/tryon);
``--train NAME ...`` trains some of them, so that several processes may share the work. ``--time`` only times (five
minutes, on a machine that does nothing else).
"""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from tryon_students_page import draw, section

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "tryon_students.json"
SIZE, TIMED_SIZE = (128, 96), (256, 192)
SEEDS = (0, 1, 2)
SHOWN = 4  # people


def _stages(**stages: tuple[int, int, int, float, float]) -> tuple[str, ...]:
    """Of each: epochs at the full learning rate, epochs of decay, batch size, that rate, and the longest gradient."""
    keys = ("epochs", "decay", "batch_size", "learning_rate", "clip")
    return tuple(
        f"train.{name}.{key}={value}"
        for name, values in stages.items()
        for key, value in zip(keys, values, strict=True)
    )


DATA = (
    f"height={SIZE[0]}",
    f"width={SIZE[1]}",
    'data.source=["wardrobe:560"]',
    "data.val=24",
    "data.test=100",
    "teacher.width=0.25",
    "train.precision=fp32",
    "train.fakes=1",
    "train.norm_momentum=0.03",
    "train.warp_rate=0.0",  # end to end the generator alone learns: many more of its steps in the same time
)
# The teacher is told the true warp, which drawn people have: so it has something to teach after a few epochs.
TEACHER_STAGES = (
    *_stages(teacher_warp=(8, 5, 4, 3e-4, 300.0), teacher=(4, 2, 4, 1e-3, 300.0)),
    "loss.true_warp=10.0",
)
STUDENT_STAGES = _stages(student_warp=(1, 1, 4, 1e-3, 100.0), student=(2, 1, 2, 1e-3, 100.0))
NARROW = {"width": 0.5, "generator": 0.5, "pyramid": 64, "head": 64}
# name -> what is unlike the paper's student
STUDENTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper, no finest level": {"levels": 4},
    "half, 128 channels": {"width": 0.5, "generator": 0.5, "pyramid": 128, "head": 64},
    "half, 64 channels": NARROW,
    "half, 64 channels, no finest level": {**NARROW, "levels": 4},
    "half, 64 channels, no finest level, hard-swish": {**NARROW, "levels": 4, "activation": "hardswish"},
    "quarter, 32 channels, no finest level": {
        **{"width": 0.25, "generator": 0.5, "pyramid": 32, "head": 32},
        "levels": 4,
    },
}
SMALL = "half, 64 channels, no finest level"  # distilled with every seed, beside its control
TEACHER = "teacher"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "tryon", help="finished runs (not in git)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--train", nargs="*", metavar="NAME", help=f"only these: {', '.join(jobs())}; none: no training"
    )
    parser.add_argument("--time", action="store_true", help="no training: time what is there")
    parser.add_argument("--note", default="", help="what is to be known of these runs, besides their settings")
    options = parser.parse_args()
    if not options.time:
        chosen = list(jobs()) if options.train is None else options.train
        for name in chosen:
            train(options.work, name)
        if options.train is not None:
            return 0
    from edgekd.storage import write_json

    found = gather(options.work, options.note)
    write_json(options.results, found)
    draw(found, options.results.parent)
    draw_people(options.work, list(found["students"]), options.results.parent / "tryon_people.png")
    print(section(found))
    return 0


def jobs() -> dict[str, tuple[dict[str, Any], int, bool]]:
    """Every run that is trained: name -> student's settings, seed, with control. The teacher's run is the first."""
    every: dict[str, tuple[dict[str, Any], int, bool]] = {TEACHER: (STUDENTS[SMALL], 0, True)}
    every |= {name: (own, 0, False) for name, own in STUDENTS.items() if name != SMALL}
    return every | {f"seed {seed}": (STUDENTS[SMALL], seed, True) for seed in SEEDS[1:]}


def place(work: Path, name: str) -> Path:
    return work / "".join(c if c.isalnum() else "-" for c in name)


def train(work: Path, name: str) -> None:
    import edgekd

    own, seed, control = jobs()[name]
    folder = place(work, name)
    record = folder / "run.json"
    last = [""]

    def tell(what: str, share: float) -> None:
        if what != last[0]:
            print(f"{name}: {what}", flush=True)
            last[0] = what

    if record.exists():
        edgekd.distill("tryon", folder, control=control, resume=True, progress=tell)
        return
    settings = [*DATA, f"seed={seed}", *STUDENT_STAGES, *student_settings(own)]
    if name == TEACHER:
        settings += TEACHER_STAGES
    else:
        weights = place(work, TEACHER) / "stages" / "teacher" / "best.safetensors"
        if not weights.is_file():
            raise SystemExit(f"{name} learns from a teacher: --train {TEACHER} comes first")
        settings.append(f'teacher.weights="{weights.resolve()}"')
    edgekd.distill("tryon", folder, preset="quick", settings=settings, control=control, progress=tell)


def student_settings(own: dict[str, Any]) -> list[str]:
    """Every key of the student, the paper's where ``own`` has none: a preset's stays out of it."""
    from edgekd.recipes.tryon.config import StudentConfig

    values = StudentConfig(**own).model_dump(exclude_none=True)
    return [f"student.{key}={_toml(value)}" for key, value in values.items()]


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def gather(work: Path, note: str = "") -> dict[str, Any]:
    """What every finished run scored on its test people, and what its student costs and takes."""
    from importlib.metadata import version

    from edgekd.measuring.machine import read_facts

    names = {name: TEACHER if name == SMALL else name for name in STUDENTS}
    finished = {name: run for name, run in names.items() if (place(work, run) / "student.safetensors").is_file()}
    rows = {name: scores(work, run, "student") for name, run in finished.items()}
    pairs = [
        {role: scores(work, TEACHER if seed == 0 else f"seed {seed}", role) for role in ("student", "control")}
        for seed in SEEDS
    ]
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "conditions": {
            "machine_title": read_facts().title,
            "settings": [*DATA, *STUDENT_STAGES],
            "teacher_settings": list(TEACHER_STAGES),
            "trained_at": list(SIZE),
            "timed_at": list(TIMED_SIZE),
            "seeds": list(SEEDS),
            "seeds_of": SMALL,
            "note": note,
            "versions": {name: version(name) for name in ("edgekd", "torch", "openvino", "numpy")},
        },
        "teacher": scores(work, TEACHER, "teacher"),
        "baselines": baselines(),
        "students": {name: {"settings": STUDENTS[name], **row} for name, row in rows.items()},
        "seeds": pairs,
        "cost": time_students(work, finished),
    }


def scores(work: Path, name: str, role: str) -> dict[str, float]:
    from edgekd.storage import read_json

    record = read_json(place(work, name) / "run.json")
    return dict(next(stage["test"] for stage in record["stages"] if stage["role"] == role))


def baselines() -> dict[str, dict[str, float]]:
    """What needs no network: the person as they were, and the garment laid flat onto its place."""
    import json

    import edgekd  # noqa: F401
    from edgekd import config
    from edgekd.registry import recipe_part

    made = config.resolve("tryon", "quick", None, list(DATA))
    test = recipe_part("tryon", "recipe").Recipe(made).datasets(HERE / "work" / "tryon" / "cache", lambda *_: None).test
    metrics = recipe_part("tryon", "metrics").METRICS
    samples = [test.sample(index) for index in range(len(test))]
    truths = [sample.truth for sample in samples]
    identity = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (SIZE[1], SIZE[0]))), axis=-1)
    same = [{"tryon": sample.raw["person"], "grid": identity} for sample in samples]
    return {"the person unchanged, the garment unwarped": json.loads(json.dumps(metrics.compute(same, truths)))}


def time_students(work: Path, finished: dict[str, str]) -> dict[str, Any]:
    """Every student at the paper's size in OpenVINO, fp32 with the default profile's forms, timed in turns."""
    import tempfile

    import torch

    from edgekd import config
    from edgekd.contracts import Graph, Precision, Source
    from edgekd.conversion.to_onnx import export_onnx
    from edgekd.measuring.race import race
    from edgekd.nn.cost import macs, weight_count
    from edgekd.nn.folding import fold_batchnorm
    from edgekd.nn.lowering import lower
    from edgekd.recipes.weights import load_weights
    from edgekd.registry import builder, profile, recipe_part, runtime

    chosen, target, make = profile("openvino"), runtime("openvino"), builder("openvino")
    rng = np.random.default_rng(0)
    sessions: dict[str, dict[str, Any]] = {"one graph": {}, "frame": {}}
    feeds: dict[str, dict[str, Any]] = {"one graph": {}, "frame": {}}
    costs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in finished.items():
            size = (f"height={TIMED_SIZE[0]}", f"width={TIMED_SIZE[1]}")
            settings = [*DATA, *student_settings(STUDENTS[name]), *size]
            recipe = recipe_part("tryon", "recipe").Recipe(config.resolve("tryon", "quick", None, settings))
            io = recipe.io_spec()
            student = recipe.student(io)
            load_weights(student, place(work, run) / "student.safetensors")
            student.eval()
            example = [torch.zeros([int(axis) for axis in t.shape]) for t in io.inputs]
            costs[name] = {
                "parameters": sum(p.numel() for p in student.parameters()),
                "megabytes": 4 * weight_count(student) / 1e6,
                "gmacs": macs(student, *example) / 1e9,
            }
            graphs = {"one graph": (student, io), "frame": recipe.graphs(student, io)["frame"]}
            for way, (module, spec) in graphs.items():
                out = Path(folder) / f"{len(costs)}-{way.replace(' ', '-')}"
                out.mkdir()
                onnx = out / "lowered.onnx"
                export_onnx(lower(fold_batchnorm(module), chosen.lowerings), spec, onnx)
                built = make.build(Source(onnx, spec), chosen, Precision.FP32, None, out)
                sessions[way][name] = target.load(Graph(built.entry, spec, Precision.FP32, chosen.options))
                feeds[way][name] = [
                    {
                        t.name: (rng.random([int(axis) for axis in t.shape], np.float32) > 0.5).astype(np.float32)
                        if t.name == "clothes_edge"
                        else rng.uniform(-1, 1, [int(axis) for axis in t.shape]).astype(np.float32)
                        for t in spec.inputs
                    }
                ]
        found = {}
        for way, contenders in sessions.items():
            results = race(
                {name: _Fed(session, feeds[way][name][0]) for name, session in contenders.items()},
                [{}],
                rounds=30,
                block=3,
                budget_s=90.0,
            )
            found[way] = {
                name: {
                    "median_ms": result.median_ms,
                    "blocks_ms": [[round(float(ns) / 1e6, 3) for ns in block] for block in result.blocks_ns],
                }
                for name, result in results.items()
            }
    return {"students": costs, "ways": found, "lowerings": dict(chosen.lowerings)}


class _Fed:
    """A session with feeds of its own: the frame graphs hold maps of different sizes."""

    def __init__(self, session: Any, feeds: dict[str, Any]) -> None:
        self._session, self._feeds, self.io = session, feeds, session.io

    def run(self, feeds: Any) -> Any:
        return self._session.run(self._feeds)

    def reset(self) -> None:
        self._session.reset()


def draw_people(work: Path, students: list[str], path: Path) -> None:
    """The same unseen people in every student's try-on, beside the truth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from edgekd.bundle.artifact import open_artifact
    from edgekd.storage import whole_file

    runs = [open_artifact(str(place(work, TEACHER if name == SMALL else name))) for name in students]
    heldout = runs[0].run.heldout()
    raws, truths = heldout.raws()[:SHOWN], heldout.truths()[:SHOWN]
    columns = {"person": [raw["person"] for raw in raws], "garment": [raw["clothes"] for raw in raws]}
    for name, artifact in zip(students, runs, strict=True):
        session, pipeline = artifact.load(), artifact.pipeline()
        columns[name] = [pipeline.postprocess(session.run(pipeline.preprocess(r)), r)["tryon"] for r in raws]
    columns["truth"] = [truth["tryon"] for truth in truths]
    figure, axes = pyplot.subplots(SHOWN, len(columns), figsize=(1.35 * len(columns), 1.75 * SHOWN))
    for axis_column, (title, pictures) in zip(axes.T, columns.items(), strict=True):
        axis_column[0].set_title(title.replace(", ", ",\n"), fontsize=7)
        for axis, picture in zip(axis_column, pictures, strict=True):
            axis.imshow(picture, interpolation="lanczos")
            axis.axis("off")
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.9, 0.03, 0.03)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    raise SystemExit(main())
