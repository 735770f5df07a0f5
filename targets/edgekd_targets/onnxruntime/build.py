"""ONNX Runtime: the canonical graph as it is, or quantized to Q/DQ int8."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from edgekd.contracts import Built, Calibration, IoSpec, Precision, Profile, Session, Source
from edgekd.errors import InputError
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.nn.quantization import quantize


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("onnx", "onnxruntime")}


def build(source: Source, profile: Profile, precision: Precision, calibration: Calibration | None, out: Path) -> Built:
    """``model.onnx``, which is also the typed graph."""
    model = out / "model.onnx"
    if precision == Precision.FP32:
        shutil.copyfile(source.model, model)
    elif precision == Precision.INT8:
        if calibration is None:
            raise InputError("int8 needs calibration samples", fix="--calibration FILE.npz")
        quantize(source.model, model, calibration, profile.way)
    else:
        raise InputError(f"onnxruntime builds fp32 and int8, not {precision}", fix="--precision auto")
    return Built(entry=model, typed_onnx=model)


def reference(built: Built, io: IoSpec) -> Session:
    return OnnxReference(built.typed_onnx or built.entry, io)
