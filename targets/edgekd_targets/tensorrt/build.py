"""TensorRT: the typed ONNX, in which every precision is written, and the engine that is built from it.

Typing is strong: the builder takes types from the graph and from nowhere else, so the graph that the gates judge is
the one that is built. TensorRT-RTX builds here, for other machines; full TensorRT on the device alone, and where
this is not it, the typed ONNX is shipped with the command that builds it there.
"""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekd.contracts import (
    Built,
    Calibration,
    EngineFacts,
    IoSpec,
    Precision,
    Profile,
    Session,
    Source,
)
from edgekd.errors import InputError, MachineError, nearest
from edgekd.nn.half_precision import kept_float, scan, to_half
from edgekd.nn.half_range import note
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.nn.quantization import quantize
from edgekd_targets.tensorrt import cuda
from edgekd_targets.tensorrt.flavours import Flavour, flavour_of, library
from edgekd_targets.tensorrt.network import ParsedNetwork, optimization_shapes

TYPED, ENGINE = "model.onnx", "model.engine"
BUILT = (Precision.FP32, Precision.FP16, Precision.INT8, Precision.MIXED)
SETTINGS = ("compute_capabilities", "axes")


def versions() -> dict[str, str]:
    found = {name: version(name) for name in ("onnx", "onnxruntime")}
    for package in ("tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "tensorrt", "tensorrt-cu12", "tensorrt-cu13"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def build(source: Source, profile: Profile, precision: Precision, calibration: Calibration | None, out: Path) -> Built:
    """``model.onnx``, the typed graph, and ``model.engine``."""
    if precision not in BUILT:
        raise InputError(f"tensorrt builds {', '.join(BUILT)}, not {precision}", fix="--precision auto")
    notes = write_typed(source, profile, precision, calibration, out / TYPED)
    built = compile(out / TYPED, source.io, profile, out)
    return Built(built.entry, built.typed_onnx, (*notes, *built.notes), built.engine)


def write_typed(
    source: Source, profile: Profile, precision: Precision, calibration: Calibration | None, path: Path
) -> tuple[str, ...]:
    """Writes the graph in ``precision``; returns notes about what had to stay fp32.

    ``int8`` is int8 where the graph multiplies and fp32 between; ``mixed`` has fp16 there.

    Raises:
        InputError: int8 or mixed without calibration samples.
    """
    if precision in (Precision.INT8, Precision.MIXED):
        if calibration is None:
            raise InputError(f"{precision} needs calibration samples", fix="--calibration FILE.npz")
        quantize(source.model, path, calibration, profile.way)
    else:
        shutil.copyfile(source.model, path)
    if precision not in (Precision.FP16, Precision.MIXED):
        return ()
    import onnx

    ranges = scan(path, calibration) if calibration is not None else {}
    model = onnx.load(path)
    kept = kept_float(model, ranges)
    onnx.save(to_half(model, kept), str(path))
    return (note(kept, len(calibration) if calibration is not None else None),)


def compile(typed_onnx: Path, io: IoSpec, profile: Profile, out: Path) -> Built:
    """Builds the engine of a typed ONNX for the profile's compute capabilities, or says how and where to.

    Raises:
        InputError: a setting of ``[build]`` that cannot be used.
        MachineError: TensorRT cannot read or build the graph.
    """
    flavour = flavour_of(profile.runtime)
    capabilities, axes = _settings(profile)
    if flavour.ahead_of_time:
        target: Sequence[str] = capabilities
    else:
        target, missing = (), _missing(flavour, capabilities)
        if missing:
            facts = EngineFacts(builder=flavour.title, compute_capabilities=capabilities)
            command = trtexec(io, axes)
            how = f"no engine was built here: {missing}. On the device: edgekd rebuild BUNDLE, or: {command}"
            return Built(typed_onnx, typed_onnx, (how,), facts)
    network = ParsedNetwork(flavour, typed_onnx)
    (out / ENGINE).write_bytes(network.serialize(target, axes, io))
    facts = EngineFacts(
        builder=flavour.title,
        version=network.trt.__version__,
        compute_capabilities=capabilities,
        system=f"{platform.system()} {platform.machine()}",
    )
    return Built(out / ENGINE, typed_onnx, engine=facts)


def rebuild(typed_onnx: Path, io: IoSpec, profile: Profile, out: Path) -> Built:
    """As ``compile``, for the GPU that is here, where there is one.

    Raises:
        MachineError: it cannot be built here either.
    """
    with suppress(MachineError):
        here = {**profile.build, "compute_capabilities": [cuda.first_device().capability]}
        profile = profile.model_copy(update={"build": here})
    built = compile(typed_onnx, io, profile, out)
    if built.engine is not None and not built.engine.version:
        flavour, capabilities = flavour_of(profile.runtime), built.engine.compute_capabilities
        raise MachineError(
            f"{flavour.title} cannot build the engine here", _missing(flavour, capabilities), flavour.fix
        )
    return built


def reference(built: Built, io: IoSpec) -> Session:
    return OnnxReference(built.typed_onnx or built.entry, io)


def trtexec(io: IoSpec, axes: Mapping[str, Sequence[int]]) -> str:
    """The command line that builds the engine with full TensorRT alone, 10 or 11, beside the typed ONNX."""
    shapes = optimization_shapes(io, axes)
    words = ["trtexec", f"--onnx={TYPED}", f"--saveEngine={ENGINE}", "--stronglyTyped", "--noTF32"]
    for index, option in enumerate(("--minShapes", "--optShapes", "--maxShapes")):
        if shapes:
            each = (f"{name}:{'x'.join(map(str, sizes[index]))}" for name, sizes in shapes.items())
            words.append(f"{option}={','.join(each)}")
    return " ".join([*words, "--profilingVerbosity=detailed", "--skipInference"])


def _settings(profile: Profile) -> tuple[tuple[str, ...], Mapping[str, Sequence[int]]]:
    where = f"profile tensorrt/{profile.name}: [build]"
    for key in profile.build:
        if key not in SETTINGS:
            raise InputError(f"{where} {key} is unknown", fix=nearest(key, SETTINGS))
    capabilities = profile.build.get("compute_capabilities", ())
    several = isinstance(capabilities, (list, tuple)) and capabilities
    if not several or not all(isinstance(c, str) and re.fullmatch(r"sm_\d{2,3}", c) for c in capabilities):
        raise InputError(
            f"{where} compute_capabilities = {capabilities!r} cannot be used", fix='compute_capabilities = ["sm_86"]'
        )
    axes = profile.build.get("axes", {})
    return tuple(capabilities), axes


def _missing(flavour: Flavour, capabilities: Sequence[str]) -> str:
    """Why full TensorRT cannot build for the profile's device here; empty where it can."""
    try:
        device = cuda.first_device()
        library(flavour)
    except MachineError as error:
        return f"{error.what} ({error.why}); {error.fix}"
    if device.capability in capabilities:
        return ""
    return f"{device.name} is {device.capability}, the profile is for {', '.join(capabilities)}"
