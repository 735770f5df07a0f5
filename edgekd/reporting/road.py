"""The road of each bundle in one line: teacher, student, ONNX, quantized graph, device; what each arrow loses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgekd.bundle.manifest import GateRecord, Manifest
from edgekd.bundle.open import Bundle
from edgekd.measuring.measurement import Measurement
from edgekd.reporting.collect import Collected
from edgekd.reporting.formatting import change, count, megabytes, milliseconds, significant
from edgekd.reporting.origin import Origin, origin_of
from edgekd.reporting.page import Child, Html, element, join, note, section
from edgekd.reporting.scale import UNKNOWN, Scale

TITLE = "The road"


@dataclass(frozen=True)
class Stop:
    """One model on the road. ``loss`` is what the arrow that leads to it lost, as a share of the metric.

    ``said`` stands for the value where there is no metric.
    """

    name: str
    value: float | None
    cost: tuple[str, ...] = ()
    verb: str = ""
    loss: float | None = None
    said: str = "reference"


def road_section(found: Collected, scales: Mapping[str | None, Scale]) -> Html:
    """``scales``: by recipe."""
    lines = [_line(bundle, found, scales.get(bundle.manifest.recipe, UNKNOWN)) for bundle in found.bundles]
    lead = (
        "From teacher to device, one line for each bundle: the primary metric on held-out samples at every stop, "
        "what each arrow loses of it (a negative loss is a gain), and what the model costs there."
    )
    if not lines:
        lines = [note("No bundle is here: edgekd export RUN --target TARGET makes one.")]
    return section(TITLE, lead, lines)


def stops(
    manifest: Manifest, origin: Origin, scale: Scale, measurement: Measurement | None, size_bytes: int
) -> list[Stop]:
    """The models of a bundle's road in order, from its provenance, its gates and its newest measurement."""
    gates = [g for g in manifest.gates if "whole road" not in g.arrow and ", then " not in g.arrow]  # main's own road
    if not gates:
        return []
    first, rest = gates[0], gates[1:]
    road = _teacher(origin, first.metric, scale)
    loss = scale.loss(road[0].value, first.after) if road else None
    weights = manifest.weights
    cost = [f"{count(weights.weights)} weights", f"{count(weights.macs)} MACs"]
    for stage in origin.stages:
        if stage.role == "control" and first.metric in stage.test:
            cost.append(f"{significant(stage.test[first.metric])} without teacher")
    if origin.model is not None:
        road.append(Stop(origin.model, None, tuple(cost)))
        rest = gates
    else:
        road.append(Stop("student, PyTorch", first.after, tuple(cost), "distil", loss))
    for gate in rest:
        stop = _after(gate, manifest, measurement, size_bytes)
        road.append(replace(stop, said=gate.said) if gate.after is None else stop)
    return road


def _after(gate: GateRecord, manifest: Manifest, measurement: Measurement | None, size_bytes: int) -> Stop:
    name = gate.arrow.rpartition("→")[2].strip()
    if name == "built":
        return Stop(
            "on device", gate.after, (gate.where, *_device_cost(measurement, size_bytes)), "load", gate.relative_loss
        )
    if name == "canonical ONNX":
        return Stop(
            name,
            gate.after,
            (f"{megabytes(manifest.weights.bytes)} MB of weights",),
            "export",
            gate.relative_loss,
        )
    if name.startswith("lowered"):
        return Stop(name, gate.after, ("other forms of the same blocks",), "lower", gate.relative_loss)
    graph = manifest.graphs["main"]
    typed = sum(file.bytes for file in manifest.files_at(graph.typed_onnx or graph.entry).values())
    return Stop(name, gate.after, (f"{megabytes(typed)} MB, typed graph",), "build", gate.relative_loss)


def _device_cost(measurement: Measurement | None, size_bytes: int) -> tuple[str, ...]:
    cost = [f"{megabytes(size_bytes)} MB on disk"]
    if measurement is None:
        return (*cost, "latency not measured")
    headline = measurement.headline
    p50 = measurement.spans[headline.span].percentiles_ms.get("p50")
    if headline.p90_ms is not None:
        cost.append(f"p90 {milliseconds(headline.p90_ms)} ms {headline.span}")
    elif p50 is not None:
        cost.append(f"p50 {milliseconds(p50)} ms {headline.span}")
    cost.append(f"{megabytes(measurement.memory.rss_increase_bytes)} MB RSS rise")
    if not measurement.verdict.claimable:
        cost.append(measurement.verdict.label)
    return tuple(cost)


def _teacher(origin: Origin, metric: str, scale: Scale) -> list[Stop]:
    """The teachers that were trained, or the black box whose labels are the truth here; none is no stop."""
    stages = [stage for stage in origin.stages if stage.role == "teacher"]
    if stages:
        values = [stage.test[metric] for stage in stages if metric in stage.test]
        several = len(stages) > 1
        cost = [f"{s.name}: {significant(s.test.get(metric))}" for s in stages if several]
        cost += dict.fromkeys(f"{count(stage.weights)} parameters" for stage in stages)
        name = f"teacher: {', '.join(stage.name for stage in stages)}"
        return [Stop(name, scale.best(values), tuple(cost))]
    if origin.data.labelled_by.startswith("none"):
        return []
    return [Stop(f"teacher: {origin.data.labelled_by}", None, ("a black box; its labels are the truth here",))]


def _line(bundle: Bundle, found: Collected, scale: Scale) -> Html:
    manifest = bundle.manifest
    measurement = found.latest(bundle.sha256, manifest.target)
    road = stops(manifest, origin_of(bundle), scale, measurement, bundle.size_bytes)
    metric = manifest.gates[0].metric if manifest.gates else ""
    unit = scale.unit(metric)
    title = element("h3", bundle.name, element("span", _about(manifest, metric, unit), class_="side"))
    if not road:
        return element("div", title, note("The manifest records no gate."), class_="road")
    parts: list[Html] = []
    for index, stop in enumerate(road):
        if index:
            parts.append(_arrow(stop))
        parts.append(_stop(stop, unit))
    return element("div", title, element("div", parts, class_="steps"), class_="road")


def _about(manifest: Manifest, metric: str, unit: str) -> str:
    samples = manifest.gates[0].samples if manifest.gates else 0
    shown = f"{metric} in {unit}" if unit else metric
    about = f"{manifest.target}/{manifest.profile}, {manifest.precision} (asked {manifest.precision_asked})"
    return f"{about}; {shown}, {samples} held-out samples" if metric else about


def _arrow(stop: Stop) -> Html:
    return element(
        "div",
        element("span", stop.verb, class_="verb"),
        element("div", class_="shaft"),
        element("span", "" if stop.loss is None else f"loss {change(stop.loss)}"),
        class_="arrow",
    )


def _stop(stop: Stop, unit: str) -> Html:
    value: Child = significant(stop.value, unit) if stop.value is not None else stop.said
    cost: list[Any] = [element("span", item) for item in stop.cost]
    return element(
        "div",
        element("div", stop.name, class_="name"),
        element("div", value, class_="value"),
        element("div", join(cost), class_="cost"),
        class_="stop",
    )
