"""Writing a bundle: whole or absent."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal, cast

import numpy as np

from edgekd.bundle.distance import distance
from edgekd.bundle.live import graphs_held
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
from edgekd.bundle.placement import quantized, summarize
from edgekd.contracts import Array, Precision, Profile, TensorSpec
from edgekd.conversion.gates import Witness
from edgekd.conversion.trial import Canonical, GraphTrial, Trial
from edgekd.registry import builder, target_entry
from edgekd.storage import sha256_file, whole_folder, write_arrays, write_text

VECTORS = 16  # enough to rotate through; small enough to travel
FEEDS_TOLERANCE = 2 / 255  # resamplers of two Pillow versions may differ in the last bit of a pixel
FP32_TOLERANCE = 1e-4
VECTORS_BYTES = 64 << 20  # of feeds and outputs, before compression: large pictures are fewer
LEAST_FRAMES = 8  # of a model with state, whatever their size: it must be seen to carry it


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
    facts = canonical.facts(folder)
    with whole_folder(folder, overwrite) as temporary:
        made = chosen.main.built.entry.parent  # further graphs lie in folders of their names in it
        shutil.copytree(made, temporary, dirs_exist_ok=True, copy_function=shutil.copyfile)
        vectors, tolerances = _vectors(canonical, chosen)
        write_arrays(temporary / "vectors.npz", vectors)
        write_text(temporary / "README.md", _readme(folder.name, canonical, profile, chosen))
        calibration = canonical.calibration if quantized(chosen.precision) else None
        manifest = Manifest(
            name=folder.name,
            edgekd_version=edgekd_version,
            created=created,
            recipe=facts["recipe"],
            target=profile.target,
            profile=profile.name,
            precision_asked=asked,
            precision=chosen.precision,
            raced=cast(Literal["raced", "not raced", "single candidate"], raced),
            graphs={name: _entry(name, graph, made) for name, graph in chosen.graphs.items()},
            lowerings=dict(chosen.start.lowerings),
            runtime=profile.options,
            versions={**facts["versions"], **builder(profile.target).versions()},
            calibration=(
                CalibrationFacts(sha256=calibration.sha256, samples=len(calibration)) if calibration else None
            ),
            gates=(*canonical.gates, *chosen.start.gates, *chosen.gates),
            candidates=tuple(candidates),
            placement=summarize(chosen.main.placement) if chosen.main.placement else None,
            not_executed=chosen.not_executed,
            vectors=tolerances,
            licences=facts["licences"],
            provenance=Provenance.model_validate(facts["provenance"]),
            weights=WeightFacts.model_validate(facts["weights"]),
            files={
                f.relative_to(temporary).as_posix(): FileFacts(sha256=sha256_file(f), bytes=f.stat().st_size)
                for f in sorted(temporary.rglob("*"))
                if f.is_file()
            },
        )
        write_manifest(temporary, manifest)
    return folder


def _vectors(canonical: Canonical, chosen: Trial) -> tuple[dict[str, Array], VectorFacts]:
    outputs = [value[0] for value in canonical.reference.outputs.values()]
    size = sum(np.asarray(value).nbytes for value in [*canonical.feeds(1)[0].values(), *outputs, *outputs])
    least = LEAST_FRAMES if canonical.source.io.state else 1
    feeds = canonical.feeds(min(VECTORS, max(least, VECTORS_BYTES // max(1, size))))
    count = len(feeds)
    raws = canonical.raws(count)
    arrays: dict[str, Array] = {}
    for part, rows in (("raw", raws), ("feeds", feeds)):
        for name in rows[0] if rows else ():
            arrays[f"{part}/{name}"] = np.stack([r[name] for r in rows])
    for name, value in canonical.reference.outputs.items():
        arrays[f"fp32/{name}"] = value[:count]
    built = chosen.witness or canonical.reference
    for part, said in (("built", built), *((f"live/{n}", chosen.live.get(n, built)) for n in _live(chosen))):
        for name, value in said.outputs.items():
            arrays[f"{part}/{name}"] = value[:count]
    facts = VectorFacts(
        samples=count,
        feeds_tolerance=FEEDS_TOLERANCE,
        outputs_tolerance=_tolerance(chosen.witness, canonical, chosen.precision),
        live_tolerances={n: _tolerance(chosen.live.get(n), canonical, chosen.precision) for n in _live(chosen)},
        built_outputs_from=(
            f"the typed graph, in {chosen.gates[0].where}" if chosen.not_executed else "this runtime, at export"
        ),
    )
    return arrays, facts


def _live(chosen: Trial) -> list[str]:
    return [name for name, graph in chosen.graphs.items() if graph.io.held]


def _tolerance(built: Witness | None, canonical: Canonical, precision: Precision) -> float:
    """Another CPU may round another way; it must not add more than quantization itself did."""
    if built is None or precision == Precision.FP32:
        return FP32_TOLERANCE
    found = max(distance(v, canonical.reference.outputs[n]).relative_max for n, v in built.outputs.items())
    return max(FP32_TOLERANCE, found)


def _entry(name: str, graph: GraphTrial, made: Path) -> GraphEntry:
    built = graph.built
    return GraphEntry(
        entry=built.entry.relative_to(made).as_posix(),
        typed_onnx=built.typed_onnx.relative_to(made).as_posix() if built.typed_onnx else None,
        io=graph.io,
        engine=built.engine,
        placement=summarize(graph.placement) if graph.placement and name != "main" else None,
    )


def _readme(name: str, canonical: Canonical, profile: Profile, chosen: Trial) -> str:
    io = canonical.source.io
    tensors = [*(f"- in {_tensor(t)}" for t in io.fed), *(f"- out {_tensor(t)}" for t in io.given)]
    said = canonical.readme(name, chosen.gates[-1], chosen.precision)
    extra = profile.extra or target_entry(profile.target).facts["extra"]
    parts = [
        f"# {name}",
        f"{said.what} for {profile.target} ({profile.title}), {chosen.precision}.\n{said.found}",
        *(note for note in (_not_run(chosen), *chosen.main.built.notes) if note),
        "\n".join(tensors),
        f'    pip install "edgekd[{extra}]"\n    edgekd verify {name}',
        _python(f"import edgekd\n\n{said.snippet}"),
    ]
    if io.state:
        parts.append(
            f"It remembers: {', '.join(io.state.values())} are carried from call to call, from zeros. Give frames in "
            "their order;\na new sequence begins where the pipeline sees one, or at `bundle.session.reset()`."
        )
    parts += [_live_way(graph, chosen) for graph in _live(chosen)]
    if chosen.start.lowerings:
        forms = ", ".join(f"{op}: {form}" for op, form in chosen.start.lowerings.items())
        parts.append(f"Blocks in other forms than the student's own, each with the same numbers: {forms}.")
    parts.append(
        "`manifest.json` holds the proof: gates, precision as built, provenance, licences, sha256 of every file."
    )
    return "\n\n".join(parts) + "\n"


def _live_way(name: str, chosen: Trial) -> str:
    """The second way to run: what is held is computed once."""
    sources = graphs_held(chosen.graphs[name].io)
    once = dict.fromkeys(t.name for source in sources for t in chosen.graphs[source].io.fed)
    every = [t.name for t in chosen.graphs[name].io.fed]
    code = f"""live = bundle.live("{name}")
feeds = {{key: value[0] for key, value in bundle.vectors()["feeds"].items()}}
prepared = live.prepare({{key: feeds[key] for key in {[*once]}}})  # keep it: live.use(prepared) holds it again
outputs = live.run({{key: feeds[key] for key in {every}}})"""
    return (
        "There are two ways to run it. The one above takes everything on every call; this one runs "
        f"{', '.join(sources)} once,\nfor {', '.join(once)}, and then only {name}, for each new {', '.join(every)}:\n\n"
        f"{_python(code)}"
    )


def _python(code: str) -> str:
    return f"```python\n{code}\n```"


def _not_run(chosen: Trial) -> str:
    """That the figures are a reference's, where the runtime itself was not asked."""
    return f"{chosen.not_executed}. The figures are from {chosen.gates[-1].where}." if chosen.not_executed else ""


def _tensor(spec: TensorSpec) -> str:
    unit = f" ({spec.unit})" if spec.unit else ""
    return f"`{spec.name}` {list(spec.shape)} {spec.dtype}" + (f": {spec.meaning}{unit}" if spec.meaning else "")
