"""``inspect``: what a bundle is and what was really built, read back from its runtime; or what an ONNX holds."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.bundle.live import graphs_held
from edgekd.bundle.manifest import Candidate, GateRecord, Manifest, PlacementSummary
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.placement import summarize
from edgekd.contracts import NodePlacement
from edgekd.errors import InputError, MachineError

KEPT_SHOWN = 10
Table = tuple[str, list[list[str]]]


@dataclass(frozen=True)
class Inspection:
    """``placement`` is this machine's where the runtime runs here, else the one recorded at export."""

    path: str
    size_bytes: int
    placement: PlacementSummary | None
    placement_from: str
    nodes: tuple[NodePlacement, ...] = ()
    manifest: Manifest | None = None
    onnx: dict[str, Any] = field(default_factory=dict)
    further: dict[str, PlacementSummary] = field(default_factory=dict)  # of graphs besides main
    graphs_bytes: dict[str, int] = field(default_factory=dict)

    def tables(self, verbose: bool) -> list[Table]:
        """Titled tables, each with its header row first; ``verbose`` lists every node."""
        tables: list[Table] = []
        if self.placement is not None:
            tables.append((f"precision as built ({self.placement_from})", _precision_rows(self.placement)))
            tables += [(f"precision of {name} as built", _precision_rows(p)) for name, p in self.further.items()]
            devices = [["device", "share of MACs"]]
            devices += [[d, f"{s:.1%}"] for d, s in self.placement.device_by_macs.items()]
            tables.append(("placement", devices))
        if self.onnx:
            rows = [["op", "nodes"], *[[op, str(n)] for op, n in self.onnx["ops"].items()]]
            tables.append(("operators", rows))
        if verbose and self.nodes:
            rows = [["node", "op", "precision", "device", "kernel", "MACs"]]
            for n in self.nodes:
                macs = "not attributed" if n.macs is None else f"{n.macs:,}"
                rows.append([n.name, n.op, n.precision, n.device, n.kernel, macs])
            tables.append(("nodes", rows))
        if self.manifest is not None:
            if self.manifest.live:
                tables.append(("ways to run", _ways(self.manifest, self.graphs_bytes)))
            rows = [["gate", "before → after", "loss", "95 % interval", "n", "max|a-b|", "SQNR dB", "where"]]
            rows += [_gate_row(gate) for gate in self.manifest.gates]
            tables.append(("gates", rows))
            rows = [["precision", "outcome", "ms at export", "why"]]
            for c in self.manifest.candidates:
                median = "" if c.median_ms is None else f"{c.median_ms:.2f}"
                rows.append([c.label, c.outcome, median, c.why])
            tables.append((f"candidates ({self.manifest.raced})", rows))
            tables += [_kept_float(c, verbose) for c in self.manifest.candidates if c.kept_float]
        return tables

    def lines(self) -> list[str]:
        """Provenance, a fact a line."""
        if self.manifest is None:
            facts = self.onnx
            return [
                f"{self.path}: opset {facts['opset']}, {self.size_bytes / 1e6:.2f} MB, "
                f"{facts['macs'] / 1e6:.1f} M MACs",
                f"inputs {facts['inputs']}, outputs {facts['outputs']}",
            ]
        m = self.manifest
        size = f"{m.weights.weights:,} weights, {m.weights.macs / 1e6:.1f} M MACs"
        lines = [
            f"{m.name}: {m.recipe or 'foreign model'} for {m.target}/{m.profile}, {m.precision} "
            f"(asked {m.precision_asked}), {self.size_bytes / 1e6:.2f} MB, made {m.created} by edgekd "
            f"{m.edgekd_version}",
            *(_foreign_lines(m, size) if m.recipe is None else _run_lines(m, size)),
            "versions: " + ", ".join(f"{k} {v}" for k, v in m.versions.items()),
            *_lowering_lines(m),
        ]
        if m.calibration:
            lines.append(f"calibration: {m.calibration.samples} samples, {m.calibration.sha256[:12]}")
        lines += [f"licence: {what}: {licence}" for what, licence in m.licences.items()]
        return lines


def _precision_rows(placement: PlacementSummary) -> list[list[str]]:
    rows = [["precision", "share of MACs", "nodes"]]
    for kind in dict.fromkeys([*placement.precision_by_macs, *placement.precision_by_nodes]):
        share = placement.precision_by_macs.get(kind, 0.0)
        rows.append([kind, f"{share:.1%}", str(placement.precision_by_nodes.get(kind, 0))])
    return rows


def _ways(m: Manifest, graphs_bytes: Mapping[str, int]) -> list[list[str]]:
    """``main``, and every graph that holds what others give: what it takes, and when."""
    rows = [["way", "once", "for every call", "graphs, MB"]]
    for way in ("main", *m.live):
        sources = graphs_held(m.graphs[way].io)
        once = dict.fromkeys(t.name for source in sources for t in m.graphs[source].io.fed)
        sizes = ", ".join(f"{name} {graphs_bytes[name] / 1e6:.2f}" for name in (*sources, way))
        fed = ", ".join(t.name for t in m.graphs[way].io.fed)
        rows.append(["session" if way == "main" else f"live({way!r})", ", ".join(once), fed, sizes])
    return rows


def _run_lines(m: Manifest, size: str) -> list[str]:
    source = m.provenance
    lines = [f"student: {size}; run {source.run} (preset {source.preset}, seed {source.seed})"]
    return lines + [
        f"{stage}: {gate.metric} {metrics[gate.metric]:.4g} on the run's test set"
        for gate in m.gates[:1]
        for stage, metrics in source.teacher_to_student.items()
        if gate.metric in metrics
    ]


def _lowering_lines(m: Manifest) -> list[str]:
    """Which forms were built, and which the profile names but were not; nothing where it names none."""
    failed = dict.fromkeys(_forms(c.lowerings) for c in m.candidates if c.lowerings and c.lowerings != m.lowerings)
    if not m.lowerings and not failed:
        return []
    return [f"lowerings: {_forms(m.lowerings) or 'none'}" + "".join(f"; {forms} failed" for forms in failed)]


def _forms(lowerings: Mapping[str, str]) -> str:
    return ", ".join(f"{op}: {form}" for op, form in lowerings.items())


def _foreign_lines(m: Manifest, size: str) -> list[str]:
    source = m.provenance
    lines = [
        f"model: {source.model}, {size}, sha256 {(source.model_sha256 or 'not recorded')[:12]}",
        f"judged by numbers alone, on {source.heldout_samples} held-out samples of {source.judged_on}; "
        f"reference: {source.reference}",
    ]
    return lines + [f"note: {note}" for note in source.notes]


def _kept_float(candidate: Candidate, verbose: bool) -> Table:
    """The nodes that could not be quantized; all of them with ``verbose``."""
    kept = candidate.kept_float
    shown = kept if verbose else kept[:KEPT_SHOWN]
    rows = [["node", "op", "built in", "share of MACs", "why"]]
    rows += [
        [k.node, k.op, k.precision, "not attributed" if k.share is None else f"{k.share:.1%}", k.why] for k in shown
    ]
    more = "" if len(shown) == len(kept) else f", the {len(shown)} costliest; -v lists all"
    return f"{candidate.label}: {len(kept)} nodes that multiply in floating point{more}", rows


def inspect(path: str | Path, threads: int | None = None) -> Inspection:
    """Reads a bundle, or any ``.onnx`` file, and what its runtime makes of it here.

    Raises:
        InputError: neither a bundle nor an ONNX file.
    """
    path = Path(path)
    if path.suffix == ".onnx" and path.is_file():
        return _inspect_onnx(path)
    if path.is_file() and not zipfile.is_zipfile(path):
        raise InputError(f"{path} is neither a bundle folder nor an .onnx file", fix="edgekd inspect bundles/NAME")
    bundle = open_bundle(path, threads)
    graphs = bundle.manifest.graphs
    graphs_bytes = {name: bundle.graph_bytes(name) for name in graphs}
    try:
        placements = {name: bundle.runtime.placement(bundle.graph(name)) for name in graphs}
    except MachineError as error:
        return Inspection(
            path=str(path),
            size_bytes=bundle.size_bytes,
            placement=bundle.manifest.placement,
            placement_from=f"recorded at export; not here: {error.what}",
            manifest=bundle.manifest,
            further={name: graph.placement for name, graph in graphs.items() if graph.placement is not None},
            graphs_bytes=graphs_bytes,
        )
    main = placements.pop("main")
    return Inspection(
        path=str(path),
        size_bytes=bundle.size_bytes,
        placement=summarize(main),
        placement_from=f"{main.source}, here",
        nodes=main.nodes,
        manifest=bundle.manifest,
        further={name: summarize(placement) for name, placement in placements.items()},
        graphs_bytes=graphs_bytes,
    )


def _inspect_onnx(path: Path) -> Inspection:
    try:
        import onnx
    except ImportError:
        raise MachineError("onnx is not installed", fix='pip install "edgekd[onnxruntime]"') from None
    from edgekd.nn.onnx_graph import MAC_OPS, macs_by_node

    try:
        model = onnx.load(path, load_external_data=False)  # its graph is looked at, not its weights
        onnx.checker.check_model(model)
        costs = macs_by_node(model)
    except Exception as error:  # the parser's, the checker's, and those of shape inference
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is no valid ONNX file", reason) from None
    facts = {
        "opset": {o.domain or "ai.onnx": o.version for o in model.opset_import},
        "ops": dict(Counter(n.op_type for n in model.graph.node).most_common()),
        "inputs": {v.name: _shape(v) for v in model.graph.input},
        "outputs": {v.name: _shape(v) for v in model.graph.output},
        "macs": sum(costs.values()),
    }
    nodes = tuple(
        NodePlacement(
            n.name,
            n.op_type,
            "",
            "not placed",
            n.domain,
            costs.get(n.output[0], None if n.op_type in MAC_OPS else 0) if n.output else 0,
        )
        for n in model.graph.node
    )
    return Inspection(str(path), path.stat().st_size, None, "", nodes, None, facts)


def _shape(value: Any) -> list[int | str]:
    return [d.dim_value or d.dim_param or "?" for d in value.type.tensor_type.shape.dim]


def _gate_row(gate: GateRecord) -> list[str]:
    worst = gate.worst[1] if gate.distance else None
    interval = "" if gate.interval is None else f"{gate.interval[0]:+.2%} … {gate.interval[1]:+.2%}"
    numbers = gate.before is None or gate.after is None
    return [
        gate.arrow,
        gate.limit if numbers else f"{gate.metric} {gate.before:.4g} → {gate.after:.4g}",
        "" if gate.relative_loss is None else f"{gate.relative_loss:+.2%}",
        interval,
        str(gate.samples),
        "" if worst is None else f"{worst.relative_max:.2g}",
        "" if worst is None else "equal" if worst.sqnr_db is None else f"{worst.sqnr_db:.1f}",
        gate.where,
    ]
