"""An ``.mlpackage`` as it lies on disk: whole or refused, and what its program says of itself. Knows no torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from edgekd.contracts import NodePlacement
from edgekd.errors import InputError
from edgekd.nn.onnx_graph import KEEP_FLOAT
from edgekd_targets.coreml.library import coremltools

DATA = Path("Data/com.apple.CoreML")
MODEL, WEIGHTS = DATA / "model.mlmodel", DATA / "weights" / "weight.bin"
FUNCTION = "main"
KEPT = "edgekd.keep_float"  # of the package's metadata: names of what must be computed in fp32
_AGAIN = "copy the whole folder again, or export again"
_BLOB, _BLOB_MARK = struct.Struct("<IIQQ"), 0xDEADBEEF  # mark, type, bytes, offset of the values
_FLOATS = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64"}
_MULTIPLIES = ("conv", "conv_transpose", "linear", "matmul")
_CONVERTS = ("cast", "quantize", "dequantize")


@dataclass(frozen=True)
class Value:
    """One result of an operation: its type in MIL's words, and its shape; None is an axis of any size."""

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of the program; ``inputs`` holds the names that are bound to each parameter."""

    name: str
    op: str
    inputs: dict[str, tuple[str, ...]]
    output: str
    value: Value


def read_spec(path: Path) -> Any:
    """The package's specification (a protobuf).

    Raises:
        InputError: it is no package, is not whole, or holds no ML Program.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no .mlpackage", "an .mlpackage is a folder", _AGAIN)
    for needed in (Path("Manifest.json"), MODEL):
        if not (path / needed).is_file():
            raise InputError(f"{path} is not whole", f"it has no {needed.as_posix()}", _AGAIN)
    library = coremltools()
    spec = library.proto.Model_pb2.Model()
    try:
        spec.ParseFromString((path / MODEL).read_bytes())
    except Exception as error:  # protobuf's exceptions differ between its implementations
        raise InputError(f"{path / MODEL} is damaged", str(error), _AGAIN) from None
    if spec.WhichOneof("Type") != "mlProgram":
        kind = spec.WhichOneof("Type") or "nothing"
        raise InputError(f"{path} holds no ML Program", f"it holds a {kind}", "convert it to an ML Program")
    _check_weights(path, spec)
    return spec


def operations(spec: Any) -> Iterator[Operation]:
    """Those of the main function, in order."""
    function = spec.mlProgram.functions[FUNCTION]
    for op in function.block_specializations[function.opset].operations:
        inputs = {
            name: tuple(b.name for b in argument.arguments if b.WhichOneof("binding") == "name")
            for name, argument in op.inputs.items()
        }
        output = op.outputs[0] if op.outputs else None
        name = op.attributes["name"].immediateValue.tensor.strings.values[0] if "name" in op.attributes else ""
        yield Operation(
            name=name or (output.name if output else op.type),
            op=op.type,
            inputs=inputs,
            output=output.name if output else "",
            value=_value(output.type) if output else Value("", ()),
        )


def inputs(spec: Any) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """dtype and shape of each input of the program; state is none."""
    return {
        named.name: (value.dtype.lower(), value.shape)
        for named in spec.mlProgram.functions[FUNCTION].inputs
        if named.type.WhichOneof("type") == "tensorType"
        for value in (_value(named.type),)
    }


def outputs(spec: Any) -> list[str]:
    return [feature.name for feature in spec.description.output]


def states(spec: Any) -> list[str]:
    """Names of Core ML's own state."""
    return [feature.name for feature in spec.description.state]


def pictures(spec: Any) -> list[str]:
    """Inputs that take a picture, 8 bits a channel, in place of an array."""
    return [feature.name for feature in spec.description.input if feature.type.WhichOneof("Type") == "imageType"]


def typed_nodes(spec: Any, device: str) -> tuple[NodePlacement, ...]:
    """Every operation that computes, in the type that the program gives it, with its multiply-accumulates.

    A multiplication is int8 where both sides were quantized: what it reads comes from ``dequantize``, and its weight
    is stored in 8 bits. Its own inputs are floating point again, as in any graph of quantize-dequantize pairs.
    Weights that are unpacked (``constexpr_...``) are nodes too, which convert.
    """
    known = {op.output: op for op in operations(spec)}
    values = {op.output: op.value for op in known.values()}
    values |= {name: Value(dtype, shape) for name, (dtype, shape) in inputs(spec).items()}
    stored = {name for name, op in known.items() if op.op == "const"}
    kept = set(json.loads(spec.description.metadata.userDefined.get(KEPT) or "[]"))
    nodes = []
    for op in known.values():
        if op.output in stored:
            continue
        macs = _macs(op, values)
        precision = _FLOATS.get(op.value.dtype, op.value.dtype.lower())
        if op.op in _CONVERTS or op.op.startswith("constexpr_"):
            precision = "convert"
        elif macs != 0 and all(_in_8_bits(side, known) for side in _sides(op)):
            precision = "int8"
        sides = tuple("" if side in stored else side for side in _sides(op)) if macs != 0 else ()
        parts = (f"{KEEP_FLOAT}{op.output}",) if op.output in kept else ()
        nodes.append(
            NodePlacement(op.output, op.op, precision, device, macs=macs, owner=op.output, sides=sides, parts=parts)
        )
    return tuple(nodes)


def compressed_share(spec: Any) -> float:
    """Of the numbers that are multiplied with: those that are stored in fewer bits, and unpacked when loaded."""
    known = {op.output: op for op in operations(spec)}
    numbers = {True: 0, False: 0}
    for weight in (known.get(_sides(op)[1]) for op in known.values() if op.op in _MULTIPLIES):
        if weight is not None and (weight.op == "const" or weight.op.startswith("constexpr_")):
            numbers[weight.op != "const"] += prod(axis or 1 for axis in weight.value.shape)
    return numbers[True] / max(1, sum(numbers.values()))


def _sides(op: Operation) -> tuple[str, str]:
    """Names of the two tensors that are multiplied."""
    second = "y" if op.op == "matmul" else "weight"
    return tuple((op.inputs.get(side) or ("",))[0] for side in ("x", second))  # type: ignore[return-value]


def _in_8_bits(name: str, known: dict[str, Operation]) -> bool:
    op = known.get(name)
    while op is not None and op.op in ("reshape", "transpose", "expand_dims", "squeeze"):
        op = known.get((op.inputs.get("x") or ("",))[0])
    if op is None:
        return False
    if op.op == "dequantize":
        return True
    stored = op.inputs.get("quantized_data") or op.inputs.get("data") or ("",)
    held = known.get(stored[0])
    return op.op in ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale") and (
        held is None or held.value.dtype in ("INT8", "UINT8")
    )


def _macs(op: Operation, values: dict[str, Value]) -> int | None:
    """Weights times positions. An axis of any size counts as 1; None where a side is not in the program."""
    if op.op not in _MULTIPLIES:
        return 0
    left, right = (values[name].shape if name in values else None for name in _sides(op))
    if left is None or right is None:
        return None
    counted: tuple[tuple[int | None, ...], ...]
    if op.op == "conv":
        counted = (right, op.value.shape[:1], op.value.shape[2:])
    elif op.op == "conv_transpose":
        counted = (right, left[:1], left[2:])
    elif op.op == "linear":
        counted = (op.value.shape, right[1:])
    else:
        counted = (op.value.shape, left[-1:])
    return prod(axis or 1 for part in counted for axis in part)


def _value(kind: Any) -> Value:
    tensor = kind.tensorType
    shape = tuple(d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in tensor.dimensions)
    names = type(kind).DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number
    return Value(names[tensor.dataType].name, shape)


def _check_weights(path: Path, spec: Any) -> None:
    """Every value that the program keeps in the weights' file must lie in it, whole."""
    offsets = sorted(set(_blob_offsets(spec)))
    if not offsets:
        return
    file = path / WEIGHTS
    if not file.is_file():
        raise InputError(f"{path} has no weights", f"{WEIGHTS.as_posix()} is missing", _AGAIN)
    size = file.stat().st_size
    with file.open("rb") as content:
        for offset in offsets:
            content.seek(offset)
            head = content.read(_BLOB.size)
            mark, _, count, start = _BLOB.unpack(head) if len(head) == _BLOB.size else (0, 0, 0, 0)
            if mark != _BLOB_MARK or start + count > size:
                raise InputError(f"{file} is damaged", f"it holds no whole weight at byte {offset}", _AGAIN)


def _blob_offsets(spec: Any) -> Iterator[int]:
    for function in spec.mlProgram.functions.values():
        for op in function.block_specializations[function.opset].operations:
            bound = (b.value for argument in op.inputs.values() for b in argument.arguments)
            for value in (*op.attributes.values(), *bound):
                if value.WhichOneof("value") == "blobFileValue":
                    yield value.blobFileValue.offset


def make_reproducible(path: Path) -> None:
    """The package's own manifest names its parts by random identifiers; the same model then gives the same bytes."""
    file = path / "Manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    renamed = {old: f"00000000-0000-0000-0000-{i:012d}" for i, old in enumerate(_by_path(manifest["itemInfoEntries"]))}
    manifest["itemInfoEntries"] = {renamed[old]: manifest["itemInfoEntries"][old] for old in renamed}
    manifest["rootModelIdentifier"] = renamed[manifest["rootModelIdentifier"]]
    file.write_text(json.dumps(manifest, indent=4) + "\n", encoding="utf-8")


def _by_path(entries: dict[str, Any]) -> list[str]:
    return sorted(entries, key=lambda key: str(entries[key]["path"]))
