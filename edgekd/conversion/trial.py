"""What export carries from arrow to arrow: the canonical graph, and one trial per candidate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.bundle.manifest import GateRecord, KeptFloat
from edgekd.contracts import Built, Calibration, Placement, Precision, Session, Source
from edgekd.conversion.gates import Witness
from edgekd.errors import EdgekdError
from edgekd.measuring.statistics import Ratio


@dataclass(frozen=True)
class Readme:
    """What it is, what its last gate found, and Python that uses it."""

    what: str
    found: str
    snippet: str


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
        least_db: the SQNR that int8 must have where numbers judge; None where a metric does.
    """

    source: Source
    origin: str
    calibration: Calibration | None
    first: Witness
    reference: Witness
    gates: list[GateRecord] = field(default_factory=list)
    least_db: float | None = None

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
class Trial:
    """One candidate of one target: built, read back, judged. ``way`` places its int8, where it has any.

    ``witness`` is what it says as it was built, asked of ``witness_from``.
    """

    precision: Precision
    built: Built
    gates: list[GateRecord]
    way: Mapping[str, Any] = field(default_factory=dict)
    witness: Witness | None = None
    witness_from: str = "this runtime, at export"
    session: Session | None = None
    placement: Placement | None = None
    kept_float: tuple[KeptFloat, ...] = ()
    error: EdgekdError | None = None
    median_ms: float | None = None
    ratio: Ratio | None = None
    why: str = ""

    @property
    def label(self) -> str:
        """Its name among the candidates."""
        return f"{self.precision} ({self.way['name']})" if "name" in self.way else str(self.precision)
