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

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "tryon_students.json"
SIZE, TIMED_SIZE = (128, 96), (256, 192)
HELD_FPS = 40.0  # the paper's, on a T4
SEEDS = (0, 1, 2)


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


def fastest_lossless(results: dict[str, Any]) -> tuple[str | None, list[str]]:
    """The students that hold the paper's rate with one graph, fastest first, and the first that loses nothing."""
    cost, students = results["cost"]["ways"]["one graph"], results["students"]
    fast = sorted((n for n in students if 1000 / cost[n]["median_ms"] >= HELD_FPS), key=lambda n: cost[n]["median_ms"])
    paper = students["paper"]
    lossless = [
        name
        for name in fast
        if students[name]["ssim"] >= paper["ssim"] and students[name]["warp_error_px"] <= paper["warp_error_px"]
    ]
    return (lossless[0] if lossless else None), fast


def front(results: dict[str, Any], metric: str, higher: bool) -> set[str]:
    """The students that no other one beats in both time and ``metric``."""
    cost, students = results["cost"]["ways"]["one graph"], results["students"]
    sign = 1 if higher else -1

    def beaten(name: str) -> bool:
        return any(
            cost[o]["median_ms"] < cost[name]["median_ms"]
            and sign * students[o][metric] >= sign * students[name][metric]
            for o in students
            if o != name
        )

    return {name for name in students if not beaten(name)}


def gains(results: dict[str, Any], metric: str) -> tuple[list[float], list[float], float, float]:
    own = [pair["student"][metric] for pair in results["seeds"]]
    control = [pair["control"][metric] for pair in results["seeds"]]
    differences = np.array(own) - np.array(control)
    return own, control, float(differences.mean()), float(differences.std(ddof=1))


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    c, cost = results["conditions"], results["cost"]
    one, frame = cost["ways"]["one graph"], cost["ways"]["frame"]
    on_front = front(results, "ssim", True) | front(results, "warp_error_px", False)
    lines = [
        "## `python benchmarks/tryon_students.py`: try-on students shaped for two CPU cores",
        "",
        f"One teacher, the same steps for every student; scored on {_held(c)} unseen drawn people at "
        f"{c['trained_at'][0]}x{c['trained_at'][1]}, where the truth is known; timed at "
        f"{c['timed_at'][0]}x{c['timed_at'][1]} in OpenVINO fp32 with the default profile's lowerings, in turns. "
        "**Bold**: no other student is both faster and better in SSIM, or in warp error.",
        "",
        "| student | SSIM | masked L1 % | warp error px | M parameters | MB | GMAC | one graph ms | frame graph ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = sorted(results["students"], key=lambda n: -one[n]["median_ms"])
    for name in order:
        row, paid = results["students"][name], cost["students"][name]
        shown = f"**{name}**" if name in on_front else name
        lines.append(
            f"| {shown} | {row['ssim']:.4f} | {row['masked_l1']:.2f} | {row['warp_error_px']:.2f} | "
            f"{paid['parameters'] / 1e6:.2f} | {paid['megabytes']:.1f} | {paid['gmacs']:.1f} | "
            f"{one[name]['median_ms']:.1f} | {frame[name]['median_ms']:.1f} |"
        )
    rows = {"the teacher": results["teacher"], **results["baselines"]}
    for name, row in rows.items():
        lines.append(
            f"| *{name}* | {row['ssim']:.4f} | {row['masked_l1']:.2f} | {row['warp_error_px']:.2f} | | | | | |"
        )
    lossless, fast = fastest_lossless(results)
    lines += ["", _verdict(results, lossless, fast), ""]
    lines += [
        f"What distillation gains ({SMALL}, {len(c['seeds'])} seeds, each beside a control that sees the same pictures "
        "and has the same losses but for the teacher's maps and flows):",
        "",
        "| metric | distilled | control | gain |",
        "|---|---|---|---|",
    ]
    for metric, unit in (("ssim", ""), ("masked_l1", " %"), ("warp_error_px", " px")):
        own, control, mean, std = gains(results, metric)
        better = mean > 0 if metric == "ssim" else mean < 0
        word = ("better" if better else "worse") if abs(mean) > std else "within the spread"
        lines.append(
            f"| {metric}{unit} | {np.mean(own):.4f} ± {np.std(own, ddof=1):.4f} | "
            f"{np.mean(control):.4f} ± {np.std(control, ddof=1):.4f} | {mean:+.4f} ± {std:.4f}, {word} |"
        )
    stated = ", ".join(f"{name} {value}" for name, value in c["versions"].items())
    note = f" {c['note']}" if c.get("note") else ""
    lines += [
        "",
        f"Settings: {', '.join(c['settings'])}; the teacher: {', '.join(c['teacher_settings'])}. Seeds 1 and 2 learn "
        f"from the first seed's teacher, on people of their own. {c['machine_title']}; {stated}. "
        f"{results['created'][:10]}.{note}",
        "",
        "![SSIM and warp error of every student against its time](results/tryon_students.png)",
        "",
    ]
    return "\n".join(lines)


def _held(conditions: dict[str, Any]) -> str:
    return next(s.partition("=")[2] for s in conditions["settings"] if s.startswith("data.test="))


def _verdict(results: dict[str, Any], lossless: str | None, fast: list[str]) -> str:
    one = results["cost"]["ways"]["one graph"]
    if not fast:
        best = min(one, key=lambda name: one[name]["median_ms"])
        rate = 1000 / one[best]["median_ms"]
        return f"None holds {HELD_FPS:g} frames per second with one graph here: {best} reaches {rate:.0f} (**missed**)."
    held = ", ".join(f"{name} ({1000 / one[name]['median_ms']:.0f})" for name in fast)
    told = f"{HELD_FPS:g} frames per second with one graph are held by {held}."
    if lossless is None:
        return told + " None of them is as good as the paper's student in both SSIM and warp error (**missed**)."
    return told + f" {lossless} is as good as the paper's student in SSIM and in warp error, at this budget."


def draw(results: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from edgekd.storage import whole_file

    one, students = results["cost"]["ways"]["one graph"], results["students"]
    figure, axes = pyplot.subplots(1, 2, figsize=(12.5, 5))
    for axis, (metric, title, higher) in zip(
        axes,
        (("ssim", "SSIM (higher is better)", True), ("warp_error_px", "warp error, px (lower is better)", False)),
        strict=True,
    ):
        on_front = front(results, metric, higher)
        for number, name in enumerate(students, start=1):
            x, y = one[name]["median_ms"], students[name][metric]
            color = "#1b7837" if name in on_front else "#888888"
            axis.scatter(x, y, s=12 * results["cost"]["students"][name]["megabytes"] + 20, color=color, alpha=0.75)
            axis.annotate(str(number), (x, y), xytext=(7, 4), textcoords="offset points", fontsize=9)
        axis.plot(
            *zip(*sorted((one[n]["median_ms"], students[n][metric]) for n in on_front), strict=True), "#1b7837", lw=1
        )
        axis.axhline(results["teacher"][metric], color="#b35806", ls="--", lw=1, label="teacher")
        axis.axvline(1000 / HELD_FPS, color="#2166ac", ls=":", lw=1, label=f"{HELD_FPS:g} frames per second")
        axis.set_xscale("log")
        ticks = [8, 16, 25, 50, 100, 200, 400]
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.minorticks_off()
        axis.set_xlabel("one graph at 256x192, ms (OpenVINO fp32, two cores)")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    told = "   ".join(f"{n} {name}" for n, name in enumerate(students, start=1))
    half = told.find("   ", len(told) // 2)
    figure.text(0.01, 0.01, told[:half] + "\n" + told[half:].strip(), fontsize=7.5)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    with whole_file(folder / "tryon_students.png") as temporary:
        figure.savefig(temporary, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    raise SystemExit(main())
