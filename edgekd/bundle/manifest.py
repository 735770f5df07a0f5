"""``manifest.json``: what a bundle is, what was proven about it, and the sha256 of every other file in it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from edgekd.contracts import IoSpec, Precision, StrictModel
from edgekd.errors import InputError
from edgekd.schema import read_versioned, validated
from edgekd.storage import write_text

SCHEMA_VERSION = 1


class Distance(StrictModel):
    """How far outputs are from their reference: max|a-b| / max(1, max|b|), SQNR in dB, cosine.

    ``equal`` is the share of values that are the same, for outputs that are counted and not measured.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")  # a NaN output is infinitely far, and must be read back

    relative_max: float
    sqnr_db: float | None  # None where the outputs are identical
    cosine: float
    equal: float | None = None


class GateRecord(StrictModel):
    """One arrow, judged on held-out samples.

    ``before`` and ``after`` are the primary metric on either side of the arrow, ``interval`` the 95 %
    bootstrap interval of its relative loss, ``where`` names the runtime or the reference that was asked.
    A model that has no metrics is judged by ``distance`` alone; ``metric`` is then empty.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")

    arrow: str
    where: str
    metric: str = ""
    before: float | None = None
    after: float | None = None
    relative_loss: float | None = None
    interval: tuple[float, float] | None = None
    limit: str
    samples: int
    distance: dict[str, Distance]
    passed: bool
    why: str = ""

    @property
    def worst(self) -> tuple[str, Distance]:
        """The output that is farthest from its reference."""
        return max(self.distance.items(), key=lambda item: (item[1].relative_max, -(item[1].sqnr_db or 0.0)))

    @property
    def said(self) -> str:
        """What happened to the metric, or to the numbers where there is none."""
        if self.before is not None and self.after is not None and self.relative_loss is not None:
            return f"{self.metric} {self.before:.4g} → {self.after:.4g} ({self.relative_loss:+.2%})"
        name, found = self.worst
        if found.equal is not None:
            return f"{name} {found.equal:.1%} equal"
        sqnr = "equal" if found.sqnr_db is None else f"SQNR {found.sqnr_db:.1f} dB"
        return f"{name} {sqnr}, max|a-b| {found.relative_max:.2g}"


class KeptFloat(StrictModel):
    """A node that multiplies, in a graph that was quantized, and does so in floating point all the same.

    ``precision`` is what the runtime said it built; ``share`` is of all multiply-accumulates, None where they
    could not be attributed.
    """

    node: str
    op: str
    precision: str
    share: float | None
    why: str


class Candidate(StrictModel):
    """One precision that was built for this bundle's target, and what became of it.

    ``way`` names how int8 was placed, where the profile has several ways.
    """

    precision: Precision
    way: str = ""
    outcome: str  # "shipped", "slower", "failed a gate", "cannot be built", ...
    why: str = ""
    median_ms: float | None = None
    ratio: float | None = None  # its time over the shipped one's, from interleaved blocks
    ratio_interval: tuple[float, float] | None = None
    gates: tuple[GateRecord, ...] = ()
    precision_by_macs: dict[str, float] = Field(default_factory=dict)  # as built
    kept_float: tuple[KeptFloat, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.precision} ({self.way})" if self.way else str(self.precision)


class PlacementSummary(StrictModel):
    """Shares of multiply-accumulates, and number of nodes, per precision and device, as read back."""

    source: str
    precision_by_macs: dict[str, float]
    device_by_macs: dict[str, float]
    precision_by_nodes: dict[str, int]
    unattributed_macs: float = 0.0


class GraphEntry(StrictModel):
    """One graph of the bundle; paths are relative to it. Without ``typed_onnx``, ``entry`` holds the types."""

    entry: str
    typed_onnx: str | None
    io: IoSpec


class Manifest(StrictModel):
    schema_version: int = SCHEMA_VERSION
    sha256: str = ""  # of this file, with this value left empty
    name: str
    edgekd_version: str
    created: str  # UTC, ISO 8601
    recipe: str | None
    target: str
    profile: str
    precision_asked: str
    precision: Precision
    raced: Literal["raced", "not raced", "single candidate"]
    graphs: dict[str, GraphEntry]
    runtime: dict[str, Any]  # the profile's runtime options
    versions: dict[str, str]
    calibration: dict[str, Any] | None
    gates: tuple[GateRecord, ...]
    candidates: tuple[Candidate, ...]
    placement: PlacementSummary | None
    vectors: dict[str, Any]
    licences: dict[str, str]
    provenance: dict[str, Any]
    weights: dict[str, int]  # parameters and buffers of the student: count, bytes; MACs
    files: dict[str, dict[str, Any]]  # relative path -> {sha256, bytes}


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Writes ``manifest.json`` into the bundle's folder, sealed with its own sha256."""
    text = manifest.model_copy(update={"sha256": ""}).model_dump_json(indent=1) + "\n"
    write_text(path / "manifest.json", _sealed(text, _seal(text)))


def _seal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sealed(text: str, seal: str) -> str:
    return text.replace('"sha256": ""', f'"sha256": "{seal}"', 1)


def read_manifest(path: Path) -> Manifest:
    """Raises InputError for no bundle, a manifest changed by as little as one byte, or one with a newer schema."""
    file = path / "manifest.json"
    if not path.is_dir():
        raise InputError(f"there is no bundle {path}", fix="edgekd export RUN --target TARGET makes one")
    if not file.is_file():
        raise InputError(f"{path} is no bundle", "it has no manifest.json", "edgekd export RUN --target TARGET")
    data = read_versioned(file, "bundle", SCHEMA_VERSION, "export the run again")
    text, seal = file.read_text(encoding="utf-8"), str(data.get("sha256"))
    bare = text.replace(f'"sha256": "{seal}"', '"sha256": ""', 1)
    if _sealed(bare, _seal(bare)) != text:
        fix = "copy the bundle again from where it was made, or export the run again"
        raise InputError(f"{file} has changed", "its sha256 is not the one that it states", fix)
    return validated(Manifest, data, file, "export the run again")
