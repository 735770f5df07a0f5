"""What runs, bundles and measurements say about a recipe's claims.

Nothing here knows a recipe: a claim's conditions are looked up in the run's configuration, a setting of the
claimed model's own section (``student``, ``teacher``) before the same name elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.bundle.open import Bundle
from edgekd.errors import InputError
from edgekd.measuring.claims import Assessment, Evidence, Value, assess_all, evidence_from, recipe_claims
from edgekd.measuring.measurement import Measurement
from edgekd.reporting.collect import Collected
from edgekd.reporting.origin import data_of, origin_of, student_of
from edgekd.run import Run, StageRecord


def assessments(found: Collected) -> dict[str, list[Assessment]]:
    """Recipe -> every one of its claims with its status; for the recipes that something was found of.

    A recipe that is not registered here, or states no claims, has none.
    """
    from edgekd.registry import recipes

    ours: dict[str, list[Evidence]] = {}
    for run in found.runs:
        ours.setdefault(run.record.recipe, []).extend(run_evidence(run))
    for bundle in found.bundles:
        if bundle.manifest.recipe:
            ours.setdefault(bundle.manifest.recipe, []).extend(bundle_evidence(bundle, found.run_of(bundle)))
    for measurement in found.measurements:
        recipe, run_ = _origin(measurement, found)
        if recipe:
            at = _conditions(run_, "student")
            ours.setdefault(recipe, []).extend(_under(item, at) for item in evidence_from(measurement))
    return {
        recipe: assess_all(recipe_claims(recipe), evidence)
        for recipe, evidence in ours.items()
        if recipe in recipes() and (recipes()[recipe].folder / "claims.toml").is_file()
    }


def run_evidence(run: Run) -> list[Evidence]:
    """Size of the student, size and quality of every stage's model, as trained."""
    record = run.record
    if record.status != "complete":
        return []
    student = student_of(run)
    at: dict[str, Value] = {**_conditions(run, "student"), "precision": "fp32", "runtime": "torch"}
    found = [
        Evidence(metric="parameters", value=student.weights, unit="weights", conditions=at),
        Evidence(metric="parameters_bytes", value=student.bytes, unit="bytes", conditions=at),
        # A multiply-accumulate is two operations, as papers count them.
        Evidence(metric="flops", value=2 * student.macs, unit="floating-point operations", conditions=at),
        Evidence(metric="macs", value=student.macs, unit="MACs", conditions=at),
    ]
    for stage in record.stages:
        if stage.role == "preparation":
            continue
        role = "teacher" if stage.role == "teacher" else "student"
        at = {**_conditions(run, role), "precision": "fp32", "runtime": "torch", "stage": stage.name}
        if stage.role == "control":
            at["teachers"] = "none"
        found += _quality(record.recipe, stage.test, at)
        if role == "teacher":
            weights = stored_weights(run.path / "stages" / stage.name / "best.safetensors")
            if weights is not None:
                found.append(Evidence(metric="parameters", value=weights, unit="weights", conditions=at))
    return found


def bundle_evidence(bundle: Bundle, run: Run | None) -> list[Evidence]:
    """Quality on the device, from the last gate, which looked at the whole road."""
    manifest = bundle.manifest
    gate = manifest.gates[-1] if manifest.gates else None
    if gate is None or gate.after is None or manifest.recipe is None:
        return []
    at: dict[str, Value] = {
        **_conditions(run, "student"),
        "precision": str(manifest.precision),
        "runtime": manifest.target,
        "dataset": origin_of(bundle).data.named,
    }
    return _quality(manifest.recipe, {gate.metric: gate.after}, at)


def stored_weights(path: Path) -> int | None:
    """Numbers in floating point that a safetensors file holds (statistics of norms count); None without one.

    The format: eight bytes with the header's length, little-endian, then the header as JSON.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors = [facts for name, facts in header.items() if name != "__metadata__"]
        return sum(math.prod(t["shape"]) for t in tensors if t["dtype"].startswith(("F", "BF")))
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise InputError(f"{path} is damaged", f"its header cannot be read: {error}") from None


def _quality(recipe: str, scores: Mapping[str, float], at: dict[str, Value]) -> list[Evidence]:
    """Each score under the name, unit and conditions that the recipe's claims use, where its metrics offer
    ``as_claimed``; under its own otherwise."""
    from edgekd.registry import recipe_part, recipes

    if recipe not in recipes() or not scores:
        return []
    metrics = recipe_part(recipe, "metrics").METRICS
    found = [
        Evidence(metric=name, value=value, unit=metrics.units.get(name, ""), conditions=at)
        for name, value in scores.items()
    ]
    for name, value, unit, more in getattr(metrics, "as_claimed", lambda *_: ())(scores, str(at.get("dataset"))):
        found.append(Evidence(metric=name, value=value, unit=unit, conditions={**at, **more}))
    return found


def _origin(measurement: Measurement, found: Collected) -> tuple[str | None, Run | None]:
    """Recipe and run of what was measured."""
    sha = measurement.artifact.sha256
    for bundle in found.bundles:
        if bundle.sha256 == sha:
            return bundle.manifest.recipe, found.run_of(bundle)
    for run in found.runs:
        if run.record.files and run.sha256 == sha:
            return run.record.recipe, run
    return None, None


def _under(item: Evidence, conditions: Mapping[str, Value]) -> Evidence:
    return item.model_copy(update={"conditions": {**conditions, **item.conditions}})


def _conditions(run: Run | None, role: str) -> dict[str, Value]:
    """The run's settings by their bare names, ``model``, ``teachers``, ``dataset`` and ``resolution``."""
    at: dict[str, Value] = {}
    if run is not None:
        record = run.record
        sections = {k: v for k, v in record.config.items() if isinstance(v, Mapping)}
        others = [values for name, values in sections.items() if name not in ("student", "teacher")]
        for values in (*others, sections.get(role, {})):
            at.update({k: v for k, v in values.items() if isinstance(v, (str, int, float))})
        at["seed"] = record.seed
        at["teachers"] = _teachers(record.config, record.stages)
        at["dataset"] = data_of(run).named
        pictures = [t.shape for t in record.io.inputs if t.image is not None and len(t.shape) == 4]
        if pictures:
            at["resolution"] = f"{pictures[0][-2]}x{pictures[0][-1]}"
    at["model"] = role
    return at


def _teachers(config: Mapping[str, Any], stages: Sequence[StageRecord]) -> str:
    """As the configuration names the choice (``both``), else the names of the teachers that were trained, or loaded and
    asked by the student's stage."""
    chosen = config.get("teacher", {}).get("use") if isinstance(config.get("teacher"), Mapping) else None
    trained = [stage.name for stage in stages if stage.role == "teacher"]
    asked = [name for stage in stages if stage.role == "student" for name in stage.teachers]
    return str(chosen) if chosen else " + ".join(trained or asked) or "none"
