"""What an interrupted run may be gone on with, and what is refused before anything is trained or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from edgekd.errors import InputError
from edgekd.recipes.contract import Datasets, Stage
from edgekd.run import RunRecord, is_run, read_record


def unfinished(folder: Path) -> Path | None:
    """Where the training for ``folder`` can be gone on with: a hidden folder beside the run that it is to replace,
    else the folder itself; None where nothing was begun or it is complete.
    """
    if is_run(aside(folder)):
        return aside(folder)
    return folder if is_run(folder) and read_record(folder).status == "training" else None


def aside(folder: Path) -> Path:
    """Where a run is trained that is to replace the one at ``folder``."""
    whole = folder.resolve()
    return whole.with_name(f".{whole.name}.unfinished")


def resumable(folder: Path, recipe: str, control: bool, teacher: str | None, processes: int) -> RunRecord:
    """The record of the run in ``folder``.

    Raises:
        InputError: it is no run, or it was begun otherwise than it is now to be gone on with.
    """
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
    if record.status == "complete":
        return record
    if record.processes != processes:
        raise InputError(
            f"{folder} was begun by {record.processes} processes, not by {processes}",
            "others would see the data in other pieces, and BatchNorm other batches",
            f"--devices {record.processes}, or as many over several --nodes",
        )
    named = _black_box(record)
    if ":" in named and teacher != named:
        raise InputError(
            f"the run's teacher is {named}",
            "code is never run because a run folder names it",
            f"add --teacher {named} if you trust it",
        )
    return record


def _black_box(record: RunRecord) -> str:
    section = record.config.get("teacher", {})
    return str(section.get("black_box", "")) if isinstance(section, dict) else ""


def check_same_data(record: RunRecord, fingerprint: dict[str, str], datasets: Datasets, folder: Path) -> None:
    """Raises InputError where the data, or the teacher that the user brought, is not what the run was begun with."""
    before = record.data.get("fingerprint", {})
    changed = [name for name, value in fingerprint.items() if before.get(name) != value]
    if changed:
        raise InputError(
            f"the data of {folder} has changed since it was begun",
            f"other samples in {', '.join(changed)}",
            "bring the data back, or distil into another --out",
        )
    if record.data.get("teacher") != datasets.provenance.get("teacher"):
        raise InputError(
            f"the teacher of {folder} has changed since it was begun",
            "its file has another content",
            "bring the file back, or distil into another --out",
        )


def check_checkpoint(path: Path, stage: Stage) -> None:
    """Before it is gone on from: whole, tensors and plain data only, and of this stage's model."""
    if not path.is_file():
        return
    fix = f"delete {path.parent}: the stage begins again"
    own = _shapes(stage.model.state_dict())
    for part in ("state_dict", "best"):
        try:
            found = _shapes(torch.load(path, map_location="cpu", weights_only=True)[part])
        except Exception as error:  # zip, pickle and torch each raise their own
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path} is no checkpoint", why, fix) from None
        if wrong := sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name)):
            raise InputError(f"{path} is another model's", f"{len(wrong)} tensors differ, the first is {wrong[0]}", fix)


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix("model."): tuple(value.shape) for name, value in state.items()}
