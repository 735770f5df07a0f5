"""Where the time goes inside each model: its slowest nodes with their kernels."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.measuring.layers import top
from edgekd.measuring.measurement import LayerProfile, Measurement
from edgekd.reporting.page import Html, element, folded, join, section, table
from edgekd.reporting.scenario_tables import MOST_LAYERS, layer_cells

TITLE = "Layers"
_COLUMNS = ("node", "op", "kernel", "precision", "ms", "share")


def layers_section(measurements: Sequence[Measurement]) -> Html | None:
    """The newest profile of every artefact; None where nothing was profiled."""
    newest: dict[tuple[str, str, str, str], Measurement] = {}
    for item in sorted(measurements, key=lambda m: m.created):
        if item.profile is not None:
            newest[item.artifact.sha256, item.artifact.target, item.artifact.profile, item.artifact.graph] = item
    if not newest:
        return None
    lead = (
        "Mean time of every node in a process of its own with the runtime's profiler on, which slows it: shares say "
        "more than milliseconds. Kernel and precision are what the runtime really runs."
    )
    return section(TITLE, lead, [_artifact(item, item.profile) for item in newest.values() if item.profile])


def _artifact(item: Measurement, profile: LayerProfile) -> Html:
    shown, rest = top(profile, MOST_LAYERS)
    rows = [layer_cells(layer, profile.total_ms) for layer in (*shown, *([rest] if rest else []))]
    everything = [layer_cells(layer, profile.total_ms) for layer in profile.layers]
    about = f"{item.artifact.target}/{item.artifact.profile}, {item.artifact.precision}"
    median = item.spans["infer"].percentiles_ms["p50"] if item.conditions.scenario == "single" else None
    beside = f"; without the profiler one call takes {median:.3f} ms (median)" if median is not None else ""
    said = f"{about}; {profile.total_ms:.3f} ms in sum, mean of {profile.calls} calls{beside}"
    return join(
        element("h3", item.artifact.name, element("span", said, class_="side")),
        table(_COLUMNS, rows, ("ms", "share")),
        folded(f"All {len(everything)} nodes", table(_COLUMNS, everything, ("ms", "share"))) if rest else None,
    )
