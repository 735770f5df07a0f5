"""Core ML on the device, by way of coremltools on macOS; elsewhere what a program's types say. No torch ever."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgekd.bundle.session import check_graph
from edgekd.contracts import Array, Arrays, Graph, Placement, Probe, TensorSpec, check_feeds
from edgekd.errors import InputError, MachineError
from edgekd_targets.coreml.feeds import to_pixels
from edgekd_targets.coreml.library import FIX, coremltools, quiet
from edgekd_targets.coreml.package import inputs, outputs, pictures, read_spec, states, typed_nodes

UNITS = {"all": "ALL", "cpu_only": "CPU_ONLY", "cpu_and_gpu": "CPU_AND_GPU", "cpu_and_ne": "CPU_AND_NE"}
NOT_HERE = "Core ML is a part of macOS, iOS and iPadOS"


def probe() -> Probe:
    try:
        version = coremltools().__version__
    except MachineError as error:
        return Probe(False, why=error.why, fix=FIX)
    if sys.platform != "darwin":
        return Probe(False, version, why=NOT_HERE, fix="copy the bundle to a Mac: edgekd verify BUNDLE")
    devices = {type(device).__name__ for device in _devices()}
    return Probe(True, version, devices=tuple(sorted(name[2:].removesuffix("ComputeDevice") for name in devices)))


class CoreMlSession:
    """One program on the compute units that the graph's ``device`` names."""

    def __init__(self, graph: Graph) -> None:
        unit = _unit(graph)
        spec = read_spec(graph.path)
        self.io, self.name = graph.io, f"Core ML on {unit}"
        held: dict[str, tuple[str, list[int | None]]] = {
            t.name: (t.dtype, [axis if isinstance(axis, int) else None for axis in t.shape])
            for t in graph.io.inputs
            if t.name in states(spec)
        }
        taken = {name: (_dtype(name, dtype, graph), list(shape)) for name, (dtype, shape) in inputs(spec).items()}
        given = {*outputs(spec), *(out for out, name in graph.io.state.items() if name in held)}
        check_graph(graph, {**taken, **held}, given)
        _require_macos(graph)
        library = coremltools()
        try:
            with quiet():
                units = getattr(library.ComputeUnit, UNITS[unit])
                self._model = library.models.MLModel(str(graph.path), compute_units=units)
        except Exception as error:  # what Core ML's bridge raises has no base class of its own
            raise MachineError(f"Core ML cannot load {graph.path.name}", _reason(error)) from None
        self._pictures = {name: graph.io.input(name) for name in pictures(spec)}
        self._held = list(held)
        self.reset()

    def run(self, feeds: Arrays) -> dict[str, Array]:
        ready: dict[str, Any] = check_feeds(self.io, feeds)
        for name, spec in self._pictures.items():
            ready[name] = _picture(ready[name], spec)
        for name in self._held:
            self._state.write_state(name, ready.pop(name))
        try:
            said = self._model.predict(ready, self._state)
        except Exception as error:  # as above
            raise MachineError("Core ML cannot run the graph on these inputs", _reason(error)) from None
        said |= {out: self._state.read_state(name) for out, name in self.io.state.items() if name in self._held}
        return {t.name: np.asarray(said[t.name], dtype=t.dtype) for t in self.io.outputs}

    def reset(self) -> None:
        """A graph's state is carried by edgekd.bundle.session; Core ML's own is written before every call."""
        self._state: Any = self._model.make_state() if self._held else None


def load(graph: Graph) -> CoreMlSession:
    return CoreMlSession(graph)


def variants(graph: Graph) -> list[Graph]:
    """The same graph on each of the compute units that ``device`` = all may choose: each rounds in its own way."""
    if _unit(graph) != "all":
        return [graph]
    return [replace(graph, options={**graph.options, "device": unit}) for unit in UNITS]


def placement(graph: Graph) -> Placement:
    """On macOS from the compute plan: the type of each operation and the unit that Core ML prefers for it.

    Elsewhere no unit is known: types alone, as the program has them.
    """
    nodes = typed_nodes(read_spec(graph.path), "not placed")
    if sys.platform != "darwin":
        return Placement(nodes, "ML Program as it is typed; units are chosen on the device")
    plan, planned = _plan(graph)
    usage = plan.get_compute_device_usage_for_mlprogram_operation
    units = {
        name: type(found.preferred_compute_device).__name__ for name, op in planned.items() if (found := usage(op))
    }
    placed = [replace(node, device=units.get(node.name, "not said")) for node in nodes]
    return Placement(tuple(placed), f"Core ML compute plan, {_unit(graph)}")


def profile_layers(graph: Graph, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
    """The measured time of a call, shared out by the compute plan's estimates: Core ML times no operation alone."""
    session = CoreMlSession(graph)
    for feed in feeds:
        session.run(feed)
    start = time.perf_counter()
    for feed in feeds:
        session.run(feed)
    total = (time.perf_counter() - start) * 1e3 / len(feeds)
    plan, planned = _plan(graph)
    rows = []
    for node in placement(graph).nodes:
        cost = plan.get_estimated_cost_for_mlprogram_operation(planned[node.name]) if node.name in planned else None
        if cost is not None:
            rows.append((node.name, f"{node.op} on {node.device}, estimated", cost.weight * total))
    return sorted(rows, key=lambda row: -row[2])


def _plan(graph: Graph) -> tuple[Any, dict[str, Any]]:
    """The compute plan, and its operations by the name of their first result."""
    _require_macos(graph)
    library = coremltools()
    from coremltools.models.compute_plan import MLComputePlan

    try:
        with quiet():
            compiled = library.models.utils.compile_model(str(graph.path))
            plan = MLComputePlan.load_from_path(compiled, getattr(library.ComputeUnit, UNITS[_unit(graph)]))
    except Exception as error:  # as in CoreMlSession
        raise MachineError(f"Core ML gives no compute plan of {graph.path.name}", _reason(error)) from None
    program = plan.model_structure.program.functions["main"]
    return plan, {op.outputs[0].name: op for op in program.block.operations if op.outputs}


def _unit(graph: Graph) -> str:
    options = dict(graph.options)
    unit = str(options.pop("device", "all")).lower()
    if options.pop("threads", None):
        raise InputError("coreml takes no number of threads", "Core ML chooses it", "leave --threads out")
    if options:
        raise InputError(f"coreml knows no runtime option {sorted(options)[0]!r}", fix="there is: device")
    if unit not in UNITS:
        raise InputError(f"coreml knows no compute unit {unit!r}", fix="device = one of " + ", ".join(UNITS))
    return unit


def _require_macos(graph: Graph) -> None:
    if sys.platform != "darwin":
        raise MachineError(
            f"{graph.path.name} cannot run here",
            f"{NOT_HERE}; this is {sys.platform}",
            "copy the bundle to a Mac, or into an app: edgekd verify BUNDLE there",
        )


def _devices() -> list[Any]:
    from coremltools.models.compute_device import MLComputeDevice

    with quiet():
        return list(MLComputeDevice.get_all_compute_devices())


def _dtype(name: str, dtype: str, graph: Graph) -> str:
    """As the caller feeds it: what the program computes a picture in is its own affair."""
    known = {t.name: t for t in graph.io.inputs}
    return known[name].dtype if name in known and known[name].image is not None else dtype


def _picture(value: Array, spec: TensorSpec) -> Any:
    from PIL import Image

    assert spec.image is not None
    pixels = to_pixels(value, spec)[0].transpose(1, 2, 0).astype(np.uint8)
    if spec.image.color == "L":
        return Image.fromarray(pixels[:, :, 0], "L")
    return Image.fromarray(pixels[:, :, ::-1] if spec.image.color == "BGR" else pixels, "RGB")


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
