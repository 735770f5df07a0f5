"""Writing a bundle: whole or absent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal, cast

import numpy as np

from edgekd.bundle.distance import distance
from edgekd.bundle.manifest import (
    CalibrationFacts,
    Candidate,
    FileFacts,
    GraphEntry,
    Manifest,
    Provenance,
    VectorFacts,
    WeightFacts,
    write_manifest,
)
from edgekd.bundle.placement import summarize
from edgekd.contracts import Array, Precision, Profile
from edgekd.conversion.trial import Canonical, Trial
from edgekd.registry import builder
from edgekd.run import RunRecord
from edgekd.storage import sha256_file, whole_folder, write_arrays, write_text

VECTORS = 16  # enough to rotate through; small enough to travel
FEEDS_TOLERANCE = 2 / 255  # resamplers of two Pillow versions may differ in the last bit of a pixel
FP32_TOLERANCE = 1e-4


def write_bundle(
    canonical: Canonical,
    profile: Profile,
    *,
    asked: str,
    chosen: Trial,
    candidates: list[Candidate],
    raced: str,
    folder: Path,
    overwrite: bool,
    created: str,
    edgekd_version: str,
) -> Path:
    """Copies what was built, adds vectors, README and manifest, and renames the folder into place."""
    run, record = canonical.run, canonical.run.record
    with whole_folder(folder, overwrite) as temporary:
        for file in sorted(chosen.built.entry.parent.iterdir()):
            shutil.copyfile(file, temporary / file.name)
        entry = GraphEntry(
            entry=chosen.built.entry.name, typed_onnx=chosen.built.typed_onnx.name, io=canonical.source.io
        )
        vectors, tolerances = _vectors(canonical, chosen)
        write_arrays(temporary / "vectors.npz", vectors)
        write_text(temporary / "README.md", _readme(folder.name, canonical, profile, chosen))
        data = record.data
        manifest = Manifest(
            name=folder.name,
            edgekd_version=edgekd_version,
            created=created,
            recipe=record.recipe,
            target=profile.target,
            profile=profile.name,
            precision_asked=asked,
            precision=chosen.precision,
            raced=cast(Literal["raced", "not raced", "single candidate"], raced),
            graphs={"main": entry},
            runtime=profile.options,
            versions={**record.versions, **builder(profile.target).versions()},
            calibration=(
                CalibrationFacts(sha256=canonical.calibration.sha256, samples=len(canonical.calibration))
                if chosen.precision == Precision.INT8
                else None
            ),
            gates=(*canonical.gates, *chosen.gates),
            candidates=tuple(candidates),
            placement=summarize(chosen.placement) if chosen.placement else None,
            vectors=tolerances,
            licences=_licences(record),
            provenance=Provenance(
                run=run.name,
                run_path=os.path.relpath(run.path.resolve(), folder.resolve()),
                student_sha256=run.sha256,
                heldout_sha256=record.files["heldout.npz"],
                seed=record.seed,
                preset=record.preset,
                data=data,
                teacher_to_student={s.name: s.test for s in record.stages},
                stages=tuple(s.model_dump(mode="json") for s in record.stages),
            ),
            weights=WeightFacts.model_validate(record.student),
            files={
                f.relative_to(temporary).as_posix(): FileFacts(sha256=sha256_file(f), bytes=f.stat().st_size)
                for f in sorted(temporary.rglob("*"))
                if f.is_file()
            },
        )
        write_manifest(temporary, manifest)
    return folder


def _vectors(canonical: Canonical, chosen: Trial) -> tuple[dict[str, Array], VectorFacts]:
    count = min(VECTORS, len(canonical.heldout))
    raws = canonical.heldout.raws()[:count]
    feeds = [canonical.pipeline.preprocess(raw) for raw in raws]
    arrays: dict[str, Array] = {}
    for part, rows in (("raw", raws), ("feeds", feeds)):
        for name in rows[0]:
            arrays[f"{part}/{name}"] = np.stack([r[name] for r in rows])
    for name, value in canonical.onnx.outputs.items():
        arrays[f"fp32/{name}"] = value[:count]
    tolerance = FP32_TOLERANCE
    built = chosen.witness
    if built is not None:
        for name, value in built.outputs.items():
            arrays[f"built/{name}"] = value[:count]
        if chosen.precision != Precision.FP32:
            # Another CPU may round another way; it must not add more than quantization itself did.
            found = max(distance(v, canonical.onnx.outputs[n]).relative_max for n, v in built.outputs.items())
            tolerance = max(FP32_TOLERANCE, found)
    else:
        for name, value in canonical.onnx.outputs.items():
            arrays[f"built/{name}"] = value[:count]
    facts = VectorFacts(
        samples=count,
        feeds_tolerance=FEEDS_TOLERANCE,
        outputs_tolerance=tolerance,
        built_outputs_from="this runtime, at export" if built is not None else "the fp32 reference",
    )
    return arrays, facts


def _licences(record: RunRecord) -> dict[str, str]:
    """Of pictures, labels and the weights that training started from, as far as they are known."""
    licences = {str(s["source"]): str(s.get("licence", "unknown")) for s in record.data.get("sources", [])}
    labels = record.data.get("labels", {})
    if labels:
        licences[f"labels ({labels.get('teacher', 'unknown')})"] = str(labels.get("licence", "unknown"))
    for stage in record.stages:
        if stage.starts_from:
            source = stage.starts_from["source"]
            licences[f"weights {stage.name} started from ({source})"] = stage.starts_from.get("license", "unknown")
    return licences


def _readme(name: str, canonical: Canonical, profile: Profile, chosen: Trial) -> str:
    io = canonical.source.io
    inputs = "\n".join(f"- in `{t.name}` {list(t.shape)} {t.dtype}: {t.meaning}" for t in io.inputs)
    outputs = "\n".join(f"- out `{t.name}` {list(t.shape)} {t.dtype}: {t.meaning} ({t.unit})" for t in io.outputs)
    gate = chosen.gates[-1]
    return f"""# {name}

A {canonical.run.record.recipe} student for {profile.target} ({profile.title}), {chosen.precision}.
On {gate.samples} held-out samples its {gate.metric} is {gate.after:.4g}, {gate.before:.4g} before {chosen.precision}.

{inputs}
{outputs}

    pip install "edgekd[{profile.target}]"
    edgekd verify {name}

```python
import edgekd

bundle = edgekd.open("{name}")
raw = {{key: value[0] for key, value in bundle.vectors()["raw"].items()}}
prediction = bundle.predict(raw)
```

`manifest.json` holds the proof: gates, precision as built, provenance, licences, sha256 of every file.
"""
