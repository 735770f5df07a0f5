"""``distill``: a recipe, walked stage by stage, into a run folder. Interruptible, resumable."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from edgekd import config as configuration
from edgekd.errors import GateError, InputError
from edgekd.measuring.quality import relative_loss
from edgekd.nn.cost import macs, weight_count
from edgekd.recipes.contract import Datasets, Recipe, Stage
from edgekd.recipes.weights import load_weights, save_weights
from edgekd.registry import recipe_part
from edgekd.run import FILES, Run, RunRecord, StageRecord, is_run, open_run, read_record, write_record
from edgekd.storage import read_json, refuse_existing, replace_folder, sha256_file, write_arrays, write_json, write_text
from edgekd.training.fit import fit
from edgekd.training.judge import Judge

CAP_HELDOUT = 200  # samples; enough for a 2 % gate on pairs, small enough to travel
CAP_CALIBRATION = 128

Progress = Callable[[str, float], None]


def distill(
    recipe: str,
    out: str | Path,
    *,
    preset: str | None = None,
    config_file: str | Path | None = None,
    settings: Sequence[str] = (),
    data: Sequence[str] = (),
    teacher: str | None = None,
    control: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Trains the recipe's teachers and student.

    Args:
        recipe: a registered recipe.
        out: the run folder to be written.
        preset, config_file, settings: see ``edgekd.config.resolve``.
        data: sources, e.g. ``images:DIR``; instead of the config's ``data.source``.
        teacher: a black-box teacher, e.g. ``dlib68``; instead of the config's ``teacher.black_box``.
        control: trains the same student, seed and budget without teachers, too.
        overwrite: replaces a run, which stays as it is until the new one is complete (see ``unfinished``).
        resume: goes on with an interrupted run, from its last finished epoch; its options are the run's own.
            A teacher that is a callable is named again.
        progress: called with what is being done and the share of it that is done.

    Raises:
        InputError: bad configuration or data; an existing output.
    """
    folder = Path(out)
    work = folder  # where it is trained
    tell = progress or (lambda what, share: None)
    recorded: RunRecord | None = None
    if resume:
        if preset or config_file or settings or data or overwrite:
            raise InputError("--resume takes its configuration from the run", fix="leave the other options away")
        work = unfinished(folder) or folder
        recorded = _resumable(work, recipe, control, teacher)
        if recorded.status == "complete":
            if work != folder:  # ended between the last file and the renaming
                replace_folder(work, folder)
            return open_run(folder)
        _renamed_callable(recorded, teacher)
        settings_model = configuration.restore(recipe, recorded.config, str(work / "run.json"))
        preset, control = recorded.preset, recorded.data.get("control", False)
    else:
        refuse_existing(folder, overwrite, "--resume goes on with it", marker="run.json")
        work = _aside(folder) if is_run(folder) else folder
        flags = _flag(recipe, "--data", "data.source", list(data) or None)
        flags += _flag(recipe, "--teacher", "teacher.black_box", teacher)
        own = Path(config_file) if config_file else None
        settings_model = configuration.resolve(recipe, preset, own, [*settings, *flags])
    made: Recipe = recipe_part(recipe, "recipe").Recipe(settings_model)
    tell("data", 0.0)
    datasets = made.datasets(folder.parent / "cache", tell)
    if len(datasets.train) < 2:
        raise InputError("one training sample is too few", "batch normalisation needs two", "give more data")
    fingerprint = _fingerprint(datasets)
    if recorded:
        _same_data(recorded, fingerprint, folder)
    io = made.io_spec()
    judge = Judge(io, recipe_part(recipe, "pipeline").Pipeline(io), recipe_part(recipe, "metrics").METRICS)
    stages = made.stages(datasets, control)

    if not resume:  # earlier tries that were left; whatever is wrong with the input was said
        for left in {work, _aside(folder)}:
            if left.exists():
                shutil.rmtree(left)
    record = RunRecord(
        status="training",
        recipe=recipe,
        preset=preset,
        config=settings_model.model_dump(mode="json"),
        seed=settings_model.seed,
        io=io,
        versions=_versions(),
        data={**datasets.provenance, "control": control, "fingerprint": fingerprint},
    )
    write_record(work, record)
    write_text(work / "config.toml", configuration.dump(settings_model))
    records = [_walk(stage, work / "stages" / stage.name, datasets, judge, settings_model, tell) for stage in stages]
    tell("held-out samples", 0.0)
    student = next(stage for stage in stages if stage.role == "student")
    _finish(work, record, records, student, datasets, judge)
    if work != folder:
        replace_folder(work, folder)
    return open_run(folder)


def unfinished(folder: Path) -> Path | None:
    """Where the training for ``folder`` can be gone on with: a hidden folder beside the run that it is to replace,
    else the folder itself; None where nothing was begun or it is complete.
    """
    if is_run(_aside(folder)):
        return _aside(folder)
    return folder if is_run(folder) and read_record(folder).status == "training" else None


def _aside(folder: Path) -> Path:
    whole = folder.resolve()
    return whole.with_name(f".{whole.name}.unfinished")


def _walk(stage: Stage, folder: Path, datasets: Datasets, judge: Judge, config: Any, tell: Progress) -> StageRecord:
    """Trains one stage, or loads it where an earlier start of this run already finished it."""
    for teacher in stage.frozen.values():
        teacher.eval().requires_grad_(False)
    finished = folder / "stage.json"
    if finished.is_file():
        load_weights(stage.model, folder / "best.safetensors")
        stage.model.eval()
        try:
            return StageRecord.model_validate(read_json(finished))
        except ValidationError as error:
            raise InputError(f"{finished} is damaged", error.errors()[0]["msg"], f"delete {folder}") from None
    folder.mkdir(parents=True, exist_ok=True)
    _check_checkpoint(folder / "last.ckpt", stage)
    teachers = {name: judge.score(module, datasets.val) for name, module in stage.frozen.items()}
    start = time.monotonic()
    if stage.prepare is not None:
        stage.prepare(folder, tell)
    outcome = fit(stage, datasets, judge, folder, config, teachers, tell)
    record = StageRecord(
        name=stage.name,
        role=stage.role,
        epochs=stage.epochs,
        best_epoch=outcome.best_epoch,
        best=outcome.best,
        last=outcome.last,
        test=judge.score(stage.model, datasets.test),
        teachers=teachers,
        images_per_second=outcome.images_per_second,
        seconds=time.monotonic() - start,
        precision=outcome.precision,
        weights=weight_count(stage.model),
        starts_from=dict(stage.starts_from),
    )
    write_json(finished, record.model_dump(mode="json"))
    return record


def _check_checkpoint(path: Path, stage: Stage) -> None:
    """Before it is gone on from: whole, tensors and plain data only, and of this stage's model."""
    if not path.is_file():
        return
    fix = f"delete {path.parent}: the stage begins again"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        found = {name.removeprefix("model."): tuple(value.shape) for name, value in state.items()}
    except Exception as error:  # zip, pickle and torch each raise their own
        raise InputError(f"{path} is no checkpoint", str(error).splitlines()[0], fix) from None
    own = {name: tuple(value.shape) for name, value in stage.model.state_dict().items()}
    if wrong := sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name)):
        raise InputError(f"{path} is another model's", f"{len(wrong)} tensors differ, the first is {wrong[0]}", fix)


def _finish(
    folder: Path,
    record: RunRecord,
    records: list[StageRecord],
    student: Stage,
    datasets: Datasets,
    judge: Judge,
) -> None:
    """Gates teacher → student where a limit is set, and writes what ``export`` needs; ``complete`` comes last."""
    _gate(records, judge, record.config["gate"]["teacher_to_student"])
    held = _spread(len(datasets.test), CAP_HELDOUT)
    arrays: dict[str, np.ndarray] = {}
    samples = [datasets.test.sample(i) for i in held]
    call = judge.caller(student.model)
    outputs = [call(judge.pipeline.preprocess(s.raw)) for s in samples]
    for part, rows in (
        ("raw", [s.raw for s in samples]),
        ("truth", [s.truth for s in samples]),
        ("student", outputs),
    ):
        for name in rows[0]:
            arrays[f"{part}/{name}"] = np.stack([r[name] for r in rows])
    write_arrays(folder / "heldout.npz", arrays)
    fitted = datasets.calibration or datasets.train
    chosen = [fitted.sample(i).raw for i in _spread(len(fitted), CAP_CALIBRATION)]
    write_arrays(folder / "calibration.npz", {f"raw/{n}": np.stack([r[n] for r in chosen]) for n in chosen[0]})
    save_weights(student.model, folder / "student.safetensors")
    example = [torch.from_numpy(judge.pipeline.preprocess(samples[0].raw)[t.name]) for t in judge.io.inputs]
    parameters = sum(p.numel() for p in student.model.parameters())
    facts = {
        "weights": weight_count(student.model),
        "parameters": parameters,
        "bytes": 4 * weight_count(student.model),  # fp32; batch counters are training's, not the student's
        "macs": macs(student.model, *example),
    }
    complete = record.model_copy(
        update={
            "status": "complete",
            "stages": tuple(records),
            "student": facts,
            "files": {name: sha256_file(folder / name) for name in FILES},
        }
    )
    write_record(folder, complete)


def _gate(records: list[StageRecord], judge: Judge, limit: float | None) -> None:
    """Raises GateError where the student lost more of its best teacher's test score than the config allows."""
    name, higher = judge.metrics.primary, judge.metrics.higher_is_better
    teachers = [r.test[name] for r in records if r.role == "teacher"]
    if limit is None or not teachers:
        return
    best = max(teachers) if higher else min(teachers)
    student = next(r.test[name] for r in records if r.role == "student")
    loss = relative_loss(judge.metrics, best, student)
    if not loss <= limit:
        raise GateError(
            "the arrow teacher → student failed its gate",
            f"{name} went from {best:.4g} to {student:.4g} ({loss:+.1%}, gate.teacher_to_student allows {limit:+.1%})",
            "train longer, or a wider student; the stages are kept, the run is not complete",
        )


def _flag(recipe: str, flag: str, key: str, value: str | list[str] | None) -> list[str]:
    """A flag as the ``--set`` that it stands for; nothing where it was not given."""
    if value is None:
        return []
    if not configuration.has_key(recipe, key):
        raise InputError(f"{recipe} takes no {flag}", f"it has no {key}", f"edgekd config show {recipe}")
    return [f"{key}={json.dumps(value, ensure_ascii=False)}"]


def _resumable(folder: Path, recipe: str, control: bool, teacher: str | None) -> RunRecord:
    if not is_run(folder):
        raise InputError(f"{folder} is no run to resume", fix=f"edgekd distill {recipe} --out {folder}")
    record = read_record(folder)
    if record.recipe != recipe:
        raise InputError(
            f"{folder} is a run of {record.recipe}, not of {recipe}",
            "its checkpoints are another recipe's",
            f"edgekd distill {record.recipe} --out {folder} --resume",
        )
    if control and not record.data.get("control", False):
        raise InputError(f"{folder} trains no control", "it was begun without --control", "distil into another --out")
    if teacher is not None and teacher != _black_box(record):
        raise InputError(
            f"{folder} is not a run of the teacher {teacher}",
            f"its teacher.black_box is {_black_box(record)!r}",
            "distil into another --out",
        )
    return record


def _black_box(record: RunRecord) -> str:
    section = record.config.get("teacher", {})
    return str(section.get("black_box", "")) if isinstance(section, dict) else ""


def _renamed_callable(record: RunRecord, teacher: str | None) -> None:
    """A callable is only ever taken from the command line: a run may come from elsewhere."""
    named = _black_box(record)
    if ":" in named and teacher != named:
        raise InputError(
            f"the run was labelled by {named}",
            "code is never run because a run folder names it",
            f"add --teacher {named} if you trust it",
        )


def _same_data(record: RunRecord, fingerprint: dict[str, str], folder: Path) -> None:
    before = record.data.get("fingerprint", {})
    changed = [name for name, value in fingerprint.items() if before.get(name) != value]
    if changed:
        raise InputError(
            f"the data of {folder} has changed since it was begun",
            f"other samples in {', '.join(changed)}",
            "bring the data back, or distil into another --out",
        )


def _fingerprint(datasets: Datasets) -> dict[str, str]:
    return {name: getattr(datasets, name).fingerprint for name in ("train", "val", "test")}


def _spread(size: int, cap: int) -> list[int]:
    """At most ``cap`` indices, evenly over the whole set."""
    return [int(i) for i in np.unique(np.linspace(0, size - 1, min(size, cap)).round())]


def _versions() -> dict[str, str]:
    names = ("edgekd", "torch", "pytorch-lightning", "numpy", "pillow")
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}
