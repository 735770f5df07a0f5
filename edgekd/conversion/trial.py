"""What export carries from arrow to arrow: the canonical graph, and one trial per precision."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgekd.bundle.manifest import GateRecord
from edgekd.contracts import Built, Placement, Precision, Session, Source
from edgekd.conversion.calibration import RunCalibration
from edgekd.conversion.gates import Witness, judge, witness
from edgekd.errors import EdgekdError
from edgekd.measuring.statistics import Ratio
from edgekd.recipes.contract import Metrics, Pipeline
from edgekd.run import HeldOut, Run


@dataclass
class Canonical:
    """Everything the targets start from: the gated canonical graph and what the student says."""

    run: Run
    source: Source
    pipeline: Pipeline
    metrics: Metrics
    heldout: HeldOut
    calibration: RunCalibration
    student: Witness
    onnx: Witness
    gates: list[GateRecord] = field(default_factory=list)

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


@dataclass
class Trial:
    """One precision of one target: built, read back, judged."""

    precision: Precision
    built: Built
    gates: list[GateRecord]
    witness: Witness | None = None
    session: Session | None = None
    placement: Placement | None = None
    error: EdgekdError | None = None
    median_ms: float | None = None
    ratio: Ratio | None = None
    why: str = ""
