"""The loose parts of run records and manifests, checked: a bundle may come from elsewhere."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from edgekd.bundle.open import Bundle
from edgekd.errors import InputError
from edgekd.run import Run, StageRecord


class Data(BaseModel):
    """What was trained on. ``sources`` each have a ``source`` and a ``licence``."""

    sources: tuple[dict[str, Any], ...] = ()
    labels: dict[str, Any] = {}
    split: dict[str, Any] = {}
    fingerprint: dict[str, Any] = {}

    @property
    def named(self) -> str:
        return " + ".join(str(source.get("source")) for source in self.sources) or "not recorded"

    @property
    def labelled_by(self) -> str:
        """``none: ...`` where no teacher labelled it."""
        return str(self.labels.get("teacher", "none: not recorded"))


class Origin(BaseModel):
    """A manifest's provenance, as far as a report shows it: of a run, or of a model file (``model``)."""

    model: str | None = None
    model_sha256: str | None = None
    judged_on: str = ""
    reference: str = ""
    run: str | None = None
    run_path: str | None = None
    student_sha256: str | None = None
    heldout_sha256: str | None = None
    seed: int | None = None
    preset: str | None = None
    data: Data = Data()
    stages: tuple[StageRecord, ...] = ()


class StudentFacts(BaseModel):
    """``weights`` counts statistics of norms too, ``bytes`` is everything the student's file holds."""

    weights: int
    bytes: int
    macs: int


def origin_of(bundle: Bundle) -> Origin:
    """Raises InputError, naming the manifest, for a provenance that is something else."""
    return _checked(Origin, bundle.manifest.provenance.model_dump(), f"{bundle.path / 'manifest.json'}: provenance")


def data_of(run: Run) -> Data:
    return _checked(Data, run.record.data, f"{run.path / 'run.json'}: data")


def student_of(run: Run) -> StudentFacts:
    """Of a complete run."""
    return _checked(StudentFacts, run.record.student, f"{run.path / 'run.json'}: student")


def _checked(model: Any, value: Any, where: str) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise InputError(f"{where} is damaged", f"{key}: {problem['msg']}") from None
