"""OpenVINO on the device. Imports openvino late, and no torch ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import isqrt, prod
from typing import Any

from edgekd.bundle.session import check_graph
from edgekd.bundle.threads import thread_count
from edgekd.contracts import Array, Arrays, Graph, NodePlacement, Placement, Precision, Probe, check_feeds
from edgekd.errors import InputError, MachineError
from edgekd_targets.openvino.signal_stack import signal_stack_kept

FIX = 'pip install "edgekd[openvino]"'
# The default hint on many CPUs is bf16, and f16 slows an int8 graph down: never leave it open.
HINTS = {
    Precision.FP32: "f32",
    Precision.INT8: "f32",
    Precision.MIXED: "f32",
    Precision.BF16: "bf16",
    Precision.FP16: "f16",
}
TYPES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "u8": "int8", "i8": "int8"}
MULTIPLIES = (
    "Convolution", "Deconvolution", "FullyConnected", "MatMul", "DeformableConvolution", "RNNSeq", "RNNCell",
)  # fmt: skip
DOES_NOT_COMPUTE = ("Const", "Input", "Output")


def probe() -> Probe:
    try:
        import openvino
    except ImportError as error:
        return Probe(False, why=f"openvino does not import: {error}", fix=FIX)
    return Probe(True, openvino.__version__.partition("-")[0], devices=tuple(_core().available_devices))


class OpenVinoSession:
    def __init__(self, graph: Graph, shapes: Mapping[str, list[int]] | None = None, **properties: Any) -> None:
        """``shapes``: sizes for inputs that may have any; ``properties``: OpenVINO's own, beside the hints."""
        core = _core()
        options = dict(graph.options)
        device = str(options.pop("device", "CPU"))
        threads = thread_count(options)
        options.pop("threads", None)
        if options:
            raise InputError(
                f"openvino knows no runtime option {sorted(options)[0]!r}", fix="there are: device, threads"
            )
        self.io, self.device, self.name = graph.io, device, f"OpenVINO on {device}"
        self.precision = _hint(core, device, graph.precision)
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",
            **properties,
        }
        if device == "CPU":
            config |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        try:
            with signal_stack_kept():
                model: Any = graph.path
                if shapes:
                    model = core.read_model(graph.path)
                    model.reshape(dict(shapes))
                self.compiled = core.compile_model(model, device, config)
        except (RuntimeError, UnicodeDecodeError) as error:  # its message may quote what is no text
            raise MachineError(f"OpenVINO cannot load {graph.path.name}", reason(error)) from None
        if not shapes:  # with sizes of its own it is not what the io spec says
            check_graph(graph, _inputs(self.compiled), {n for port in self.compiled.outputs for n in port.get_names()})
        self._request = self.compiled.create_infer_request()
        self._inputs = _ports(self.compiled.inputs)
        self._types = {name: self.compiled.input(i).get_element_type().to_dtype() for name, i in self._inputs.items()}
        self._outputs = _ports(self.compiled.outputs)

    def run(self, feeds: Arrays) -> dict[str, Array]:
        from openvino import Tensor

        # Tensors by number instead of its dictionaries, and one copy of the outputs instead of two: this halves
        # what a call costs beside the inference. ``ready`` must outlive it, since a request holds no reference.
        ready = check_feeds(self.io, feeds)
        try:
            for name, value in ready.items():
                # A tensor shares what it might write to, of the type that the graph takes; else it gets a copy.
                ready[name] = value = value.astype(self._types[name], copy=not value.flags.writeable)
                self._request.set_input_tensor(self._inputs[name], Tensor(value, shared_memory=True))
            self._request.infer(share_outputs=True)
        except RuntimeError as error:
            raise MachineError("OpenVINO cannot run the graph on these inputs", reason(error)) from None
        return {t.name: self._request.get_output_tensor(self._outputs[t.name]).data.copy() for t in self.io.outputs}

    def reset(self) -> None:
        pass  # a graph's state is carried by edgekd.bundle.session

    def placed(self, macs: Mapping[str, int | None] | None = None) -> Placement:
        """What was compiled; ``macs`` by node, for a graph whose own shapes do not say."""
        nodes = []
        for op, layer in _computing(self.compiled):
            facts, name = op.get_rt_info(), op.get_friendly_name()
            kernel = str(facts["primitiveType"].astype(str))
            precision = _precision(kernel, str(facts["runtimePrecision"].astype(str)))
            cost = macs.get(name) if macs is not None and layer in MULTIPLIES else _macs(op, layer)
            parts = tuple(str(facts["originalLayersNames"].astype(str)).split(","))
            nodes.append(NodePlacement(name, layer, precision, self.device, kernel, cost, parts[0], parts))
        return Placement(tuple(nodes), "OpenVINO runtime model")


def _ports(ports: Sequence[Any]) -> dict[str, int]:
    return {name: index for index, port in enumerate(ports) for name in port.get_names()}


def load(graph: Graph) -> OpenVinoSession:
    return OpenVinoSession(graph)


def placement(graph: Graph) -> Placement:
    """From the runtime model, which names the kernel and the type of every node that will execute."""
    return OpenVinoSession(graph).placed(_example_macs(graph))


def _computing(compiled: Any) -> Iterator[tuple[Any, str]]:
    """The nodes that will execute, each with its layer type."""
    for op in compiled.get_runtime_model().get_ordered_ops():
        layer = str(op.get_rt_info()["layerType"].astype(str))
        if layer not in DOES_NOT_COMPUTE:
            yield op, layer


def _example_macs(graph: Graph) -> dict[str, int | None] | None:
    """By node, at the io spec's example shapes, of a graph that takes any; None for one of fixed shapes.

    The runtime model of such a graph knows no sizes, so it is compiled a second time with some. Nodes have the same
    names there, but for what only one of the two fuses; that is not attributed.
    """
    examples = {t.name: list(t.example) for t in graph.io.inputs if t.example is not None}
    if not examples:
        return None
    sized = OpenVinoSession(graph, shapes=examples)
    return {op.get_friendly_name(): _macs(op, layer) for op, layer in _computing(sized.compiled)}


def profile_layers(graph: Graph, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
    session = OpenVinoSession(graph, PERF_COUNT=True)
    total: dict[tuple[str, str], float] = {}
    for feed in feeds:
        session.run(feed)
    for feed in feeds:
        session.run(feed)
        for info in session._request.get_profiling_info():
            if info.real_time.total_seconds() > 0:
                key = (info.node_name, info.exec_type)
                total[key] = total.get(key, 0.0) + info.real_time.total_seconds() * 1e3 / len(feeds)
    return sorted(((n, k, ms) for (n, k), ms in total.items()), key=lambda row: -row[2])


def reason(error: Exception) -> str:
    """The last line of OpenVINO's message that is not about its own source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check "))]
    return said[-1] if said else str(error).strip()


@lru_cache(maxsize=1)
def _core() -> Any:
    """One for the process: a core that goes unloads its plugins, and the next one loads them anew."""
    try:
        import openvino
    except ImportError as error:
        raise MachineError("openvino is not installed", str(error), FIX) from None
    with signal_stack_kept():
        core = openvino.Core()
        _ = core.available_devices  # loads the plugins, here where it is safe
        return core


def _hint(core: Any, device: str, precision: Precision) -> str:
    if precision not in HINTS:
        raise MachineError(f"OpenVINO runs no {precision} graph", fix="export with --precision auto")
    if device not in core.available_devices:
        raise MachineError(f"OpenVINO sees no {device} here", f"it sees {', '.join(core.available_devices)}")
    if precision in (Precision.BF16, Precision.FP16):
        able = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        if precision.value.upper() not in able:
            raise MachineError(f"this {device} has no {precision}", f"OpenVINO lists {', '.join(able)}")
    return HINTS[precision]


def _precision(kernel: str, runtime_precision: str) -> str:
    """The kernel's own suffix says it (``brgconv_avx512_I8``); the data type where it has none."""
    suffix = kernel.rpartition("_")[2].lower()
    return TYPES.get(suffix) or TYPES.get(runtime_precision, runtime_precision)


def _macs(op: Any, layer: str) -> int | None:
    """Weights times positions. Weight shapes carry groups: [out, in/group, kh, kw] or [g, o, i, kh, kw].

    What was fused behind a convolution adds inputs behind its weight (a residual's other branch, say).
    """
    if layer not in MULTIPLIES:
        return 0
    if layer in ("RNNSeq", "RNNCell"):
        return None  # its weights are inside the kernel: their shapes cannot be read back
    first, *others = [_shape(i) for i in op.inputs()]
    out = _shape(op.outputs()[0])
    if layer == "Convolution" and any(len(shape) > len(out) for shape in others[1:]):
        return None  # a depthwise convolution is fused in: where it was cut off cannot be read back
    if layer in ("Convolution", "DeformableConvolution"):
        weight = others[0 if layer == "Convolution" else 1]  # offsets stand before a deformable one's weight
        return prod(weight) * out[0] * prod(out[2:])
    if layer == "Deconvolution":
        return prod(others[0]) * first[0] * prod(first[2:])
    # [m, k] x [k, n] -> [m, n], either side transposed or not: k² = mk · kn / mn
    inner = isqrt(prod(first[-2:]) * prod(others[0][-2:]) // prod(out[-2:]))
    return prod(out) * inner


def _inputs(compiled: Any) -> dict[str, tuple[str, list[int | None]]]:
    """dtype and shape of each input; an axis of any size is None."""
    return {
        port.get_any_name(): (
            str(port.get_element_type().to_dtype()),
            [axis.get_length() if axis.is_static else None for axis in port.get_partial_shape()],
        )
        for port in compiled.inputs
    }


def _shape(port: Any) -> list[int]:
    """An axis of unknown size counts as 1."""
    return [axis.get_length() if axis.is_static else 1 for axis in port.get_partial_shape()]
