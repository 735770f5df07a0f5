"""Core ML: an ML Program from the student in torch, in the precision asked for."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekd.contracts import Built, Calibration, IoSpec, Placement, Precision, Profile, Session, Source
from edgekd.errors import InputError
from edgekd_targets.coreml.compress import SMALLEST, compress_weights, quantize
from edgekd_targets.coreml.convert import convert, kept
from edgekd_targets.coreml.mil.evaluator import MilReference
from edgekd_targets.coreml.package import KEPT, compressed_share, make_reproducible, read_spec, typed_nodes

ENTRY = "model.mlpackage"
BUILT = (Precision.FP16, Precision.FP32, Precision.W8, Precision.W4, Precision.PALETTE, Precision.INT8)


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("coremltools", "torch")}


def build(source: Source, profile: Profile, precision: Precision, calibration: Calibration | None, out: Path) -> Built:
    """``model.mlpackage``, a folder. Compressed and quantized programs compute in float16 besides."""
    if precision not in BUILT:
        raise InputError(f"coreml builds {', '.join(map(str, BUILT))}, not {precision}", fix="--precision auto")
    if precision == Precision.INT8 and calibration is None:
        raise InputError("int8 needs calibration samples", fix="--calibration FILE.npz")
    model, notes = convert(source, profile, precision != Precision.FP32, calibration)
    floats = kept(model, source)
    if precision == Precision.INT8 and calibration is not None:
        way = {**profile.way, "keep_float": [*profile.way.get("keep_float", ()), *floats]}
        model = quantize(model, source.io, calibration, way)
    elif precision in (Precision.W8, Precision.W4, Precision.PALETTE):
        model = compress_weights(model, precision)
        notes = (*notes, _compressed(model, precision))
    model.user_defined_metadata[KEPT] = json.dumps(floats)
    entry = out / ENTRY
    model.save(str(entry))
    make_reproducible(entry)
    return Built(entry=entry, typed_onnx=None, notes=notes)


def _compressed(model: Any, precision: Precision) -> str:
    """What a bundle says of its weights. Raises InputError where none has fewer bits."""
    share = compressed_share(model.get_spec())
    if not share:
        raise InputError(
            f"coreml: {precision} was asked and not built",
            f"no weight of the student has more than {SMALLEST} numbers, and below that bits cost more than they save",
            "--precision fp16",
        )
    return f"{share:.0%} of the weights are stored as {precision}; those of up to {SMALLEST} numbers are not"


def placement(built: Built, io: IoSpec) -> Placement:
    """The types that the program gives its operations. Which compute unit takes one is the device's choice."""
    return Placement(typed_nodes(read_spec(built.entry), "not placed"), "ML Program as it is typed")


def reference(built: Built, io: IoSpec) -> Session:
    """The MIL reference evaluator, on any machine."""
    return MilReference(built.entry, io)
