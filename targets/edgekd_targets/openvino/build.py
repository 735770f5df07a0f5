"""OpenVINO: the canonical or the Q/DQ graph as IR. Precision hints are given when it is loaded, always.

A TFLite file has no ONNX: OpenVINO reads it itself, NNCF quantizes what it read, and the IR holds the types.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

from edgekd.contracts import (
    Built,
    Calibration,
    DType,
    Graph,
    IoSpec,
    Precision,
    Profile,
    Session,
    Source,
    TensorSpec,
)
from edgekd.errors import InputError, MachineError
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.nn.quantization import quantize, quantize_openvino
from edgekd_targets.openvino.keep_float import mark, settle
from edgekd_targets.openvino.runtime import OpenVinoSession, reason

FORMATS = ("onnx", "tflite")
# What OpenVINO calls the types that numpy arrays of numbers have.
TYPES: dict[str, DType] = {
    "f16": "float16", "f32": "float32", "f64": "float64", "boolean": "bool", "i8": "int8", "i16": "int16",
    "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("nncf", "onnx", "openvino")}


def build(source: Source, profile: Profile, precision: Precision, calibration: Calibration | None, out: Path) -> Built:
    """``model.xml`` + ``model.bin`` with uncompressed weights, and ``model.onnx``, the typed graph."""
    if precision not in (Precision.FP32, Precision.BF16, Precision.INT8):
        raise InputError(f"openvino builds fp32, bf16 and int8, not {precision}", fix="--precision auto")
    if precision == Precision.INT8 and calibration is None:
        raise InputError("int8 needs calibration samples", fix="--calibration FILE.npz")
    typed = out / "model.onnx" if source.format == "onnx" else None
    if typed is None:
        model = _read(source.model)
        if precision == Precision.INT8 and calibration is not None:
            model = quantize_openvino(model, calibration, profile.way)
    else:
        if precision == Precision.INT8 and calibration is not None:
            quantize(source.model, typed, calibration, profile.way)
        else:
            shutil.copyfile(source.model, typed)
        model = _read(typed)
        settle(model, typed)
    entry = out / "model.xml"
    try:
        import openvino

        openvino.save_model(model, entry, compress_to_fp16=False)
        mark(entry)
    except RuntimeError as error:  # a full disk, in the words of a C++ stream
        fix = "make room (df -h, ulimit -f, quota) in the temporary folder"
        raise MachineError(f"OpenVINO cannot write {entry.name}", reason(error), fix) from None
    return Built(entry=entry, typed_onnx=typed)


def describe(model: Path) -> tuple[IoSpec, dict[str, int]]:
    """Inputs and outputs of a TFLite file, and its weights: how many, their bytes, multiply-accumulates.

    Raises:
        InputError: OpenVINO cannot read it, or a tensor holds no numbers.
    """
    try:
        read = _read(model)
    except MachineError as error:
        raise InputError(f"{model.name} is no TFLite file that OpenVINO reads", error.why) from None
    io = IoSpec(inputs=tuple(map(_tensor, read.inputs)), outputs=tuple(map(_tensor, read.outputs)))
    constants = [op for op in read.get_ops() if op.get_type_name() == "Constant"]
    sizes = [(prod(op.get_output_shape(0)), op.get_output_element_type(0).size) for op in constants]
    session = OpenVinoSession(Graph(model, io, Precision.FP32))
    macs = sum(node.macs or 0 for node in session.placed().nodes)
    return io, {
        "weights": sum(count for count, _ in sizes),
        "bytes": sum(count * size for count, size in sizes),
        "macs": macs,
    }


def reference(built: Built, io: IoSpec) -> Session:
    """ONNX Runtime, unoptimized, on the typed ONNX; for an IR OpenVINO itself with its int8 kernels off."""
    if built.typed_onnx is not None:
        return OnnxReference(built.typed_onnx, io)
    session = OpenVinoSession(Graph(built.entry, io, Precision.FP32), LP_TRANSFORMS_MODE="NO", SNIPPETS_MODE="DISABLE")
    session.name = f"OpenVINO {version('openvino')} in f32, quantizers as they are written"
    return session


def _read(path: Path) -> Any:
    import openvino

    try:
        return openvino.Core().read_model(path)
    except RuntimeError as error:
        kind = {".onnx": "ONNX", ".tflite": "TFLite"}[path.suffix]
        raise MachineError(f"OpenVINO's {kind} front end cannot read the graph", reason(error)) from None


def _tensor(port: Any) -> TensorSpec:
    kind = port.get_element_type().get_type_name()
    if kind not in TYPES:
        raise InputError(f"the tensor {port.any_name!r} holds {kind}", f"edgekd feeds numbers: {', '.join(TYPES)}")
    shape = tuple(
        axis.get_length() if axis.is_static else f"{port.any_name}_{index}"
        for index, axis in enumerate(port.get_partial_shape())
    )
    return TensorSpec(name=port.any_name, shape=shape, dtype=TYPES[kind])
