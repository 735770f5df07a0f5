"""``distill``: a recipe, walked stage by stage, into a run folder. Interruptible, resumable, by one process or many."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekd import config as configuration
from edgekd.errors import InputError
from edgekd.nn.cost import weight_count
from edgekd.recipes.contract import Datasets, Recipe, SharedWork, Stage
from edgekd.recipes.weights import load_weights
from edgekd.registry import recipe_part
from edgekd.run import Run, RunRecord, StageRecord, is_run, open_run, write_record
from edgekd.storage import (
    discard_folder,
    locked,
    read_json,
    refuse_existing,
    replace_folder,
    sweep,
    sweep_discarded,
    write_json,
    write_text,
)
from edgekd.training.finish import finish
from edgekd.training.fit import fit
from edgekd.training.judge import Judge
from edgekd.training.launch import launch
from edgekd.training.loader import fitting_batch
from edgekd.training.ranks import Processes, Ranks, join
from edgekd.training.resume import aside, check_checkpoint, check_same_data, resumable, unfinished

Progress = Callable[[str, float], None]
SHARED_WITHIN_S = 60.0  # a network file system may show a new file that late


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
    devices: int = 1,
    nodes: int = 1,
    accelerator: str = "auto",
    strategy: str = "ddp",
    progress: Progress | None = None,
) -> Run:
    """Trains the recipe's teachers and student.

    Args:
        recipe: a registered recipe.
        out: the run folder to be written.
        preset, config_file, settings: see ``edgekd.config.resolve``.
        data: sources, e.g. ``images:DIR``; instead of the config's ``data.source``.
        teacher: a teacher that is not trained here, e.g. ``dlib68``; instead of the config's ``teacher.black_box``.
        control: trains the same student, seed and budget without teachers, too.
        overwrite: replaces a run, which stays as it is until the new one is complete (see ``unfinished``).
        resume: goes on with an interrupted run, from its last finished epoch; its options are the run's own.
            A teacher that is a callable is named again, and so is the number of devices.
        devices: processes of this machine that train together, one to a GPU where there are GPUs. They are started
            here, or were by torchrun or srun. ``train.batch_size`` stays that of a whole step.
        nodes: machines; their processes are started by torchrun or srun (docs/scaling.md).
        accelerator: ``auto`` (GPUs where there are any), ``cpu`` or ``gpu``.
        strategy: how several processes agree: Lightning's name of it.
        progress: called with what is being done and the share of it that is done.

    Raises:
        InputError: bad configuration or data; an existing output; another process trains the same run.
        MachineError: GPUs that are not there; another process was killed.
    """
    processes = Processes(devices, nodes, accelerator, strategy)
    options: dict[str, Any] = {
        **{"preset": preset, "config_file": config_file and str(config_file), "teacher": teacher},
        **{"settings": list(settings), "data": list(data)},
        **{"control": control, "resume": resume, "overwrite": overwrite},
    }
    tell = progress or (lambda what, share: None)
    if processes.must_be_launched():
        launch(processes.devices, {"recipe": recipe, "out": str(out), **options, **vars(processes)}, tell)
        return open_run(Path(out))
    ranks = join(processes)
    with ExitStack() as held:
        if ranks.first:
            _lock(Path(out), held)
        return _distill(
            recipe, Path(out), processes, ranks, tell if ranks.first else lambda what, share: None, **options
        )


def _lock(folder: Path, held: ExitStack) -> None:
    """Two processes that write one run would ruin it. (Ranks of one run are one in this.)"""
    whole = folder.resolve()
    if whole.parent.is_dir() and not held.enter_context(locked(whole.with_name(f".{whole.name}.lock"), wait=False)):
        raise InputError(f"another process is training {folder}", "it holds its lock", "wait for it, or end it")


def _distill(
    recipe: str,
    folder: Path,
    processes: Processes,
    ranks: Ranks,
    tell: Progress,
    *,
    preset: str | None,
    config_file: str | None,
    settings: Sequence[str],
    data: Sequence[str],
    teacher: str | None,
    control: bool,
    resume: bool,
    overwrite: bool,
) -> Run:
    work = folder  # where it is trained
    recorded: RunRecord | None = None
    if resume:
        if preset or config_file or settings or data or overwrite:
            raise InputError("--resume takes its configuration from the run", fix="leave the other options away")
        work = unfinished(folder) or folder
        recorded = resumable(work, recipe, control, teacher, ranks.count)
        if recorded.status == "complete":  # at most it ended between its last file and the renaming
            ranks.wait()
            ranks.once(lambda: _into_place(work, folder))
            return open_run(folder)
        settings_model = configuration.restore(recipe, recorded.config, str(work / "run.json"))
        preset, control = recorded.preset, recorded.data.get("control", False)
    else:
        refuse_existing(folder, overwrite, "--resume goes on with it", marker="run.json")
        work = aside(folder) if is_run(folder) else folder
        flags = _flag(recipe, "--data", "data.source", list(data) or None)
        flags += _flag(recipe, "--teacher", "teacher.black_box", teacher)
        own = Path(config_file) if config_file else None
        settings_model = configuration.resolve(recipe, preset, own, [*settings, *flags])
    ranks.wait()  # from here on rank 0 writes what the others have looked at
    made: Recipe = recipe_part(recipe, "recipe").Recipe(settings_model)
    tell("data", 0.0)
    datasets, fingerprint = _datasets(made, folder.parent / "cache", ranks, tell)
    if len(datasets.train) < 2:
        raise InputError("one training sample is too few", "batch normalisation needs two", "give more data")
    if recorded:
        check_same_data(recorded, fingerprint, datasets, folder)
    io = made.io_spec()
    judge = Judge(io, recipe_part(recipe, "pipeline").Pipeline(io), recipe_part(recipe, "metrics").METRICS)
    stages = made.stages(datasets, control)
    for stage in stages:
        fitting_batch(len(stage.samples or datasets.train), stage.batch_size, ranks)

    record = RunRecord(
        status="training",
        recipe=recipe,
        preset=preset,
        config=settings_model.model_dump(mode="json"),
        seed=settings_model.seed,
        io=io,
        versions=_versions(),
        data={**datasets.provenance, "control": control, "fingerprint": fingerprint},
        processes=ranks.count,
    )

    def begin() -> None:
        if resume:
            sweep(work)
        else:  # earlier tries that were left; whatever is wrong with the input was said
            for left in {work, aside(folder)}:
                discard_folder(left)
        write_record(work, record)
        write_text(work / "config.toml", configuration.dump(settings_model))

    ranks.once(begin)
    _check_shared(work)
    records = [
        _walk(stage, work / "stages" / stage.name, datasets, judge, settings_model, processes, ranks, tell)
        for stage in stages
    ]
    tell("held-out samples", 0.0)
    student = next(stage for stage in stages if stage.role == "student")

    def end() -> None:
        finish(work, record, records, student, datasets, judge)
        _into_place(work, folder)

    ranks.once(end)
    return open_run(folder)


def _into_place(work: Path, folder: Path) -> None:
    if work != folder:
        replace_folder(work, folder)
    sweep_discarded(folder)


def _datasets(made: Recipe, cache: Path, ranks: Ranks, tell: Progress) -> tuple[Datasets, dict[str, str]]:
    """The data and its fingerprint. What is slow to make is made once, by rank 0, or by all where they can share it."""
    if ranks.count > 1 and isinstance(made, SharedWork):
        made.make_share(cache, ranks.rank, ranks.count, tell)
    ranks.wait()
    found = made.datasets(cache, tell) if ranks.first else None
    ranks.wait()
    found = found or made.datasets(cache, tell)
    own = {name: getattr(found, name).fingerprint for name in ("train", "val", "test")}
    fingerprint = ranks.once(lambda: own)
    if own != fingerprint:
        raise InputError(
            f"process {ranks.rank} finds other data than the first one",
            "the sources, or a cache that is not shared, differ between the machines",
            "give all of them the same pictures and one cache: --set data.cache=FOLDER where the recipe has it",
        )
    return found, fingerprint


def _check_shared(work: Path) -> None:
    """Every rank reads checkpoints and weights that rank 0 writes."""
    until = time.monotonic() + SHARED_WITHIN_S
    while not is_run(work):
        if time.monotonic() > until:
            raise InputError(
                f"this machine does not see {work}",
                "the run folder must lie on a file system that all nodes share",
                "choose another --out",
            )
        time.sleep(0.2)


def _walk(
    stage: Stage,
    folder: Path,
    datasets: Datasets,
    judge: Judge,
    config: Any,
    processes: Processes,
    ranks: Ranks,
    tell: Progress,
) -> StageRecord:
    """Trains one stage, or loads it where an earlier start of this run already finished it."""
    for teacher in stage.frozen.values():
        teacher.eval().requires_grad_(False)
    finished = folder / "stage.json"
    if ranks.once(finished.is_file):
        load_weights(stage.model, folder / "best.safetensors")
        stage.model.eval()
        try:
            return StageRecord.model_validate(read_json(finished))
        except ValidationError as error:
            raise InputError(f"{finished} is damaged", error.errors()[0]["msg"], f"delete {folder}") from None
    folder.mkdir(parents=True, exist_ok=True)
    check_checkpoint(folder / "last.ckpt", stage)
    teachers = ranks.once(lambda: {name: judge.score(module, datasets.val) for name, module in stage.frozen.items()})
    start = time.monotonic()
    if stage.prepare is not None:
        if not ranks.first:
            ranks.wait()
        stage.prepare(folder, tell)  # rank 0 first: the others find what it made
        if ranks.first:
            ranks.wait()
    outcome = fit(stage, datasets, judge, folder, config, teachers, tell, processes, ranks)

    def record() -> dict[str, Any]:
        told = StageRecord(
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
        ).model_dump(mode="json")
        write_json(finished, told)
        return told

    return StageRecord.model_validate(ranks.once(record))


def _flag(recipe: str, flag: str, key: str, value: str | list[str] | None) -> list[str]:
    """A flag as the ``--set`` that it stands for; nothing where it was not given."""
    if value is None:
        return []
    if not configuration.has_key(recipe, key):
        raise InputError(f"{recipe} takes no {flag}", f"it has no {key}", f"edgekd config show {recipe}")
    return [f"{key}={json.dumps(value, ensure_ascii=False)}"]


def _versions() -> dict[str, str]:
    names = ("edgekd", "torch", "pytorch-lightning", "numpy", "pillow")
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}
