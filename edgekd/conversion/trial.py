"""What export carries from arrow to arrow: the canonical graph, and one trial per candidate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.bundle.manifest import GateRecord, KeptFloat
from edgekd.contracts import Built, Calibration, IoSpec, Placement, Precision, Session, Source
from edgekd.conversion.gates import Witness
from edgekd.errors import EdgekdError
from edgekd.measuring.statistics import Ratio

KINDS = {"onnx": "ONNX", "tflite": "TFLite"}


@dataclass(frozen=True)
class Readme:
    """What it is, what its last gate found, and Python that uses it."""

    what: str
    found: str
    snippet: str


@dataclass(frozen=True)
class Start:
    """What candidates are built from: the canonical graph, or the same in the forms that a profile names.

    Attributes:
        name: as gates call it.
        sources: ``main``, then further graphs in the order in which they run.
        said: what ``main`` says in the reference evaluator.
        lowerings: op -> form, of the blocks that have another form than the plain one.
        gates: of the arrow that led here from the canonical graph; none where that is it.
        calibrations: by graph; none where there is nothing to calibrate with.
        error: why nothing can be built from it.
    """

    name: str
    sources: Mapping[str, Source]
    said: Witness
    lowerings: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[GateRecord, ...] = ()
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    error: EdgekdError | None = None


@dataclass
class Canonical(ABC):
    """Everything the targets start from: the gated canonical graph, and what the model says before any arrow.

    Two sources lead to it: a run (``from_run``), judged by its recipe's metrics, and a file that somebody else
    wrote (``from_file``), judged by numbers alone.

    Attributes:
        origin: what the first arrow starts at, as gates name it.
        calibration: None where there is none; int8 is then refused.
        first: what the model says as it was handed over.
        reference: what the canonical graph says, unoptimized.
        further: graphs besides ``source``, which is ``main``, in the order in which they run.
        calibrations: what each graph is calibrated on where that is not ``calibration`` itself.
        least_db: the SQNR that int8 must have where numbers judge; None where a metric does.
    """

    source: Source
    origin: str
    calibration: Calibration | None
    first: Witness
    reference: Witness
    gates: list[GateRecord] = field(default_factory=list)
    least_db: float | None = None
    further: Mapping[str, Source] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    @property
    def start(self) -> Start:
        """The canonical graph itself."""
        calibrations = {"main": self.calibration, **self.calibrations} if self.calibration else {}
        return Start(
            f"canonical {KINDS[self.source.format]}",
            {"main": self.source, **self.further},
            self.reference,
            calibrations=calibrations,
        )

    def lowered(self, lowerings: Mapping[str, str], folder: Path) -> Start | None:
        """The same in the forms that a profile names, with its gate; None where that changes nothing.

        Raises:
            InputError: edgekd knows no such op or form.
        """
        return None

    @abstractmethod
    def judge(self, arrow: str, before: Witness, after: Witness, precision: Precision, where: str) -> GateRecord:
        """Compares the two sides of an arrow."""

    @abstractmethod
    def witness(self, session: Session) -> Witness:
        """What a session says about the held-out samples."""

    @abstractmethod
    def raws(self, count: int) -> list[dict[str, Any]]:
        """The first held-out samples as a user has them; empty where that is how the model takes them."""

    @abstractmethod
    def feeds(self, count: int) -> list[dict[str, Any]]:
        """The first held-out samples as the model takes them."""

    @abstractmethod
    def facts(self, folder: Path) -> dict[str, Any]:
        """The manifest's recipe, versions, licences, provenance and weights, for a bundle at ``folder``."""

    @abstractmethod
    def readme(self, name: str, gate: GateRecord, precision: Precision) -> Readme:
        """What the README of the bundle ``name`` says of it, ``gate`` being its last one."""


@dataclass
class GraphTrial:
    """One graph of a candidate: built, read back, loaded."""

    io: IoSpec
    built: Built
    placement: Placement | None = None
    session: Session | None = None


@dataclass
class Trial:
    """One candidate of one target: built, read back, judged. ``way`` places its int8, where it has any.

    ``witness`` and ``live`` are what it says as it was built.
    """

    precision: Precision
    start: Start
    way: Mapping[str, Any] = field(default_factory=dict)
    gates: list[GateRecord] = field(default_factory=list)
    graphs: dict[str, GraphTrial] = field(default_factory=dict)
    witness: Witness | None = None
    live: dict[str, Witness] = field(default_factory=dict)  # what graphs that hold something say, prepared each time
    not_executed: str = ""  # why ``witness`` and ``live`` are the typed graphs', in a reference evaluator
    kept_float: tuple[KeptFloat, ...] = ()
    error: EdgekdError | None = None
    median_ms: float | None = None
    ratio: Ratio | None = None
    why: str = ""

    @property
    def main(self) -> GraphTrial:
        return self.graphs["main"]

    @property
    def label(self) -> str:
        """Its name among the candidates."""
        return f"{self.precision} ({self.way['name']})" if "name" in self.way else str(self.precision)
