"""A paper's claims against our evidence: reproduced, better, worse, not comparable, or not run.

Nothing is ever scaled from one class of hardware to another, and what a paper does not state is "not stated".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from edgekd.contracts import StrictModel
from edgekd.errors import InputError
from edgekd.measuring.measurement import Measurement
from edgekd.toml import first_problem, not_finite, read_toml

SCHEMA_VERSION = 1
NOT_STATED = "not stated"
Value = str | int | float
Kind = Literal["size", "quality", "speed", "memory"]

# Which of a claim's conditions must be stated and met, and which must be met where they are stated. A runtime
# is how a figure is reached, not what it is a figure of, so it is shown and never compared.
REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    "size": (),
    "quality": ("dataset",),
    "speed": ("hardware", "span"),
    "memory": ("hardware",),
}
WHERE_STATED: Mapping[Kind, tuple[str, ...]] = {
    "size": ("precision", "resolution"),
    "quality": ("precision", "resolution"),
    "speed": ("precision", "batch", "resolution"),
    "memory": ("precision", "batch", "resolution"),
}


class Status(str, Enum):
    REPRODUCED = "REPRODUCED"
    BETTER = "BETTER"
    WORSE = "WORSE"
    NOT_COMPARABLE = "NOT COMPARABLE"
    NOT_RUN = "NOT RUN"

    def __str__(self) -> str:
        return self.value


class Claim(StrictModel):
    """One figure that a paper or its authors gave, with its conditions.

    ``hardware`` is told as they tell it; ``hardware_class`` is the part of a machine's name that makes
    another machine the same class (``Raspberry Pi 4``), left out where theirs cannot be told. ``conditions``
    are further ones that must be equal. ``better`` is ``exact`` for a count: it is right or another model's.
    """

    id: str
    paper: str
    metric: str
    value: float
    unit: str
    kind: Kind
    better: Literal["lower", "higher", "exact"]
    source: str
    tolerance: float = Field(0.10, ge=0, le=0.10)
    hardware: str = NOT_STATED
    hardware_class: str = NOT_STATED
    runtime: str = NOT_STATED
    precision: str = NOT_STATED
    batch: int | str = NOT_STATED
    resolution: str = NOT_STATED
    span: str = NOT_STATED
    dataset: str = NOT_STATED
    conditions: dict[str, Value] = Field(default_factory=dict)


class Claims(StrictModel):
    """A recipe's ``claims.toml``: ``papers`` by short name, and the claims."""

    papers: dict[str, str]
    claim: tuple[Claim, ...]

    @model_validator(mode="after")
    def _names_resolve(self) -> Claims:
        ids = [claim.id for claim in self.claim]
        twice = {name for name in ids if ids.count(name) > 1}
        unknown = {claim.paper for claim in self.claim} - set(self.papers)
        if twice or unknown:
            raise ValueError(f"claims named twice: {sorted(twice)}; papers not listed: {sorted(unknown)}")
        return self


class Evidence(StrictModel):
    """One figure of ours: from a measurement, or a count such as a run's number of weights.

    ``conditions`` has the names that claims use. ``reasons`` are why it may not be claimed; none if it may.
    """

    metric: str
    value: float
    unit: str
    conditions: dict[str, Value] = Field(default_factory=dict)
    reasons: tuple[str, ...] = ()


class Assessment(StrictModel):
    """``relative`` is (ours - theirs) / theirs. ``differs`` says what keeps the two from being compared."""

    claim: Claim
    evidence: Evidence | None
    status: Status
    differs: tuple[str, ...] = ()
    not_stated: tuple[str, ...] = ()
    relative: float | None = None


def load_claims(path: Path) -> Claims:
    """Raises InputError for a file that is missing, no TOML, or has an unknown key or a wrong value."""
    data = read_toml(path)
    if key := not_finite(data):
        raise InputError(f"{path}: {key} cannot be used", "it is NaN or infinite", "give a finite number")
    try:
        return Claims.model_validate(data)
    except ValidationError as error:
        raise first_problem(error, data, Claims, str(path)) from None


def recipe_claims(recipe: str) -> Claims:
    from edgekd.registry import recipe_entry

    path = recipe_entry(recipe).folder / "claims.toml"
    if not path.is_file():
        raise InputError(f"the recipe {recipe} has no claims", f"there is no {path}")
    return load_claims(path)


def assess(claim: Claim, evidence: Iterable[Evidence]) -> Assessment:
    """The claim against the evidence that comes closest to its conditions."""
    not_stated = tuple(name for name in _relevant(claim.kind) if _stated(claim, name) is None)
    same_metric = [(_differences(claim, item), item) for item in evidence if item.metric == claim.metric]
    if not same_metric:
        return Assessment(claim=claim, evidence=None, status=Status.NOT_RUN, not_stated=not_stated)
    differs, nearest = min(same_metric, key=lambda pair: len(pair[0]))
    relative = _relative(nearest.value, claim.value) if claim.unit == nearest.unit else None
    return Assessment(
        claim=claim,
        evidence=nearest,
        status=Status.NOT_COMPARABLE if differs or relative is None else _status(claim, relative),
        differs=differs,
        not_stated=not_stated,
        relative=relative,
    )


def _relative(ours: float, theirs: float) -> float:
    if theirs == 0:
        return 0.0 if ours == 0 else math.copysign(math.inf, ours)
    return (ours - theirs) / theirs


def assess_all(claims: Claims, evidence: Sequence[Evidence]) -> list[Assessment]:
    return [assess(claim, evidence) for claim in claims.claim]


def evidence_from(measurement: Measurement) -> list[Evidence]:
    """Speed, memory and size of one measurement, under its conditions.

    A paper's latency or frame rate is that of one frame after another and its memory that of one session, so only
    scenario ``single`` tells of them; of the others, sizes. They are of the whole model: a graph that was prepared
    before it was measured tells of none.
    """
    artifact, machine = measurement.artifact, measurement.machine
    if artifact.graph != "main":
        return []
    versions = " ".join(f"{name} {version}" for name, version in artifact.versions.items())
    conditions: dict[str, Value] = {
        "hardware": ", ".join(filter(None, (machine.cpu_model, machine.product))) or machine.architecture,
        "runtime": f"{artifact.target} ({versions})" if versions else artifact.target,
        "precision": artifact.precision,
        "batch": measurement.conditions.batch,
    }
    pictures = [shape for shape in artifact.inputs.values() if len(shape) == 4]
    if pictures:
        conditions["resolution"] = f"{pictures[0][-2]}x{pictures[0][-1]}"
    verdict = measurement.verdict
    reasons = () if verdict.claimable else (f"ours is {verdict.label}: {'; '.join(verdict.reasons)}",)
    found = []
    single = measurement.conditions.scenario == "single"
    for span, figures in measurement.spans.items() if single else ():
        at = {**conditions, "span": span}
        found.append(_timed("latency_mean", figures.mean_ms, "ms", at, reasons))
        found.append(_timed("fps", 1000 / max(figures.mean_ms, 1e-3), "frames/s", at, reasons))
        for name, value in figures.percentiles_ms.items():
            if value is not None:
                found.append(_timed(f"latency_{name}", value, "ms", at, reasons))
    memory = measurement.memory
    sizes = [("artifact_bytes", memory.artifact_bytes), ("parameters_bytes", memory.parameters_bytes)]
    if single:
        sizes.append(("rss_increase_bytes", memory.rss_increase_bytes))
    for metric, size in sizes:
        found.append(Evidence(metric=metric, value=size, unit="bytes", conditions=conditions))
    return found


def _timed(metric: str, value: float, unit: str, conditions: dict[str, Value], reasons: tuple[str, ...]) -> Evidence:
    return Evidence(metric=metric, value=value, unit=unit, conditions=conditions, reasons=reasons)


def _status(claim: Claim, relative: float) -> Status:
    if abs(relative) <= claim.tolerance + 1e-12:
        return Status.REPRODUCED
    if claim.better == "exact":
        return Status.WORSE
    lower = relative < 0
    return Status.BETTER if lower == (claim.better == "lower") else Status.WORSE


def _relevant(kind: Kind) -> tuple[str, ...]:
    return REQUIRED[kind] + WHERE_STATED[kind]


def _stated(claim: Claim, name: str) -> Value | None:
    value: Value = claim.hardware_class if name == "hardware" else getattr(claim, name)
    return None if value == NOT_STATED else value


def _differences(claim: Claim, evidence: Evidence) -> tuple[str, ...]:
    """What keeps the two from being compared, in words; none if they may be."""
    found = list(evidence.reasons)
    if claim.unit != evidence.unit:
        found.append(f"unit: theirs {claim.unit}, ours {evidence.unit}")
    for name in _relevant(claim.kind):
        theirs, ours = _stated(claim, name), evidence.conditions.get(name)
        if theirs is None:
            if name in REQUIRED[claim.kind]:
                told = claim.hardware if name == "hardware" else NOT_STATED
                found.append(f"{name}: theirs {told}, ours {_told(ours)}")
        elif not _meets(name, theirs, ours):
            shown = claim.hardware if name == "hardware" else theirs
            found.append(f"{name}: theirs {shown}, ours {_told(ours)}")
    for name, wanted in claim.conditions.items():
        ours = evidence.conditions.get(name)
        if not _meets(name, wanted, ours):
            found.append(f"{name}: theirs {wanted}, ours {_told(ours)}")
    return tuple(found)


def _meets(name: str, theirs: Value, ours: Value | None) -> bool:
    if ours is None:
        return False
    if name == "hardware":
        return str(theirs).casefold() in str(ours).casefold()
    if isinstance(theirs, str) or isinstance(ours, str):
        return str(theirs).casefold() == str(ours).casefold()
    return theirs == ours


def _told(value: Value | None) -> Value:
    return NOT_STATED if value is None else value
