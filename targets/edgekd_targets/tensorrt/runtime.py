"""TensorRT on the device. Imports TensorRT and onnx late, the driver by its own library, and no torch ever."""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

from edgekd.bundle.session import check_graph
from edgekd.contracts import Array, Arrays, EngineFacts, Graph, Placement, Probe, check_feeds
from edgekd.errors import EdgekdError, InputError, MachineError
from edgekd_targets.tensorrt import cuda, inspector, typed
from edgekd_targets.tensorrt.flavours import FLAVOURS, Flavour, flavour_of, library, logger

REBUILD = "edgekd rebuild BUNDLE builds it here, from the typed ONNX"
OPTIONS = ("flavour", "cuda_graph", "device", "threads")  # threads: every target has it; a GPU takes no notice


def probe() -> Probe:
    """What is here, of both flavours; what is missing is named one by one."""
    installed, missing = {}, []
    for flavour in FLAVOURS.values():
        try:
            installed[flavour.title] = library(flavour).__version__
        except MachineError as error:
            missing.append(error)
    version = ", ".join(f"{title} {v}" for title, v in installed.items())
    if not installed:
        return Probe(False, why=" and ".join(error.what for error in missing), fix=FLAVOURS["rtx"].fix)
    try:
        device = cuda.first_device()
    except MachineError as error:
        return Probe(False, version, why=f"{error.what}: {error.why}", fix=error.fix)
    return Probe(True, version, devices=(f"{device.name} ({device.capability}, CUDA {device.driver})",))


class TensorRtSession:
    """One engine, one execution context, one stream.

    Attributes:
        load_ms: reading and deserializing the engine.
        compile_ms: making the execution context, where TensorRT-RTX compiles for the GPU that it finds.
        first_ms: the first call, with whatever is still compiled or allocated then.
        device_ms: of the last call, between two events around its copies and its kernels.
    """

    def __init__(self, graph: Graph, profiler: Any = None) -> None:
        unknown = set(graph.options) - set(OPTIONS)
        if unknown:
            raise InputError(
                f"tensorrt knows no runtime option {sorted(unknown)[0]!r}", fix=f"there are: {', '.join(OPTIONS)}"
            )
        self.io, self.flavour = graph.io, flavour_of(graph.options)
        _check_built(graph, self.flavour)
        self.library = library(self.flavour)
        _check_bound(graph, self.flavour, self.library.__version__)
        serialized = graph.path.read_bytes()
        check_validity(self.flavour, self.library, serialized, graph.path.name)
        device = cuda.first_device()
        self.device = f"{device.name} ({device.capability})"
        _check_device(graph.engine, device, self.flavour)
        self._lock = threading.Lock()
        self._log = logger(self.library)
        self._open(graph, serialized, profiler)

    def _open(self, graph: Graph, serialized: bytes, profiler: Any) -> None:
        cuda.enter()
        began = perf_counter()
        self._runtime = self.library.Runtime(self._log)
        self.engine = self._runtime.deserialize_cuda_engine(serialized)
        if self.engine is None:
            raise self._failed(f"{self.flavour.title} cannot load {graph.path.name}", REBUILD)
        self.load_ms = (perf_counter() - began) * 1e3
        check_graph(graph, *inspector.inputs_and_outputs(self.library, self.engine))
        began = perf_counter()
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise self._failed(f"{self.flavour.title} has no room to run {graph.path.name}", "")
        self.compile_ms = (perf_counter() - began) * 1e3
        if profiler is not None:
            self.context.profiler = profiler
        self.device_ms = self.first_ms = 0.0
        self.stream = cuda.Stream()
        self._buffers: dict[str, cuda.Buffer] = {}
        self._graph: cuda.CudaGraph | None = None
        # A profiler is called for each layer, which a graph that is launched as one has none of.
        self._may_capture = bool(graph.options.get("cuda_graph", True)) and profiler is None

    def run(self, feeds: Arrays) -> dict[str, Array]:
        ready = check_feeds(self.io, feeds)
        with self._lock:
            cuda.enter()
            began = perf_counter()
            self._place({name: value.shape for name, value in ready.items()})
            for name, value in ready.items():
                self._buffers[name].host[...] = value
            self.stream.start()
            if self._graph is not None:
                self._graph.launch()
            else:
                self._enqueue()
            self.stream.stop()
            self.stream.synchronize()
            self.device_ms = self.stream.elapsed_ms()
            outputs = {t.name: self._buffers[t.name].host.copy() for t in self.io.outputs}
            if not self.first_ms:
                self.first_ms = (perf_counter() - began) * 1e3
            if self._graph is None and self._may_capture:
                self._capture()
            return outputs

    def reset(self) -> None:
        pass  # a graph's state is carried by edgekd.bundle.session

    @property
    def device_bytes(self) -> int:
        """Of the device's memory: activations and weights by the engine's own count, and what calls are copied to."""
        counted = int(self.engine.device_memory_size_v2) + sum(b.size_bytes for b in self._buffers.values())
        if hasattr(self.engine, "get_engine_stat"):  # since TensorRT 10.9
            counted += max(0, int(self.engine.get_engine_stat(self.library.EngineStat.TOTAL_WEIGHTS_SIZE)))
        return counted

    def close(self) -> None:
        """Gives back what the session holds on the device."""
        self._forget()
        for part in ("context", "engine", "_runtime"):
            setattr(self, part, None)
        self.stream.close()

    def __del__(self) -> None:
        if getattr(self, "context", None) is not None and hasattr(self, "stream"):
            with suppress(EdgekdError, TypeError):  # the driver may be gone before us when the interpreter ends
                self.close()

    def _place(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Buffers of the sizes of this call; of another size than the last one's, everything anew."""
        if self._buffers and all(self._buffers[name].host.shape == shape for name, shape in shapes.items()):
            return
        self._forget()
        for name, shape in shapes.items():
            if not self.context.set_input_shape(name, shape):
                raise self._out_of_range(name, shape)
        for spec in (*self.io.inputs, *self.io.outputs):
            shape = tuple(self.context.get_tensor_shape(spec.name))
            self._buffers[spec.name] = cuda.Buffer(shape, spec.dtype)
            self.context.set_tensor_address(spec.name, self._buffers[spec.name].address)

    def _enqueue(self) -> None:
        for spec in self.io.inputs:
            self._buffers[spec.name].to_device(self.stream)
        if not self.context.execute_async_v3(self.stream.handle):
            raise self._failed(f"{self.flavour.title} cannot run the engine on these inputs", "")
        for spec in self.io.outputs:
            self._buffers[spec.name].to_host(self.stream)

    def _capture(self) -> None:
        """Copies and kernels as one CUDA graph, after a first call in which everything lazy was done."""
        capturable = getattr(self.context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self.stream.handle):
            self._may_capture = False
            return
        graph = cuda.CudaGraph(self.stream)
        try:
            self._enqueue()
        finally:
            graph.end()  # a stream that is left capturing does nothing else any more
        self._graph = graph

    def _forget(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers.clear()

    def _out_of_range(self, name: str, shape: tuple[int, ...]) -> InputError:
        least, _, most = (list(sizes) for sizes in self.engine.get_tensor_profile_shape(name, 0))
        return InputError(
            f"the engine takes no {name} of shape {list(shape)}",
            f"it was built for {least} to {most}",
            "feed fewer at a time, or export with a profile of your own: [build.axes] names least, best and most",
        )

    def _failed(self, what: str, fix: str) -> MachineError:
        return MachineError(what, self._log.errors[-1] if self._log.errors else "it gives no reason", fix)


def load(graph: Graph) -> TensorRtSession:
    return TensorRtSession(graph)


def placement(graph: Graph) -> Placement:
    """From the engine's inspector where the engine loads; from the typed ONNX beside it where it does not.

    Neither names kernels that are surely run: TensorRT-RTX compiles again on the device.
    """
    onnx_file = graph.path.with_suffix(".onnx")
    flavour = flavour_of(graph.options)
    try:
        session = TensorRtSession(graph)
    except MachineError:
        if not onnx_file.is_file():
            raise
        return typed.read(flavour, onnx_file, graph.io)
    costs = typed.costs_by_node(onnx_file, graph.io) if onnx_file.is_file() else {}
    found = inspector.layers(session.library, session.engine, costs, session.device)
    # An engine that tells no types of its layers is judged by the graph that it was built from.
    return found if found is not None else typed.read(flavour, onnx_file, graph.io)


def profile_layers(graph: Graph, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
    """By TensorRT's own profiler, a layer of the engine a row."""
    trt = library(flavour_of(graph.options))
    times: dict[str, list[float]] = {}

    class Layers(trt.IProfiler):  # type: ignore[name-defined]
        def report_layer_time(self, name: str, milliseconds: float) -> None:
            times.setdefault(name, []).append(milliseconds)

    session = TensorRtSession(graph, Layers())
    for feed in (*feeds, *feeds):
        session.run(feed)
    # The second half is the second time through the feeds.
    rows = [(name, "", sum(ms[len(ms) // 2 :]) / len(feeds)) for name, ms in times.items()]
    return sorted(rows, key=lambda row: -row[2])


def check_validity(flavour: Flavour, trt: Any, serialized: bytes, name: str) -> None:
    """What the engine's header alone says against it, without loading it.

    Raises:
        InputError: it is no engine, or a truncated one.
        MachineError: it was built by another version, or for another GPU.
    """
    log = logger(trt)
    runtime = trt.Runtime(log)
    if not hasattr(runtime, "get_engine_validity"):  # full TensorRT tells when it loads
        return
    _, found = runtime.get_engine_validity(serialized[: runtime.engine_header_size])
    causes = trt.EngineInvalidityDiagnostics
    if int(found) & int(causes.MALFORMED_ENGINE):
        raise InputError(f"{name} is no {flavour.title} engine", "its header cannot be read", REBUILD)
    other = next((said for said in log.said if "has been created with" in said), "")
    if other or int(found) & int(causes.VERSION_MISMATCH):
        raise MachineError(
            f"{name} was built by another {flavour.title} than {trt.__version__}, which is here",
            "".join(str(ord(c)) if c < " " else c for c in other) or "its header says so",  # it writes numbers as bytes
            REBUILD,
        )
    whole = int.from_bytes(serialized[16:24], "little")  # where 1.7 keeps its size; found by looking
    if trt.__version__.startswith("1.7.") and len(serialized) < whole:
        raise InputError(f"{name} is truncated", f"it has {len(serialized):,} of {whole:,} bytes", "copy it again")
    if int(found) & int(causes.UNSUPPORTED_CC):
        raise MachineError(f"{name} is for another GPU than the one here", "its header says so", REBUILD)


def _check_built(graph: Graph, flavour: Flavour) -> None:
    if graph.path.suffix == ".onnx":
        raise MachineError(
            f"{graph.path.name} is the typed ONNX: no engine was built",
            f"{flavour.title} builds on the device itself",
            REBUILD,
        )


def _check_bound(graph: Graph, flavour: Flavour, version: str) -> None:
    """Against what the manifest says of the engine: version, and system where engines are bound to one."""
    facts = graph.engine
    if facts is None:
        return
    here = f"{platform.system()} {platform.machine()}"
    if facts.version != version:
        raise MachineError(
            f"{graph.path.name} was built by {facts.builder} {facts.version}, and {version} is here",
            "engines are of one version",
            REBUILD,
        )
    if facts.system != here and not flavour.ahead_of_time:
        raise MachineError(f"{graph.path.name} was built on {facts.system}, and this is {here}", "", REBUILD)


def _check_device(facts: EngineFacts | None, device: cuda.Device, flavour: Flavour) -> None:
    """TensorRT-RTX runs an engine for sm_86 on nothing else; what its header says is told by ``check_validity``."""
    if facts is not None and device.capability not in facts.compute_capabilities:
        raise MachineError(
            f"the engine is for {', '.join(facts.compute_capabilities)}",
            f"{device.name} is {device.capability}",
            REBUILD,
        )
