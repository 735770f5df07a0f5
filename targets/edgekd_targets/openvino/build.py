"""OpenVINO: the canonical or the Q/DQ graph as IR. Precision hints are given when it is loaded, always."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from edgekd.contracts import Built, Calibration, IoSpec, Precision, Profile, Session, Source
from edgekd.errors import InputError, MachineError
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.nn.quantization import quantize
from edgekd_targets.openvino.runtime import reason


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("nncf", "onnx", "openvino")}


def build(source: Source, profile: Profile, precision: Precision, calibration: Calibration | None, out: Path) -> Built:
    """``model.xml`` + ``model.bin`` with uncompressed weights, and ``model.onnx``, the typed graph."""
    import openvino

    typed = out / "model.onnx"
    if precision in (Precision.FP32, Precision.BF16):
        shutil.copyfile(source.onnx, typed)
    elif precision == Precision.INT8:
        if calibration is None:
            raise InputError("int8 needs calibration samples")
        quantize(source.onnx, typed, calibration, profile.quantization)
    else:
        raise InputError(f"openvino builds fp32, bf16 and int8, not {precision}", fix="--precision auto")
    entry = out / "model.xml"
    try:
        model = openvino.Core().read_model(typed)
    except RuntimeError as error:
        raise MachineError("OpenVINO's ONNX front end cannot read the graph", reason(error)) from None
    try:
        openvino.save_model(model, entry, compress_to_fp16=False)
    except RuntimeError as error:  # a full disk, in the words of a C++ stream
        fix = "make room (df -h, ulimit -f, quota) in the temporary folder"
        raise MachineError(f"OpenVINO cannot write {entry.name}", reason(error), fix) from None
    return Built(entry=entry, typed_onnx=typed)


def reference(built: Built, io: IoSpec) -> Session:
    return OnnxReference(built.typed_onnx, io)
