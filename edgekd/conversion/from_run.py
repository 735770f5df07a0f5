"""A run as the canonical graph: student -> pipeline -> canonical ONNX, judged by the recipe's metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from edgekd import config as configuration
from edgekd.bundle.live import Whole, live_of, together
from edgekd.bundle.manifest import GateRecord, check_graphs
from edgekd.bundle.sequences import first_sequence
from edgekd.bundle.session import CarriedState, carried
from edgekd.contracts import Arrays, Calibration, IoSpec, Precision, Session, Source
from edgekd.conversion.calibration import RunCalibration
from edgekd.conversion.gates import Witness, judge, require, witness
from edgekd.conversion.to_onnx import export_onnx
from edgekd.conversion.trial import Canonical, Readme, Start
from edgekd.errors import EdgekdError, InputError
from edgekd.nn.folding import fold_batchnorm
from edgekd.nn.lowering import Lowerable, lower
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.recipes.contract import Metrics, Pipeline, Recipe, SeveralGraphs
from edgekd.recipes.weights import load_weights
from edgekd.registry import recipe_part
from edgekd.run import HeldOut, Run, RunRecord
from edgekd.storage import row
from edgekd.training.judge import Judge


@dataclass(kw_only=True)
class RunCanonical(Canonical):
    """A student of ours, with its recipe's pipeline and metrics."""

    run: Run
    recipe: Recipe
    pipeline: Pipeline
    metrics: Metrics
    heldout: HeldOut

    def judge(self, arrow: str, before: Witness, after: Witness, precision: Precision, where: str) -> GateRecord:
        return judge(
            arrow,
            before,
            after,
            precision=precision,
            where=where,
            metrics=self.metrics,
            truths=self.heldout.truths(),
        )

    def witness(self, session: Session) -> Witness:
        return witness(session, self.pipeline, self.heldout.raws())

    def lowered(self, lowerings: Mapping[str, str], folder: Path) -> Start | None:
        if not lowerings:
            return None
        module, io = lower(self.source.module, lowerings), self.source.io
        forms = {
            after.op: after.form
            for before, after in zip(self.source.module.modules(), module.modules(), strict=True)
            if isinstance(before, Lowerable) and isinstance(after, Lowerable) and before.form != after.form
        }
        if not forms:
            return None
        name = f"lowered ({', '.join(f'{op}: {form}' for op, form in forms.items())})"
        start = replace(self.start, name=name, lowerings=forms)
        try:
            sources = _exported(self.recipe, module, io, folder / "lowered")
            reference = OnnxReference(sources["main"].model, io)
            said = self.witness(carried(reference))
            arrow = f"{self.start.name} → {name}"
            gate = self.judge(arrow, self.reference, said, Precision.FP32, reference.name)
            start = replace(start, sources=sources, said=said, gates=(gate,))
            require(gate)
        except EdgekdError as error:
            return replace(start, error=error)
        return start

    def raws(self, count: int) -> list[dict[str, Any]]:
        raws = self.heldout.raws()[:count]
        return [*first_sequence(self.pipeline, raws)] if self.source.io.state else raws

    def feeds(self, count: int) -> list[dict[str, Any]]:
        return [self.pipeline.preprocess(raw) for raw in self.raws(count)]

    def facts(self, folder: Path) -> dict[str, Any]:
        run, record = self.run, self.run.record
        return {
            "recipe": record.recipe,
            "versions": record.versions,
            "licences": licences(record),
            "provenance": {
                "run": run.name,
                "run_path": os.path.relpath(run.path.resolve(), folder.resolve()),
                "student_sha256": run.sha256,
                "heldout_sha256": record.files["heldout.npz"],
                "seed": record.seed,
                "preset": record.preset,
                "data": record.data,
                "teacher_to_student": {s.name: s.test for s in record.stages},
                "stages": [s.model_dump(mode="json") for s in record.stages],
            },
            "weights": record.student,
        }

    def readme(self, name: str, gate: GateRecord, precision: Precision) -> Readme:
        return Readme(
            what=f"A {self.run.record.recipe} student",
            found=f"On {gate.samples} held-out samples its {gate.metric} is {gate.after:.4g}, "
            f"{gate.before:.4g} before {precision}.",
            snippet=f'bundle = edgekd.open("{name}")\n'
            'raw = {key: value[0] for key, value in bundle.vectors()["raw"].items()}\n'
            "prediction = bundle.predict(raw)",
        )


def make_canonical(run: Run, folder: Path) -> RunCanonical:
    """Student -> pipeline -> canonical ONNX, a file per graph in ``folder``, gated at each arrow.

    The first arrow compares the student, restored from its file and fed through the pipeline as it is now,
    with the outputs that training recorded: a changed weight or pre-processing constant ends here.
    """
    record = run.record
    settings = configuration.restore(record.recipe, record.config, str(run.path))
    recipe: Recipe = recipe_part(record.recipe, "recipe").Recipe(settings)
    pipeline: Pipeline = recipe_part(record.recipe, "pipeline").Pipeline(record.io)
    metrics: Metrics = recipe_part(record.recipe, "metrics").METRICS
    student = recipe.student(record.io)
    load_weights(student, run.weights)
    student.eval()
    heldout = run.heldout()
    raws, io = heldout.raws(), record.io
    gates: list[GateRecord] = []

    def gate(arrow: str, before: Witness, after: Witness, where: str) -> None:
        truths, fp32 = heldout.truths(), Precision.FP32
        gates.append(judge(arrow, before, after, precision=fp32, where=where, metrics=metrics, truths=truths))
        require(gates[-1])

    trained = Witness([row(heldout.student, i) for i in range(len(raws))], pipeline, raws)
    restored = witness(Judge(io, pipeline, metrics).session(student), pipeline, raws)
    gate("training → student and pipeline", trained, restored, "PyTorch")
    sources = _exported(recipe, fold_batchnorm(student), io, folder)
    references = {name: OnnxReference(source.model, source.io) for name, source in sources.items()}
    where = references["main"].name
    exported = witness(carried(references["main"]), pipeline, raws)
    gate("student → canonical ONNX", restored, exported, where)
    for way, session in together(references).items():
        gate(f"canonical ONNX → {way}", exported, witness(session, pipeline, raws), where)
    _check_pipelines(record.recipe, sources, raws[0])
    calibration = RunCalibration(run, pipeline)
    source = sources.pop("main")
    return RunCanonical(
        source=source,
        further=sources,
        origin="student",
        calibration=calibration,
        calibrations=_calibrations(calibration, references),
        first=restored,
        reference=exported,
        gates=gates,
        run=run,
        recipe=recipe,
        pipeline=pipeline,
        metrics=metrics,
        heldout=heldout,
    )


def _exported(recipe: Recipe, student: nn.Module, io: IoSpec, folder: Path) -> dict[str, Source]:
    """``main`` and every further graph of the recipe, each as an ONNX in ``folder``."""
    folder.mkdir(exist_ok=True)
    graphs = {"main": (student, io)}
    if isinstance(recipe, SeveralGraphs):
        graphs |= recipe.graphs(student, io)
        try:
            check_graphs({name: spec for name, (_, spec) in graphs.items()})
        except ValueError as error:
            raise InputError("the recipe's graphs are none of one bundle", str(error), "mend Recipe.graphs") from None
    sources = {}
    for name, (module, spec) in graphs.items():
        path = folder / f"{name}.onnx"
        export_onnx(module, spec, path)
        sources[name] = Source(path, spec, module)
    return sources


def _check_pipelines(recipe: str, sources: Mapping[str, Source], raw: Arrays) -> None:
    """Whether the pipeline of each graph makes what that graph is fed, and no more: the bench times it."""
    for name, source in sources.items():
        made = set(recipe_part(recipe, "pipeline").Pipeline(source.io).preprocess(raw))
        if made != (fed := {t.name for t in source.io.fed}):
            raise InputError(
                f"the pipeline of the graph {name} makes {sorted(made)}, and it is fed {sorted(fed)}",
                "a pipeline is built from the io spec of any graph of its recipe",
                "mend Pipeline.preprocess: only what io.fed names",
            )


def _calibrations(calibration: RunCalibration, references: Mapping[str, Session]) -> dict[str, Calibration]:
    """Of each graph that takes more, or less, than the pipeline makes: state and what is held are the reference's."""
    found: dict[str, Calibration] = {}
    if references["main"].io.state:
        found["main"] = calibration.filled(CarriedState(references["main"]))
    for name, session in references.items():
        if name != "main":
            whole = Whole(name, live_of(name, references) if session.io.held else session)
            found[name] = calibration.filled(whole)
    return found


def licences(record: RunRecord) -> dict[str, str]:
    """Of pictures, labels and the weights that training started from, as far as they are known."""
    found = {str(s["source"]): str(s.get("licence", "unknown")) for s in record.data.get("sources", [])}
    labels = record.data.get("labels", {})
    if labels:
        found[f"labels ({labels.get('teacher', 'unknown')})"] = str(labels.get("licence", "unknown"))
    for stage in record.stages:
        if stage.starts_from:
            source = stage.starts_from["source"]
            found[f"weights {stage.name} started from ({source})"] = stage.starts_from.get("license", "unknown")
    return found
