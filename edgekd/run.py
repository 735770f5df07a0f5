"""The run folder that ``distill`` writes and everything after it reads. Knows no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from edgekd.contracts import Array, Arrays, IoSpec, StrictModel
from edgekd.errors import InputError
from edgekd.schema import Count, InnerPath, Sha256, read_versioned, validated, with_schema
from edgekd.storage import inner_file, read_arrays, row, section, sha256_file, write_json

SCHEMA_VERSION = 2  # 2: an io spec's ``held``, which has a default
FILES = ("student.safetensors", "heldout.npz", "calibration.npz", "config.toml")  # of a complete run


class StageRecord(StrictModel):
    """What one stage came to. Scores are the recipe's metrics on the validation set."""

    name: str
    role: str
    epochs: int
    best_epoch: int
    best: dict[str, float]
    last: dict[str, float]
    test: dict[str, float] = Field(default_factory=dict)  # the selected weights, on the held-out test set
    teachers: dict[str, dict[str, float]] = Field(default_factory=dict)  # their scores before step 0
    images_per_second: float
    seconds: float
    precision: str
    weights: int
    starts_from: dict[str, Any] = Field(default_factory=dict)


class RunRecord(StrictModel):
    """``run.json``. ``status`` is ``complete`` only once every file below is in place."""

    schema_version: int = SCHEMA_VERSION
    status: Literal["training", "complete"]
    recipe: str
    preset: str | None = None
    config: dict[str, Any]
    seed: int
    io: IoSpec
    versions: dict[str, str]
    data: dict[str, Any] = Field(default_factory=dict)
    processes: int = 1  # that trained it together
    stages: tuple[StageRecord, ...] = ()
    student: dict[str, Count] = Field(default_factory=dict)  # weights, parameters, bytes, MACs
    files: dict[InnerPath, Sha256] = Field(default_factory=dict)  # name -> sha256

    @model_validator(mode="after")
    def _complete_means_all_of_it(self) -> RunRecord:
        if self.status == "complete" and (missing := {"weights", "bytes", "macs"} - set(self.student)):
            raise ValueError(f"student has no {min(missing)}")
        return self


class Run:
    """An opened run."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path, self.record = path, record

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def sha256(self) -> str:
        """Of the student's weights: what the run is known by."""
        return self.record.files["student.safetensors"]

    @property
    def weights(self) -> Path:
        return self.path / "student.safetensors"

    def heldout(self) -> HeldOut:
        return HeldOut(read_arrays(self.path / "heldout.npz"))

    def calibration(self) -> dict[str, Array]:
        """Raw training samples, stacked by name."""
        return section(read_arrays(self.path / "calibration.npz"), "raw")


class HeldOut:
    """Held-out samples with their truth, and what the student said about them when it was trained."""

    def __init__(self, arrays: Arrays) -> None:
        self.raw, self.truth = section(arrays, "raw"), section(arrays, "truth")
        self.student = section(arrays, "student")
        counts = {value.shape[:1] for part in (self.raw, self.truth, self.student) for value in part.values()}
        if not (self.raw and self.truth and self.student) or len(counts) != 1 or counts & {(), (0,)}:
            raise InputError("the held-out data is incomplete", "raw, truth and student must hold the same samples")

    def __len__(self) -> int:
        return len(next(iter(self.raw.values())))

    def raws(self) -> list[dict[str, Array]]:
        return [row(self.raw, i) for i in range(len(self))]

    def truths(self) -> list[dict[str, Array]]:
        return [row(self.truth, i) for i in range(len(self))]


def is_run(path: Path) -> bool:
    return (path / "run.json").is_file()


def read_record(path: Path) -> RunRecord:
    file = path / "run.json"
    return validated(RunRecord, read_versioned(file, "run", SCHEMA_VERSION, "distil again"), file, "distil again")


def write_record(path: Path, record: RunRecord) -> None:
    write_json(path / "run.json", with_schema("run", SCHEMA_VERSION, record.model_dump(mode="json")))


def open_run(path: Path) -> Run:
    """Opens a complete run and checks that its files are the ones that were written.

    Raises:
        InputError: no run, a half-written one, or a file changed since.
    """
    if not path.is_dir():
        raise InputError(f"there is no run folder {path}", fix="edgekd distill RECIPE --out RUN makes one")
    if not is_run(path):
        raise InputError(f"{path} is no run", "it has no run.json", "edgekd distill RECIPE --out RUN makes one")
    record = read_record(path)
    if record.status != "complete":
        raise InputError(
            f"the run {path} is not finished",
            "its training was interrupted or is still going",
            f"edgekd distill {record.recipe} --out {path} --resume",
        )
    for name in sorted({*FILES, *record.files}):
        file = inner_file(path, name, "run", "distil again, or restore the file")
        if sha256_file(file) != record.files.get(name):
            raise InputError(f"{path / name} has changed", "its sha256 is not the run's", "distil again, or restore it")
    return Run(path, record)


def newest_run(root: Path = Path("runs")) -> Path:
    """The run written last below ``root``."""
    written = [p for p in root.glob("*/run.json") if not p.parent.name.startswith(".")] if root.is_dir() else []
    found = sorted(written, key=lambda p: p.stat().st_mtime)
    if not found:
        raise InputError(f"there is no run in {root}/", fix="edgekd distill RECIPE --out runs/NAME makes one")
    return found[-1].parent
