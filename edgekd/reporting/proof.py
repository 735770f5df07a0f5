"""What was proven about each bundle: gates, the candidates of the race, the precision that was really built."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.bundle.manifest import Candidate, GateRecord, PlacementSummary
from edgekd.reporting.collect import Collected
from edgekd.reporting.formatting import ABSENT, between, change, milliseconds, ratio, share, significant
from edgekd.reporting.page import Html, badge, element, folded, note, section, table
from edgekd.reporting.scale import UNKNOWN, Scale

GATES, RACE, PLACEMENT = "Gates", "Candidates", "Precision as built"
_COLORS = {"int8": 2, "fp32": 7, "bf16": 0, "fp16": 5, "w8": 4, "w4": 3, "palette": 6, "mixed": 1}


def gates_section(found: Collected, scales: Mapping[str | None, Scale]) -> Html:
    lead = (
        "Each arrow is judged on the held-out samples, so that an error is caught where it was made. The interval is "
        "the 95 % bootstrap interval of the relative loss; a negative loss is a gain."
    )
    parts = []
    for bundle in found.bundles:
        scale = scales.get(bundle.manifest.recipe, UNKNOWN)
        metrics = ", ".join(dict.fromkeys(scale.labelled(g.metric) for g in bundle.manifest.gates if g.metric))
        change_of = f"{metrics or 'metric'}: before → after"
        columns = ("arrow", change_of, "loss", "95 % interval", "n", "max|a−b|", "SQNR, dB", "verdict")
        rows = [_gate(gate) for gate in bundle.manifest.gates]
        parts += [element("h3", bundle.name), table(columns, rows, columns[1:7])]
    return section(GATES, lead, parts)


def candidates_section(found: Collected) -> Html:
    lead = (
        "The precisions that were built for each target, raced in turns at export where the device is here, and why "
        "the others do not ship. The ratio is the time over the shipped one's, with its bootstrap interval."
    )
    parts = []
    for bundle in found.bundles:
        columns = ("precision", "outcome", "median at export, ms", "time ratio", "loss, whole road", "why")
        rows = [_candidate(c) for c in bundle.manifest.candidates]
        title = element("h3", bundle.name, element("span", bundle.manifest.raced, class_="side"))
        parts += [title, table(columns, rows, columns[2:5])]
    return section(RACE, lead, parts)


def placement_section(found: Collected) -> Html:
    lead = "Share of the multiply-accumulates by precision, read back from the runtime, not from what was asked."
    parts = []
    for bundle in found.bundles:
        placement = bundle.manifest.placement
        parts.append(element("h3", bundle.name))
        parts.append(
            note("It was not run at export: nothing could be read back.") if placement is None else _bar(placement)
        )
        for name, graph in bundle.manifest.graphs.items():
            if graph.placement is not None:
                parts += [note(f"The graph {name}:"), _bar(graph.placement)]
        parts += [_kept_float(c) for c in bundle.manifest.candidates if c.kept_float]
    return section(PLACEMENT, lead, parts)


def bundle_sections(found: Collected, scales: Mapping[str | None, Scale]) -> list[Html]:
    if not found.bundles:
        return []
    return [gates_section(found, scales), candidates_section(found), placement_section(found)]


def _gate(gate: GateRecord) -> list[Html | str]:
    worst = gate.worst[1] if gate.distance else None
    where = element("span", f"in {gate.where}; limit: {gate.limit}", class_="side")
    verdict = badge("passed" if gate.passed else "failed", "good" if gate.passed else "bad")
    low, high = gate.interval or (None, None)
    return [
        element("span", gate.arrow, where),
        ABSENT if gate.after is None else f"{significant(gate.before)} → {significant(gate.after)}",
        change(gate.relative_loss),
        between(low, high) or ABSENT,
        str(gate.samples),
        ABSENT if worst is None else significant(worst.relative_max),
        ABSENT if worst is None else "equal" if worst.sqnr_db is None else f"{worst.sqnr_db:.1f}",
        element("span", verdict, element("span", gate.why, class_="side") if gate.why else None),
    ]


def _candidate(candidate: Candidate) -> list[Html | str]:
    low, high = candidate.ratio_interval or (None, None)
    last = candidate.gates[-1] if candidate.gates else None
    shipped = candidate.outcome == "shipped"
    outcome = badge("shipped", "good") if shipped else candidate.outcome
    forms = ", ".join(f"{op}: {form}" for op, form in candidate.lowerings.items())
    return [
        element("span", candidate.label, element("span", forms, class_="side") if forms else None),
        element("span", outcome),
        milliseconds(candidate.median_ms),
        ratio(candidate.ratio, low, high),
        change(last.relative_loss) if last is not None else ABSENT,
        candidate.why or ABSENT,
    ]


def _kept_float(candidate: Candidate) -> Html:
    """The nodes that multiply in floating point although the graph was quantized."""
    columns = ("node", "op", "built in", "share of MACs", "why")
    rows: list[list[Html | str]] = [
        [k.node, k.op, k.precision, ABSENT if k.share is None else share(k.share), k.why] for k in candidate.kept_float
    ]
    title = f"{candidate.label}, {candidate.outcome}: {len(rows)} nodes multiply in floating point"
    return folded(title, table(columns, rows, columns[3:4]))


def _bar(placement: PlacementSummary) -> Html:
    parts, names = [], []
    for kind, part in placement.precision_by_macs.items():
        color = f"background: var(--c{_COLORS.get(kind, 1)}); "
        parts.append(element("span", style=f"{color}width: {100 * part:.2f}%", title=f"{kind} {share(part)}"))
        nodes = placement.precision_by_nodes.get(kind, 0)
        names.append(element("span", element("i", style=color), f"{kind} {share(part)} of MACs, {nodes} nodes"))
    rest = {k: n for k, n in placement.precision_by_nodes.items() if k not in placement.precision_by_macs}
    names += [element("span", f"{kind}: {n} nodes without MACs") for kind, n in rest.items()]
    devices = ", ".join(f"{name} {share(part)}" for name, part in placement.device_by_macs.items())
    told = f"Read from: {placement.source}. Device by MACs: {devices or 'none attributed'}."
    if placement.unattributed_macs:
        told += f" Of {placement.unattributed_macs:.0f} nodes the MACs could not be attributed."
    return element("div", element("div", names, class_="key"), element("div", parts, class_="bar"), note(told))
