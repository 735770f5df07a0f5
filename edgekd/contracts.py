"""The few small types that every room of the house speaks. Knows no torch and no runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Array = NDArray[Any]
Arrays = Mapping[str, Array]


class Precision(str, Enum):
    """What the arithmetic of a built model is. ``auto`` is a request, never a result."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"
    W8 = "w8"
    W4 = "w4"
    PALETTE = "palette"
    MIXED = "mixed"

    def __str__(self) -> str:
        return self.value


class StrictModel(BaseModel):
    """Immutable data with no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageSpec(StrictModel):
    """How a picture becomes a tensor: resize, then ``(pixel * scale - mean) / std`` per channel.

    ``pixel`` is 0..255. ``resampler`` is Pillow's filter of that name, applied anisotropically to the
    tensor's height and width.
    """

    color: Literal["RGB", "BGR", "L"] = "RGB"
    resampler: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def normalized(self, pixels: Array) -> Array:
        """(H, W, 3) uint8 RGB, already of its size, to (H, W, channels) float32."""
        if self.color == "L":
            from PIL import Image

            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
        values = pixels.astype(np.float32)
        if self.color == "BGR":
            values = values[:, :, ::-1]
        channels = values.shape[2]
        mean, std = (np.asarray(numbers[:channels], np.float32) for numbers in (self.mean, self.std))
        if self.scale != 1:  # of a large picture each step costs milliseconds
            values *= np.float32(self.scale)
        if mean.any():
            values -= mean
        if (std != 1).any():
            values /= std
        return values


DType = Literal[
    "float16", "float32", "float64", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip


class RowSpec(StrictModel):
    """How a row of features becomes a tensor's: ``l1`` divides it by the sum of its absolute values.

    ``columns`` are the features' names, in order, where they have any.
    """

    normalization: Literal["none", "l1"] = "none"
    columns: tuple[str, ...] = ()


class TensorSpec(StrictModel):
    """One named input or output.

    An axis of ``shape`` is a size, or a name when it may be any size (``"rows"``). ``example`` is the shape that
    gates and vectors have, where one may be any size. ``classes`` names an output's last axis, where that is one
    number per class.
    """

    name: str
    shape: tuple[Annotated[int, Field(ge=1, lt=2**31)] | str, ...]
    dtype: DType = "float32"
    example: tuple[Annotated[int, Field(ge=1, lt=2**31)], ...] | None = None
    layout: str = ""
    range: tuple[float, float] | None = None
    unit: str = ""
    meaning: str = ""
    image: ImageSpec | None = None
    rows: RowSpec | None = None
    classes: tuple[str, ...] = ()

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of ``shape`` may be fed here."""
        return len(shape) == len(self.shape) and all(
            isinstance(want, str) or want == have for want, have in zip(self.shape, shape, strict=True)
        )


class IoSpec(StrictModel):
    """Every input and output of one graph, of which the caller feeds and gets those that do not feed each other.

    ``state`` maps an output to the input that it is on the next call; on the first, and after a reset, that input is
    zeros. ``held`` maps an input to ``GRAPH/OUTPUT``: an output of another graph of the same bundle, computed once and
    held until that graph is asked again.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    state: dict[str, str] = Field(default_factory=dict)
    held: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _what_feeds_itself_exists(self) -> IoSpec:
        outputs, inputs = {t.name: t for t in self.outputs}, {t.name: t for t in self.inputs}
        if len(outputs) < len(self.outputs) or len(inputs) < len(self.inputs):
            raise ValueError("a name stands for two inputs or two outputs")
        for source, sink in self.state.items():
            if source not in outputs or sink not in inputs:
                raise ValueError(f"state {source} -> {sink}: no such output or input")
            if outputs[source].shape != inputs[sink].shape or outputs[source].dtype != inputs[sink].dtype:
                raise ValueError(f"state {source} -> {sink}: the one does not fit into the other")
        for sink, source in self.held.items():
            graph, _, output = source.partition("/")
            if sink not in inputs or not graph or not output:
                raise ValueError(f"held {sink} <- {source}: no such input, or no GRAPH/OUTPUT")
        filled = [*self.state.values(), *self.held]
        if len(set(filled)) < len(filled):
            raise ValueError("an input is filled from two places")
        if len(self.state) == len(outputs):
            raise ValueError("every output is state: nothing is left for the caller")
        return self

    def input(self, name: str) -> TensorSpec:
        return next(t for t in self.inputs if t.name == name)

    def output(self, name: str) -> TensorSpec:
        return next(t for t in self.outputs if t.name == name)

    @property
    def fed(self) -> tuple[TensorSpec, ...]:
        """The inputs that the caller feeds: all but state and what is held."""
        filled = {*self.state.values(), *self.held}
        return tuple(t for t in self.inputs if t.name not in filled)

    @property
    def given(self) -> tuple[TensorSpec, ...]:
        """The outputs that the caller gets: all but state."""
        return tuple(t for t in self.outputs if t.name not in self.state)

    def outer(self) -> IoSpec:
        """As the caller sees the graph."""
        return IoSpec(inputs=self.fed, outputs=self.given)


class EngineFacts(StrictModel):
    """What a compiled engine is bound to, and will not run without.

    ``version`` is the builder's; empty where no engine was built, since that takes the device itself.
    """

    builder: str
    version: str = ""
    compute_capabilities: tuple[str, ...] = ()  # as sm_86
    system: str = ""  # as "Linux x86_64"


@dataclass(frozen=True)
class Graph:
    """One loadable graph: the file a runtime opens, its io spec, the precision it was built in, and options.

    ``options`` are the profile's runtime options (``threads``, ...); None values mean the runtime's default.
    ``engine`` is what the file is bound to, where it is an engine.
    """

    path: Path
    io: IoSpec
    precision: Precision
    options: Mapping[str, Any] = field(default_factory=dict)
    engine: EngineFacts | None = None


@dataclass(frozen=True)
class NodePlacement:
    """Where one node runs and in which type. ``macs`` is None where it could not be attributed."""

    name: str
    op: str
    precision: str
    device: str
    kernel: str = ""
    macs: int | None = 0
    owner: str = ""  # the node of the typed graph (its name or its first output) that it is, where that is known
    sides: tuple[str, ...] = ()  # of a typed program's node: which nodes give what it multiplies; "" is a constant
    parts: tuple[str, ...] = ()  # all nodes of the typed graph that were fused into it, where that is known


@dataclass(frozen=True)
class Placement:
    """What was really built, read back from the runtime."""

    nodes: tuple[NodePlacement, ...]
    source: str  # where it was read from, e.g. "OpenVINO runtime model"

    def share_of_macs(self, attribute: Literal["precision", "device"]) -> dict[str, float]:
        """Share of the attributed multiply-accumulates per precision or device; sums to 1."""
        total = sum(n.macs or 0 for n in self.nodes)
        shares: dict[str, float] = {}
        for node in self.nodes:
            if node.macs and total:
                key = str(getattr(node, attribute))
                shares[key] = shares.get(key, 0.0) + node.macs / total
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class Probe:
    """What a runtime can do on this machine. ``fix`` is the exact pip line for what is missing."""

    can_run: bool
    version: str = ""
    devices: tuple[str, ...] = ()
    why: str = ""
    fix: str = ""


class Session(Protocol):
    """A loaded graph: named numpy arrays in, named numpy arrays out."""

    @property
    def io(self) -> IoSpec: ...

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Takes every input of ``io`` and returns every output.

        A runtime's own session has its graph's ``io``; one that carries state or holds what another graph gave
        (``edgekd.bundle.session.carried``) has what is left for the caller.
        """

    def reset(self) -> None:
        """Clears carried state (a new sequence begins). Nothing to do where there is none."""


class Runtime(Protocol):
    """``edgekd_targets.NAME.runtime``: the module itself fulfils this. Runs on the device."""

    def probe(self) -> Probe: ...

    def load(self, graph: Graph) -> Session:
        """Raises MachineError, with the reason, where this machine cannot run the graph."""

    def placement(self, graph: Graph) -> Placement:
        """Reads back, from the runtime, precision and device of every node of a freshly loaded graph.

        Where the graph does not load here, its types as they were built, if they can be told; else MachineError.
        """

    def profile_layers(self, graph: Graph, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
        """(node, kernel, mean milliseconds) per executed node, slowest first.

        Each of ``feeds``, state included, runs once before it is counted, and once again.
        """


class Calibration(Protocol):
    """Calibration feeds, streamed one batch at a time; hashed."""

    @property
    def sha256(self) -> str: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[dict[str, Array]]: ...


class Profile(StrictModel):
    """A target's TOML: what a device is, which precisions are tried in which order, and how."""

    name: str
    target: str
    title: str
    extra: str = ""  # of edgekd, with the runtime; empty: the target's own
    device: str = "cpu"
    architectures: tuple[str, ...] = ()  # platform.machine() values this profile's device has; empty = any
    precisions: tuple[Precision, ...]
    quantization: tuple[dict[str, Any], ...] = ()  # ways to place int8; ``auto`` races those that pass
    lowerings: dict[str, str] = Field(default_factory=dict)
    build: dict[str, Any] = Field(default_factory=dict)  # the builder's own settings
    runtime: dict[str, Any] = Field(default_factory=dict)

    @field_validator("quantization", mode="before")
    @classmethod
    def _one_table_is_one_way(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict) else value

    @field_validator("quantization")
    @classmethod
    def _several_ways_have_names(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        names = [str(way.get("name", "")) for way in value]
        if len(value) > 1 and (len(set(names)) < len(names) or not all(names)):
            raise ValueError("several ways each need a name of their own")
        return value

    @property
    def way(self) -> dict[str, Any]:
        """The first way to place int8; none where the profile has none."""
        return dict(self.quantization[0]) if self.quantization else {}

    def only(self, way: Mapping[str, Any]) -> Profile:
        """This profile with one way to place int8."""
        return self.model_copy(update={"quantization": (dict(way),)})

    @property
    def options(self) -> dict[str, Any]:
        """What a graph is loaded with: the runtime options, and the device."""
        return {**self.runtime, "device": self.device}


@dataclass(frozen=True)
class Source:
    """What a Builder starts from: the canonical graph, its io spec, and our own student where there is one.

    ``format`` is ``onnx`` for every target, or ``tflite``, which only some read.
    """

    model: Path
    io: IoSpec
    module: Any = None  # torch.nn.Module for the targets that convert from torch
    format: Literal["onnx", "tflite"] = "onnx"


@dataclass(frozen=True)
class Built:
    """What a Builder made, as paths inside ``out``.

    ``typed_onnx`` is the graph with its types in it (Q/DQ, casts), from which a device can rebuild and with
    which the reference session checks the arrow before this one; None where it never was an ONNX, and ``entry``
    itself holds the types. ``entry`` may be a folder. ``engine`` says what ``entry`` is bound to; where it has no
    version, no engine was built, ``entry`` is the typed ONNX, and ``notes`` say how to build it.
    """

    entry: Path
    typed_onnx: Path | None
    notes: tuple[str, ...] = ()
    engine: EngineFacts | None = None


class Builder(Protocol):
    """``edgekd_targets.NAME.build``: the module itself fulfils this. May need a compiler or torch.

    A builder that starts from more than ONNX has ``FORMATS``, the names of ``Source.format`` that it takes, and
    ``describe(path) -> (IoSpec, weights)`` for the others: how many numbers, bytes and multiply-accumulates.

    A builder of engines has ``rebuild(typed, io, profile, out) -> Built``: from the typed ONNX, for the device here.
    A builder of what may not run where it is built has ``placement(built, io) -> Placement``: the types of the graph
    as it was built.
    """

    def versions(self) -> dict[str, str]:
        """Packages that decide what is built, with versions."""

    def build(
        self,
        source: Source,
        profile: Profile,
        precision: Precision,
        calibration: Calibration | None,
        out: Path,
    ) -> Built:
        """Quantizes, by the profile's first way, lowers and compiles into the folder ``out``."""

    def reference(self, built: Built, io: IoSpec) -> Session:
        """The same typed graph, unoptimized, in a reference evaluator. Only gates use it."""


def check_feeds(io: IoSpec, feeds: Arrays) -> dict[str, Array]:
    """Validates feeds against the spec and returns C-contiguous arrays of the right dtype.

    Raises:
        InputError: a missing or unknown name, or a shape that does not fit.
    """
    from edgekd.errors import InputError

    if len(feeds) != len(io.inputs) or any(spec.name not in feeds for spec in io.inputs):
        wanted = sorted(spec.name for spec in io.inputs)
        raise InputError(f"the model takes {wanted}, not {sorted(feeds)}", "the names of the inputs differ")
    ready: dict[str, Array] = {}
    for spec in io.inputs:  # before every inference: microseconds count
        value = np.asarray(feeds[spec.name])
        if value.shape != spec.shape and not spec.fits(value.shape):
            raise InputError(f"{spec.name} has shape {list(value.shape)}", f"the model takes {list(spec.shape)}")
        if value.dtype.kind not in "biuf":
            raise InputError(f"{spec.name} is an array of {value.dtype}", f"the model takes {spec.dtype}")
        ready[spec.name] = np.asarray(value, dtype=spec.dtype, order="C")  # ascontiguousarray gives a scalar an axis
    return ready
