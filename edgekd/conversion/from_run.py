"""A run as the canonical graph: student -> pipeline -> canonical ONNX, judged by the recipe's metrics."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import config as configuration
from edgekd.bundle.manifest import GateRecord
from edgekd.contracts import Precision, Session, Source
from edgekd.conversion.calibration import RunCalibration
from edgekd.conversion.gates import Witness, judge, require, witness
from edgekd.conversion.to_onnx import export_onnx
from edgekd.conversion.trial import Canonical, Readme
from edgekd.nn.folding import fold_batchnorm
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.recipes.contract import Metrics, Pipeline
from edgekd.recipes.weights import load_weights
from edgekd.registry import recipe_part
from edgekd.run import HeldOut, Run, RunRecord
from edgekd.storage import row
from edgekd.training.judge import Judge


@dataclass(kw_only=True)
class RunCanonical(Canonical):
    """A student of ours, with its recipe's pipeline and metrics."""

    run: Run
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
        return witness(session.run, self.pipeline, self.heldout.raws())

    def raws(self, count: int) -> list[dict[str, Any]]:
        return self.heldout.raws()[:count]

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


def make_canonical(run: Run, path: Path) -> RunCanonical:
    """Student -> pipeline -> canonical ONNX, gated at each arrow.

    The first arrow compares the student, restored from its file and fed through the pipeline as it is now,
    with the outputs that training recorded: a changed weight or pre-processing constant ends here.
    """
    record = run.record
    settings = configuration.restore(record.recipe, record.config, str(run.path))
    recipe = recipe_part(record.recipe, "recipe").Recipe(settings)
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

    call = Judge(io, pipeline, metrics).caller(student)
    trained = Witness([row(heldout.student, i) for i in range(len(raws))], pipeline, raws)
    restored = witness(call, pipeline, raws)
    gate("training → student and pipeline", trained, restored, "PyTorch")
    folded = fold_batchnorm(student)
    export_onnx(folded, io, path)
    reference = OnnxReference(path, io)
    exported = witness(reference.run, pipeline, raws)
    gate("student → canonical ONNX", restored, exported, reference.name)
    return RunCanonical(
        source=Source(path, io, folded),
        origin="student",
        calibration=RunCalibration(run, pipeline),
        first=restored,
        reference=exported,
        gates=gates,
        run=run,
        pipeline=pipeline,
        metrics=metrics,
        heldout=heldout,
    )


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
