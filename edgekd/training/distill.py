"""``distill``: a recipe, walked stage by stage, into a run folder. Interruptible, resumable."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd import config as configuration
from edgekd.errors import InputError
from edgekd.recipes.contract import Datasets, Recipe, Stage
from edgekd.recipes.weights import load_weights, save_weights
from edgekd.registry import recipe_part
from edgekd.run import Run, RunRecord, StageRecord, is_run, open_run, read_record, write_record
from edgekd.storage import refuse_existing, sha256_file, write_arrays, write_json, write_text
from edgekd.training.fit import fit
from edgekd.training.stage_module import Judge

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
        resume: goes on with an interrupted run, from its last finished epoch.
        progress: called with what is being done and the share of it that is done.

    Raises:
        InputError: bad configuration or data; an existing output.
    """
    folder = Path(out)
    tell = progress or (lambda what, share: None)
    extra = [f"data.source={_toml_list(data)}"] if data else []
    extra += [f'teacher.black_box="{teacher}"'] if teacher is not None else []
    if resume:
        record = _resumable(folder, recipe)
        if preset or config_file or settings or data:
            raise InputError("--resume takes its configuration from the run", fix="leave the other options away")
        _renamed_callable(record, teacher)
        settings_model = recipe_part(recipe, "config").Config.model_validate(record.config)
        preset, control = record.preset, control or record.data.get("control", False)
        if record.status == "complete":
            return open_run(folder)
    else:
        refuse_existing(folder, overwrite, "--resume goes on with it")
        if folder.exists() and not is_run(folder):
            raise InputError(f"{folder} is no run", "--overwrite replaces runs only", "choose another --out")
        settings_model = configuration.resolve(
            recipe, preset, Path(config_file) if config_file else None, [*settings, *extra]
        )
    made: Recipe = recipe_part(recipe, "recipe").Recipe(settings_model)
    parent = folder.parent
    for above in (folder, *folder.parents):
        if above.exists() and not above.is_dir():
            raise InputError(f"cannot write {folder}", f"{above} is a file")
    tell("data", 0.0)
    datasets = made.datasets(parent / "cache", tell)

    if overwrite and folder.exists() and not resume:
        shutil.rmtree(folder)
    (folder / "stages").mkdir(parents=True, exist_ok=True)
    record = RunRecord(
        status="training",
        recipe=recipe,
        preset=preset,
        config=settings_model.model_dump(mode="json"),
        seed=settings_model.seed,
        io=made.io_spec(),
        versions=_versions(),
        data={**datasets.provenance, "control": control, "fingerprint": _fingerprint(datasets)},
    )
    write_record(folder, record)
    write_text(folder / "config.toml", configuration.dump(settings_model))
    io = made.io_spec()
    judge = Judge(io, recipe_part(recipe, "pipeline").Pipeline(io), recipe_part(recipe, "metrics").METRICS)
    records = []
    for stage in made.stages(datasets, control):
        records.append(_walk(stage, folder / "stages" / stage.name, datasets, judge, settings_model, tell))
        if stage.role == "student":
            student = stage
    tell("held-out samples", 0.0)
    return _finish(folder, record, records, student, datasets, judge, made)


def _walk(stage: Stage, folder: Path, datasets: Datasets, judge: Judge, config: Any, tell: Progress) -> StageRecord:
    """Trains one stage, or loads it where an earlier start of this run already finished it."""
    from edgekd.storage import read_json

    finished = folder / "stage.json"
    if finished.is_file():
        load_weights(stage.model, folder / "best.safetensors")
        stage.model.eval()
        return StageRecord.model_validate(read_json(finished))
    folder.mkdir(parents=True, exist_ok=True)
    teachers = {name: judge.score(module, datasets.val) for name, module in stage.frozen.items()}
    start = time.monotonic()
    outcome = fit(stage, datasets, judge, folder, config, teachers, tell)
    save_weights(stage.model, folder / "best.safetensors")
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
        weights=sum(p.numel() for p in stage.model.parameters()),
        starts_from=dict(stage.starts_from),
    )
    write_json(finished, record.model_dump(mode="json"))
    return record


def _finish(
    folder: Path,
    record: RunRecord,
    records: list[StageRecord],
    student: Stage,
    datasets: Datasets,
    judge: Judge,
    recipe: Recipe,
) -> Run:
    """Writes what ``export`` needs; the record says ``complete`` last."""
    from edgekd.nn.cost import macs, weight_count

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
    chosen = [datasets.train.sample(i).raw for i in _spread(len(datasets.train), CAP_CALIBRATION)]
    write_arrays(folder / "calibration.npz", {f"raw/{n}": np.stack([r[n] for r in chosen]) for n in chosen[0]})
    save_weights(student.model, folder / "student.safetensors")
    example = [torch.from_numpy(judge.pipeline.preprocess(samples[0].raw)[t.name]) for t in judge.io.inputs]
    parameters = sum(p.numel() for p in student.model.parameters())
    facts = {
        "weights": weight_count(student.model),
        "parameters": parameters,
        "bytes": sum(v.numel() * v.element_size() for v in student.model.state_dict().values()),
        "macs": macs(student.model, *example),
    }
    names = ("student.safetensors", "heldout.npz", "calibration.npz", "config.toml")
    complete = record.model_copy(
        update={
            "status": "complete",
            "stages": tuple(records),
            "student": facts,
            "files": {name: sha256_file(folder / name) for name in names},
        }
    )
    write_record(folder, complete)
    return open_run(folder)


def _resumable(folder: Path, recipe: str) -> RunRecord:
    if not is_run(folder):
        raise InputError(f"{folder} is no run to resume", fix=f"edgekd distill {recipe} --out {folder}")
    record = read_record(folder)
    if record.recipe != recipe:
        raise InputError(
            f"{folder} is a run of {record.recipe}, not of {recipe}",
            "its checkpoints are another recipe's",
            f"edgekd distill {record.recipe} --out {folder} --resume",
        )
    return record


def _renamed_callable(record: RunRecord, teacher: str | None) -> None:
    """A callable is only ever taken from the command line: a run may come from elsewhere."""
    named = record.config.get("teacher", {}).get("black_box", "")
    if ":" in named and teacher != named:
        raise InputError(
            f"the run was labelled by {named}",
            "code is never run because a run folder names it",
            f"add --teacher {named} if you trust it",
        )


def _fingerprint(datasets: Datasets) -> dict[str, str]:
    return {name: getattr(datasets, name).fingerprint for name in ("train", "val", "test")}


def _spread(size: int, cap: int) -> list[int]:
    """At most ``cap`` indices, evenly over the whole set."""
    return [int(i) for i in np.unique(np.linspace(0, size - 1, min(size, cap)).round())]


def _versions() -> dict[str, str]:
    names = ("edgekd", "torch", "pytorch-lightning", "numpy", "pillow")
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


def _toml_list(values: Sequence[str]) -> str:
    import json

    return json.dumps(list(values))
