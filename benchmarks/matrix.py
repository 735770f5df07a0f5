"""Every recipe on every target in every precision: what is built, how far it is from the student, what it costs.

    python benchmarks/matrix.py                # every cell, about an hour; resumable: a cell that is there stays
    python benchmarks/matrix.py --only streaming coreml iphone int8    # patterns: recipe, target, profile, precision
    python benchmarks/matrix.py --only "*" tensorrt --again    # takes those cells anew

A small student of each recipe is distilled once (seconds to a minute: what it is good at does not matter, that its
operations are the recipe's does). A cell is ``edgekd export`` of one precision for one profile, and ``edgekd inspect``
of the bundle, in a process of its own, so that its peak memory is its own. What is refused keeps the product's words.
Cells lie in ``work/matrix``; writes results/matrix.json of all that are there, and says which are not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT_S, LIMIT_BYTES = 180.0, 8e9  # no cell may take more
PATIENCE_S = 3600.0  # a cell that is not done by then is ended: a machine may be busy
PRESET = "quick"  # of every recipe, made smaller still
STUDENTS: dict[str, tuple[str, ...]] = {
    "landmarks": (
        "data.train=400", "data.val=24", "data.test=48", "student.input_size=64", "student.width=0.35",
        "teacher.use=none", "train.epochs=6", "train.batch_size=16", "train.precision=fp32",
    ),
    "tryon": (
        "height=64", "width=64", 'data.source=["wardrobe:24"]', "data.val=2", "data.test=16", "student.width=0.25",
        "student.generator=0.25", "student.pyramid=16", "student.head=8", "teacher.width=0.125",
    ),
    "streaming": (
        "data.train=8", "data.val=1", "data.test=2", "data.frames=16", "student.input_height=72",
        "student.input_width=104", "student.width=0.125", "student.neck_blocks=1", "teacher.use=none",
        "train.epochs=6", "train.batch_size=4", "train.precision=fp32",
    ),
    "hypergraph": (
        'data.source=["generated"]', "data.train_per_class=20", "data.val_per_class=20", "generated.vertices=800",
        "generated.hyperedges=800", "generated.features=32", "generated.classes=3", "generated.noise=1",
        "data.normalization=none", "teacher.epochs=30", "train.epochs=60",
    ),
}  # fmt: skip
SHORT = {
    "landmarks": ("data.train=48", "data.val=8", "data.test=12", "student.input_size=32", "train.epochs=1"),
    "tryon": ('data.source=["wardrobe:6"]', "data.test=4", *(
        f"train.{stage}.{key}=1" for stage in ("teacher_warp", "teacher", "student_warp", "student")
        for key in ("epochs", "decay")
    )),
    "streaming": ("data.train=2", "data.test=1", "data.frames=8", "student.width=0.0625", "train.epochs=1"),
    "hypergraph": ("generated.vertices=400", "generated.hyperedges=400", "teacher.epochs=5", "train.epochs=20"),
}  # fmt: skip
"""What ``--quick`` and the tests change: seconds of training."""


@dataclass(frozen=True, order=True)
class Cell:
    """``profile`` of ``target`` lists ``precision``."""

    recipe: str
    target: str
    profile: str
    precision: str

    @property
    def name(self) -> str:
        return "-".join((self.recipe, self.target, self.profile, self.precision))

    @property
    def words(self) -> tuple[str, str, str, str]:
        return self.recipe, self.target, self.profile, self.precision

    def matches(self, patterns: Sequence[str]) -> bool:
        """``patterns`` in the order of the fields; those that are left out match all."""
        return all(fnmatch(word, pattern) for word, pattern in zip(self.words, patterns, strict=False))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", action="append", default=[], metavar="PATTERN", help="may be given again")
    parser.add_argument("--again", action="store_true", help="takes cells anew that are there")
    parser.add_argument("--quick", action="store_true", help="smaller students, a folder of their own, no results file")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "matrix")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--take", nargs=3, metavar=("RUN", "TARGET/PROFILE", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take:  # the process of one cell: what it found goes to stdout
        run, target, precision = options.take
        print(json.dumps(take(Path(run), target, precision)))
        return 0

    from edgekd.storage import write_json

    work = options.work / "quick" if options.quick else options.work
    chosen = [c for c in cells() if not options.only or any(c.matches(patterns) for patterns in options.only)]
    for done, cell in enumerate(chosen, start=1):
        file = work / "cells" / f"{cell.name}.json"
        run = student(cell.recipe, work / "runs", options.quick)
        sha = json.loads((run / "run.json").read_text(encoding="utf-8"))["files"]["student.safetensors"]
        if not options.again and file.is_file() and json.loads(file.read_text(encoding="utf-8"))["student"] == sha:
            continue
        print(f"{done}/{len(chosen)} {' '.join(cell.words)}", end=": ", flush=True)
        row = {"student": sha, **dict(zip(("recipe", "target", "profile", "precision"), cell.words, strict=True))}
        row |= in_own_process(run, cell)
        write_json(file, row)
        print(f"{row['outcome']}, {row['seconds']:.1f} s" + (f": {row['what']}" if "what" in row else ""), flush=True)
    results = gathered(work)
    if not options.quick:
        write_json(options.results / "matrix.json", results)
    print(section(results))
    return 0


def cells() -> list[Cell]:
    """Every precision that a profile of a target lists, for every recipe; targets that build nothing have none."""
    from edgekd import registry

    found = []
    for recipe in registry.recipes():
        for target, entry in registry.targets().items():
            if (entry.folder / "build.py").is_file():
                for name in registry.profiles(target):
                    precisions = registry.profile(f"{target}/{name}").precisions
                    found += [Cell(recipe, target, name, str(precision)) for precision in precisions]
    return found


def student(recipe: str, folder: Path, quick: bool) -> Path:
    """The recipe's run, distilled where it is not there."""
    run = folder / recipe
    if not (run / "run.json").is_file():
        print(f"distilling {recipe}", flush=True)
        settings = [*STUDENTS[recipe], *(SHORT[recipe] if quick else ())]
        command = [sys.executable, "-m", "edgekd", "distill", recipe, "--preset", PRESET, "--out", str(run), "--quiet"]
        command += ["--resume"] if run.exists() else []
        subprocess.run([*command, *(word for s in settings for word in ("--set", s))], check=True)
    return run


def in_own_process(run: Path, cell: Cell) -> dict[str, Any]:
    command = [sys.executable, __file__, "--take", str(run), f"{cell.target}/{cell.profile}", cell.precision]
    began = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        lines = done.stdout.strip().splitlines() if done.returncode == 0 else []
        why = (done.stderr.strip().splitlines() or [f"its process left with code {done.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        lines, why = [], f"it was not done after {PATIENCE_S:g} s"
    if lines:
        return dict(json.loads(lines[-1]))
    return {
        "outcome": "broken",
        "what": "it ended without a result",
        "why": why,
        "seconds": time.perf_counter() - began,
    }


def take(run: Path, target: str, precision: str) -> dict[str, Any]:
    """Exports and inspects, in this process."""
    from edgekd.bundle.inspect import inspect
    from edgekd.conversion.export import export
    from edgekd.errors import Exit
    from edgekd.measuring.memory import high_water_bytes

    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        began = time.perf_counter()
        (made,) = export(run, [target], precision, folder)
        row: dict[str, Any] = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time()}
        row["peak_bytes"] = high_water_bytes()
        if made.error is not None:
            outcome = "failed a gate" if made.error.code == Exit.GATE else "refused"
            return row | {"outcome": outcome, "what": made.error.what, "why": made.error.why, "fix": made.error.fix}
        assert made.path is not None
        found = inspect(made.path)
    manifest = found.manifest
    assert manifest is not None
    gate = manifest.gates[-1]
    shipped = next(c for c in manifest.candidates if c.outcome == "shipped")
    engine = manifest.graphs["main"].engine
    return row | {
        "outcome": "built",
        "size_bytes": sum(found.graphs_bytes.values()),
        "sqnr_db": gate.worst[1].sqnr_db,
        "metric": gate.metric,
        "before": gate.before,
        "after": gate.after,
        "loss": gate.relative_loss,
        "samples": gate.samples,
        "where": gate.where,
        "not_executed": manifest.not_executed,
        "engine": None if engine is None else engine.version,
        "inspected": found.placement_from,
        "precision_by_macs": found.placement.precision_by_macs if found.placement else {},
        "kept_float": [k.model_dump(mode="json") for k in shipped.kept_float],
        "lowerings": dict(manifest.lowerings),
        "notes": list(shipped.notes),
        "graphs": sorted(manifest.graphs),
    }


def gathered(work: Path) -> dict[str, Any]:
    """All cells that are there, in the order of ``cells``."""
    from edgekd.measuring.machine import read_facts

    files = {cell: work / "cells" / f"{cell.name}.json" for cell in cells()}
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files.values() if file.is_file()]
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": read_facts().title,
        "versions": versions(),
        "students": STUDENTS,
        "missing": [" ".join(cell.words) for cell, file in files.items() if not file.is_file()],
        "rows": rows,
    }


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("edgekd", "torch", "onnx", "onnxruntime", "openvino", "nncf", "coremltools", "tensorrt-rtx-cu12"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md: how many cells do what, and which cost most."""
    rows = results["rows"]
    lines = ["## `python benchmarks/matrix.py`: every recipe, target and precision", ""]
    if not rows:
        return "\n".join([*lines, "No cell was taken.", ""])
    columns = ("cells", "built", "of them run here", "failed a gate", "refused", "broken")
    lines += ["| recipe | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        own = [row for row in rows if row["recipe"] == recipe]
        counts = Counter(row["outcome"] for row in own)
        here = sum(row["outcome"] == "built" and not row["not_executed"] for row in own)
        broken = f"**{counts['broken']}**" if counts["broken"] else "0"
        lines.append(
            f"| {recipe} | {len(own)} | {counts['built']} | {here} | {counts['failed a gate']} | {counts['refused']} "
            f"| {broken} |"
        )
    slowest = max(rows, key=lambda row: row["seconds"])
    largest = max(rows, key=lambda row: row.get("peak_bytes", 0))
    slow = "" if slowest["seconds"] <= LIMIT_S else " **missed**"
    large = "" if largest.get("peak_bytes", 0) <= LIMIT_BYTES else " **missed**"
    lines += [
        "",
        "| target | value |",
        "|---|---|",
        f"| no cell takes more than {LIMIT_S / 60:g} minutes | {slowest['seconds']:.0f} s ({_label(slowest)}){slow} |",
        f"| nor more than {LIMIT_BYTES / 1e9:g} GB | {largest.get('peak_bytes', 0) / 1e9:.2f} GB ({_label(largest)}){large} |",  # noqa: E501
        "",
    ]
    missing = f" Cells that were not taken: {len(results['missing'])}." if results["missing"] else ""
    lines.append(
        f"Cell by cell: [docs/matrix.md](../docs/matrix.md). Export of a small student with all of its gates, and "
        f"inspection, in a process of its own; peak resident memory of that process.{missing} Taken "
        f"{results['created'][:10]} on {results['machine']}."
    )
    return "\n".join([*lines, ""])


def document(results: dict[str, Any]) -> str:
    """docs/matrix.md: a grid and a table per recipe, and every refusal in its own words."""
    lines = [
        "# What is built where",
        "",
        "Generated by `python benchmarks/tables.py` from `benchmarks/results/matrix.json`, which `python "
        "benchmarks/matrix.py` wrote: a small student of every recipe, exported for every profile of every target in "
        "every precision that the profile lists. A cell of a grid is the SQNR in dB of the output that is farthest "
        "from the student's (`=`: equal to the last bit), on held-out samples:",
        "",
        "- **bold**: run and gated here, in the target's own runtime;",
        "- plain: built here and gated by a reference evaluator of its typed graph, which never ran on its device;",
        "- *italic*: its typed graph gated so; the engine is built on the device;",
        "- `gate`, `refused`: with the reason below; no figure: the profile does not list the precision.",
        "",
    ]
    for recipe in dict.fromkeys(row["recipe"] for row in results["rows"]):
        own = [row for row in results["rows"] if row["recipe"] == recipe]
        settings = f"`--preset {PRESET}` and `{' '.join(results['students'][recipe])}`"
        lines += [f"## {recipe}", "", settings, "", *_grid(own), "", *_table(own)]
        lines += ["", *_reasons(own)] if any(row["outcome"] != "built" for row in own) else []
        lines.append("")
    stated = ", ".join(f"{name} {value}" for name, value in results["versions"].items())
    lines += [
        f"Taken {results['created'][:10]} on {results['machine']}; {stated}. Seconds and peak memory are of one "
        "process that exports: the student to ONNX, the gates, the build, the bundle.",
        "",
    ]
    return "\n".join(lines)


def _grid(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    order = ("fp32", "fp16", "bf16", "mixed", "int8", "w8", "w4", "palette")
    kinds = [kind for kind in order if any(row["precision"] == kind for row in rows)]
    yield "| profile | " + " | ".join(kinds) + " |"
    yield "|---|" + "---:|" * len(kinds)
    for profile in dict.fromkeys(f"{row['target']}/{row['profile']}" for row in rows):
        own = {row["precision"]: _mark(row) for row in rows if f"{row['target']}/{row['profile']}" == profile}
        yield f"| {profile} | " + " | ".join(own.get(kind, "") for kind in kinds) + " |"


def _mark(row: Mapping[str, Any]) -> str:
    if row["outcome"] != "built":
        return {"failed a gate": "gate", "refused": "refused"}.get(row["outcome"], "**broken**")
    figure = "=" if row["sqnr_db"] is None else f"{row['sqnr_db']:.0f}"
    return f"**{figure}**" if not row["not_executed"] else f"*{figure}*" if row["engine"] == "" else figure


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    metric = next((row["metric"] for row in rows if row.get("metric")), "metric")
    yield f"| profile | precision | MB | SQNR, dB | {metric} | change | MACs as built | gated in | s | peak, MB |"
    yield "|---|---|---:|---:|---|---:|---|---|---:|---:|"
    for row in rows:
        if row["outcome"] == "built":
            sqnr = "equal" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}"
            change = "" if row["loss"] is None else f"{row['loss']:+.2%}"
            figures = (
                f"{row['size_bytes'] / 1e6:.2f}", sqnr, f"{row['before']:.4g} → {row['after']:.4g}", change,
                shares(row["precision_by_macs"]), row["where"], f"{row['seconds']:.1f}",
                f"{row['peak_bytes'] / 1e6:.0f}",
            )  # fmt: skip
            yield f"| {row['target']}/{row['profile']} | {row['precision']} | " + " | ".join(figures) + " |"


def shares(found: Mapping[str, float]) -> str:
    """Of multiply-accumulates, the largest first; what is under a thousandth is left out."""
    return ", ".join(f"{kind} {share:.1%}".replace("100.0%", "100%") for kind, share in found.items() if share >= 0.001)


def _reasons(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each reason once, with the cells that it stopped."""
    stopped: dict[str, list[str]] = {}
    for row in rows:
        if row["outcome"] != "built":
            said = f"{row['what']}: {row['why']}" + (f". {row['fix']}" if row.get("fix") else "")
            stopped.setdefault(f"{row['outcome']}: {said}", []).append(_cell(row))
    for reason, where in stopped.items():
        yield f"- {', '.join(where)}: {reason}"


def _cell(row: Mapping[str, Any]) -> str:
    return f"{row['target']}/{row['profile']} {row['precision']}"


def _label(row: Mapping[str, Any]) -> str:
    return f"{row['recipe']}, {_cell(row)}"


if __name__ == "__main__":
    raise SystemExit(main())
