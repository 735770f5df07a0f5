"""``manifest.json``: what a bundle is, what was proven about it, and the sha256 of every other file in it."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from edgekd.contracts import EngineFacts, IoSpec, Precision, StrictModel, TensorSpec
from edgekd.errors import InputError
from edgekd.schema import Count, InnerPath, Sha256, validated, versioned, with_schema
from edgekd.storage import parse_json, read_text, write_text

SCHEMA_VERSION = 2  # 2: lowerings, further graphs; each field new in it has a default
NAME = "manifest.json"


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

    ``way`` names how int8 was placed, where the profile has several ways; ``lowerings`` are the forms, by op, of the
    student's blocks that the profile names another form for than the plain one.
    """

    precision: Precision
    way: str = ""
    outcome: str  # "shipped", "slower", "failed a gate", "cannot be built", ...
    why: str = ""
    median_ms: float | None = None
    ratio: float | None = None  # its time over the shipped one's, from interleaved blocks
    ratio_interval: tuple[float, float] | None = None
    gates: tuple[GateRecord, ...] = ()
    lowerings: dict[str, str] = Field(default_factory=dict)
    precision_by_macs: dict[str, float] = Field(default_factory=dict)  # as built
    kept_float: tuple[KeptFloat, ...] = ()
    notes: tuple[str, ...] = ()

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
    """One graph of the bundle; paths are relative to it. Without ``typed_onnx``, ``entry`` holds the types.

    ``engine`` is what ``entry`` is bound to, where it is an engine, or is to become one on the device.
    ``placement`` is that of a further graph; what was read back of ``main`` is the manifest's own.
    """

    entry: InnerPath
    typed_onnx: InnerPath | None
    io: IoSpec
    engine: EngineFacts | None = None
    placement: PlacementSummary | None = None


_GRAPH_NAME = re.compile("[a-z][a-z0-9_]{0,31}")  # also its folder's, and a name in vectors.npz


def check_graphs(graphs: Mapping[str, IoSpec]) -> None:
    """Whether graphs, in the order in which they run, are those of one bundle. Raises ValueError that says why not.

    ``main`` holds nothing. Others are fed what ``main`` is fed, by name; they hold outputs of graphs before them that
    hold nothing and carry no state; one that holds something gives what ``main`` gives.
    """
    main = graphs.get("main")
    if main is None or main.held:
        raise ValueError("graphs has no main" if main is None else "main holds the output of another graph")
    fed, before = {t.name: t for t in main.fed}, set[str]()
    for name, io in graphs.items():
        if not _GRAPH_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a graph: lower-case letters, digits and _")
        for spec in io.fed if name != "main" else ():
            if spec.name not in fed or not _alike(spec, fed[spec.name]):
                raise ValueError(f"{name} is fed {spec.name}, which main is not, or in another shape")
        for sink, source in io.held.items():
            graph, _, output = source.partition("/")
            other = graphs[graph] if graph in before else None
            if other is None or other.held or other.state or output not in {t.name for t in other.outputs}:
                raise ValueError(f"{name} holds {source}, which no graph before it gives once and for all")
            if not _alike(io.input(sink), other.output(output)):
                raise ValueError(f"{name} holds {source} as {sink}, in another shape")
        if io.held and {t.name: t.shape for t in io.given} != {t.name: t.shape for t in main.given}:
            raise ValueError(f"{name} does not give what main gives")
        before.add(name)


def _alike(one: TensorSpec, other: TensorSpec) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


class CalibrationFacts(StrictModel):
    """The samples that the ranges of a quantized graph were read from."""

    sha256: Sha256
    samples: Count


class VectorFacts(StrictModel):
    """``vectors.npz``, and how far this bundle may be from it on another machine."""

    samples: Count
    feeds_tolerance: float | None = None
    outputs_tolerance: float
    live_tolerances: dict[str, float] = Field(default_factory=dict)  # by graph that holds something
    built_outputs_from: str


class WeightFacts(StrictModel):
    """The student's parameters and buffers, and what one call of it costs."""

    weights: Count
    parameters: Count | None = None
    bytes: Count
    macs: Count


class Provenance(StrictModel):
    """What the bundle was made from: a run, or a model file. Its maker may record more than is named here."""

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="strings")  # of what no sample shows there is no figure

    run: str | None = None
    run_path: str | None = None
    student_sha256: Sha256 | None = None
    heldout_sha256: Sha256 | None = None
    seed: int | None = None
    preset: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    teacher_to_student: dict[str, dict[str, float]] = Field(default_factory=dict)
    stages: tuple[dict[str, Any], ...] = ()
    model: str | None = None
    model_sha256: Sha256 | None = None
    shapes: tuple[str, ...] = ()
    judged_on: str = ""
    calibrated_on: str = ""
    heldout_samples: Count | None = None
    reference: str = ""
    notes: tuple[str, ...] = ()


class FileFacts(StrictModel):
    """One file of the bundle, as it was written."""

    sha256: Sha256
    bytes: Count


class Manifest(StrictModel):
    schema_version: int = SCHEMA_VERSION
    sha256: str = Field("", pattern="^([0-9a-f]{64})?$")  # of this file, with this value left empty
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
    lowerings: dict[str, str] = Field(default_factory=dict)  # op -> form, where that is not the plain one
    runtime: dict[str, Any]  # the profile's runtime options
    versions: dict[str, str]
    calibration: CalibrationFacts | None
    gates: tuple[GateRecord, ...]
    candidates: tuple[Candidate, ...]
    placement: PlacementSummary | None
    not_executed: str = ""  # empty where gates ran in the runtime itself
    vectors: VectorFacts
    licences: dict[str, str]
    provenance: Provenance
    weights: WeightFacts
    files: dict[InnerPath, FileFacts]  # all but the manifest itself

    @model_validator(mode="after")
    def _files_are_a_bundles(self) -> Manifest:
        check_graphs({name: graph.io for name, graph in self.graphs.items()})
        if strangers := self.vectors.live_tolerances.keys() ^ set(self.live):
            raise ValueError(f"vectors.live_tolerances and the graphs that hold something differ in {min(strangers)}")
        wanted = ["vectors.npz", *(name for g in self.graphs.values() for name in (g.entry, g.typed_onnx) if name)]
        if missing := [name for name in wanted if not self.files_at(name)]:
            raise ValueError(f"files does not list {missing[0]}")
        taken = {same_name(NAME): NAME}
        for name in self.files:
            if (other := taken.setdefault(same_name(name), name)) != name or name == NAME:
                raise ValueError(f"files lists {name!r} and {other!r}, which are one file on some systems")
        return self

    def files_at(self, path: str) -> dict[str, FileFacts]:
        """A file, or every file of a folder: a graph may be one (``.mlpackage``)."""
        return {name: f for name, f in self.files.items() if name == path or name.startswith(f"{path}/")}

    @property
    def live(self) -> tuple[str, ...]:
        """Names of the graphs that hold what another one gave: ways to run besides ``main``."""
        return tuple(name for name, graph in self.graphs.items() if graph.io.held)


def same_name(name: str) -> str:
    """Equal for names that a file system may take for one: it may not tell letters by case or by composition."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_bundle(path: Path) -> bool:
    return (path / NAME).is_file()


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Writes ``manifest.json`` into the bundle's folder, sealed with its own sha256."""
    data = json.loads(manifest.model_copy(update={"sha256": ""}).model_dump_json())
    text = json.dumps(with_schema("manifest", SCHEMA_VERSION, data), indent=1, ensure_ascii=False) + "\n"
    write_text(path / NAME, _sealed(text, _seal(text)))


def _seal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sealed(text: str, seal: str) -> str:
    return text.replace('"sha256": ""', f'"sha256": "{seal}"', 1)


def read_manifest(path: Path) -> Manifest:
    """Raises InputError for no bundle, a manifest changed by as little as one byte, or one with a newer schema."""
    file = path / NAME
    if path.is_file():
        if zipfile.is_zipfile(path):
            raise InputError(f"{path} is an archive", "a bundle is a folder", f"edgekd unpack {path}")
        raise InputError(f"{path} is a file", "a bundle is a folder", "edgekd export RUN --target TARGET makes one")
    if not path.is_dir():
        raise InputError(f"there is no bundle {path}", fix="edgekd export RUN --target TARGET makes one")
    if not file.is_file():
        raise InputError(f"{path} is no bundle", "it has no manifest.json", "edgekd export RUN --target TARGET")
    text = read_text(file)  # once: what is checked is what is used
    data = versioned(parse_json(text, file), file, "bundle", SCHEMA_VERSION, "export the run again")
    seal = str(data.get("sha256"))
    bare = text.replace(f'"sha256": "{seal}"', '"sha256": ""', 1)
    if _sealed(bare, _seal(bare)) != text:
        fix = "copy the bundle again from where it was made, or export the run again"
        raise InputError(f"{file} has changed", "its sha256 is not the one that it states", fix)
    return validated(Manifest, data, file, "export the run again")
