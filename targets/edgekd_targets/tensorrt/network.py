"""From the typed ONNX to TensorRT's network, and from there to a serialized engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.contracts import IoSpec
from edgekd.errors import InputError, MachineError
from edgekd_targets.tensorrt.flavours import Flavour, library, logger

# What has no importer and has another exact form: op -> (the key of [lowerings], that form).
LOWERINGS = {"DeformConv": ("deform", "grid_sample")}


class ParsedNetwork:
    """TensorRT's network of a typed ONNX, parsed; ``trt`` keeps its parts alive while it is used."""

    def __init__(self, flavour: Flavour, typed: Path) -> None:
        """Raises MachineError naming the first node that its parser cannot import."""
        trt = library(flavour)
        self.flavour, self.trt, self.log = flavour, trt, logger(trt)
        self.builder = trt.Builder(self.log)
        strongly = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # the only way since 11
        self.network = self.builder.create_network(0 if strongly is None else 1 << int(strongly))
        parser = trt.OnnxParser(self.network, self.log)
        if not parser.parse_from_file(str(typed)):
            raise self._refused(parser)
        self._parser = parser  # owns the weights

    def serialize(self, capabilities: Sequence[str], axes: Mapping[str, Sequence[int]], io: IoSpec) -> bytes:
        """The engine.

        Args:
            capabilities: ``sm_86``, ...; empty for a builder that builds for the GPU that it runs on.
            axes: for each axis of any size by its name, or ``any``: least, best, most.

        Raises:
            InputError: a compute capability that it does not know, or an axis without sizes.
            MachineError: it cannot build it, in its own words.
        """
        trt, config = self.trt, self.builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # fp32 with 10 bits of mantissa is no fp32
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # what the inspector may tell later
        if capabilities:
            self._target(config, capabilities)
        sizes = optimization_shapes(io, axes)
        if sizes:
            profile = self.builder.create_optimization_profile()
            for name, shapes in sizes.items():
                profile.set_shape(name, *shapes)
            config.add_optimization_profile(profile)
        self.log.errors.clear()
        engine = self.builder.build_serialized_network(self.network, config)
        if engine is None:
            why = _sentence(self.log.errors[0]) if self.log.errors else "it gives no reason"
            raise MachineError(f"{self.flavour.title} {trt.__version__} cannot build the engine", why)
        return bytes(engine)

    def _target(self, config: Any, capabilities: Sequence[str]) -> None:
        known = self.trt.ComputeCapability
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            name = capability.replace("sm_", "SM")
            if not hasattr(known, name) or not config.set_compute_capability(getattr(known, name), index):
                able = [n.replace("SM", "sm_") for n in known.__members__ if n.startswith("SM")]
                raise InputError(
                    f"{self.flavour.title} {self.trt.__version__} knows no compute capability {capability}",
                    f"it builds for {', '.join(sorted(able, key=lambda n: int(n[3:])))}",
                    'flavour = "full" in the profile\'s [runtime] builds on the device itself',
                )

    def _refused(self, parser: Any) -> MachineError:
        error = parser.get_error(0)
        op, node = error.node_operator(), error.node_name()
        what = f"{self.flavour.title} {self.trt.__version__} cannot read the node {node or '(unnamed)'!r} ({op})"
        key, form = LOWERINGS.get(op, ("", ""))
        fix = f'[lowerings] {key} = "{form}" writes a student\'s as ops that it has; a file must come so' if key else ""
        unsupported = "UNSUPPORTED" in str(error.code())
        why = f"it has no {op}" if unsupported else _sentence(error.desc())
        return MachineError(what, why, fix)


def optimization_shapes(io: IoSpec, axes: Mapping[str, Sequence[int]]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Least, best and most shape of every input with an axis of any size.

    Raises:
        InputError: an axis that the profile gives no sizes, or sizes that do not ascend.
    """
    shapes = {}
    for spec in io.inputs:
        if all(isinstance(axis, int) for axis in spec.shape):
            continue
        each = []
        for axis in spec.shape:
            sizes = [axis] * 3 if isinstance(axis, int) else axes.get(axis, axes.get("any", ()))
            if len(sizes) != 3 or not 0 < sizes[0] <= sizes[1] <= sizes[2]:
                raise InputError(
                    f"the axis {axis!r} of {spec.name} may have any size, and the profile says not which",
                    f"it gives {list(sizes)}; an engine is built for a range",
                    f"[build.axes] {axis} = [1, 16, 4096] in the profile: least, best, most",
                )
            each.append(tuple(sizes))
        shapes[spec.name] = tuple(tuple(axis[i] for axis in each) for i in range(3))
    return shapes


def _sentence(message: str) -> str:
    """What TensorRT says, without the places in its sources."""
    first = next((line for line in message.strip().splitlines() if "Error Code" in line), message.strip())
    text = first.partition("Error Code ")[2].partition(": ")[2] or first
    return text.partition(". In ")[0].removeprefix("Myelin (").removeprefix("API Usage Error (").strip()
