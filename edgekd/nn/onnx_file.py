"""Any ONNX file as a canonical graph: read with nothing taken on trust, made static where asked, on one opset.

Needs onnx, and ONNX Runtime for folding constants. Nothing that the file names is run or opened, except the
external data beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.errors import InputError, MachineError, nearest

if TYPE_CHECKING:
    import onnx

OPSET = 20  # what every target reads; later ones stay as they are
NEWEST_OPSET = 25
LARGEST_BYTES = 2**31 - 1  # of one protobuf, which the canonical graph is
STANDARD = ("", "ai.onnx")
RUNTIME_DOMAINS = ("ai.onnx.ml", "com.microsoft")  # ONNX Runtime has these; another target says so if it has not
Shapes = Mapping[str, tuple[int | None, ...]]


def read_onnx(path: Path) -> onnx.ModelProto:
    """The model, checked, with its external data in it and a name for every axis of any size.

    Raises:
        InputError: missing, no ONNX, truncated, external data that is missing or leaves the folder, an op that no
            standard or runtime has (the node is named), an opset that is too new.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise InputError(f"there is no model {path}", fix="edgekd export model.onnx --target onnxruntime")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, UnicodeDecodeError):
        raise InputError(f"{path} is no ONNX file, or a truncated one", "its protobuf cannot be read") from None
    except OSError as error:
        raise InputError(f"cannot read {path}", error.strerror or str(error)) from None
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path} is no ONNX file, or a truncated one", "it holds no graph with nodes and outputs")
    _check_ops(model, path)
    _load_external(model, path)
    try:
        if model.ByteSize() > LARGEST_BYTES:
            raise InputError(f"{path} is larger than 2 GB", "the canonical graph is one protobuf")
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InputError(f"{path} is no valid ONNX", _said(error)) from None
    _name_axes(model)
    return model


def io_of(model: onnx.ModelProto, path: Path) -> IoSpec:
    """Inputs that must be fed and all outputs.

    Raises:
        InputError: a tensor of a type that numpy arrays of numbers cannot be, or an input without a rank.
    """
    constants = {t.name for t in model.graph.initializer}
    inputs = [_tensor(v, path, "input") for v in model.graph.input if v.name not in constants]
    outputs = [_tensor(v, path, "output") for v in model.graph.output]
    return IoSpec(inputs=tuple(inputs), outputs=tuple(outputs))


def parse_shapes(settings: Sequence[str]) -> Shapes:
    """``--shape NAME=1,3,224,224`` or ``--shape AXIS=1``; ``?`` leaves an axis as it is.

    Raises:
        InputError: another form, or a size that is no positive number.
    """
    shapes: dict[str, tuple[int | None, ...]] = {}
    for text in settings:
        name, equals, sizes = text.rpartition("=")
        parts = [part.strip() for part in sizes.split(",")]
        fine = all(part == "?" or (part.isascii() and part.isdigit() and 0 < int(part) < 2**31) for part in parts)
        if not equals or not name or not fine:
            raise InputError(f"--shape {text!r} is no NAME=SIZES", "sizes are positive numbers, or ?", _SHAPE_EXAMPLE)
        if name in shapes:
            raise InputError(f"--shape names {name} twice", fix=_SHAPE_EXAMPLE)
        shapes[name] = tuple(None if part == "?" else int(part) for part in parts)
    return shapes


_SHAPE_EXAMPLE = "--shape x=1,3,224,224, or --shape batch=1 for an axis by its name"


def freeze(model: onnx.ModelProto, shapes: Shapes) -> None:
    """Gives inputs, by name, or axes, by theirs, their sizes.

    Raises:
        InputError: no input or axis of that name, another rank, or another size than the one it has.
    """
    constants = {t.name for t in model.graph.initializer}
    inputs = {v.name: v for v in model.graph.input if v.name not in constants}
    axes = _axes(inputs.values())
    sizes: dict[str, int] = {}
    for name, wanted in shapes.items():
        if name in inputs:
            found = _freeze_input(inputs[name], wanted)
        elif name in axes and len(wanted) == 1 and wanted[0]:
            found = {name: wanted[0]}
        elif name in axes:
            raise InputError(f"--shape {name}: an axis has one size", fix=_SHAPE_EXAMPLE)
        else:
            fix = nearest(name, [*inputs, *axes])
            raise InputError(f"--shape {name}: the model has no input or axis of that name", fix=fix)
        for axis, size in found.items():
            if sizes.setdefault(axis, size) != size:
                raise InputError(f"--shape {name}: the axis {axis} is {sizes[axis]} and {size}", "it has one size")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]  # a oneof: the name goes
    if shapes:  # what was inferred of the dynamic model is inferred anew
        del model.graph.value_info[:]


def canonicalize(model: onnx.ModelProto, path: Path) -> tuple[str, ...]:
    """Writes ``model`` to ``path``: opset 20, constants folded, every node named, one file. Returns notes.

    Raises:
        MachineError: ONNX Runtime, by whose unoptimized execution the gates judge, cannot load it.
    """
    import onnx

    notes = []
    opset = next((o.version for o in model.opset_import if o.domain in STANDARD), OPSET)
    if opset < OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
            notes.append(f"opset {opset} became {OPSET}")
        except Exception as error:  # the converter raises whatever its C++ does
            notes.append(f"opset {opset} stays: {_said(error)}")
    folded = _folded(model)
    if {node.domain for node in _nodes(folded.graph)} <= {node.domain for node in _nodes(model.graph)}:
        model = folded
    _name_nodes(model.graph)
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # a shape that cannot be inferred is not needed to run
        notes.append(f"shapes could not be inferred: {_said(error)}")
    used = {node.domain for node in _nodes(model.graph)} | {node.domain for f in model.functions for node in f.node}
    kept = [o for o in model.opset_import if o.domain in used or o.domain in STANDARD]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for part in (model, model.graph, *_nodes(model.graph)):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(model, str(path))
    return tuple(notes)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded, identities and unused nodes gone: ONNX Runtime's rewrites within the standard's own ops."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise MachineError(
                "ONNX Runtime, the reference of every gate, cannot load the model", _said(error)
            ) from None
        return onnx.load(options.optimized_model_filepath)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Quantizers and reports know nodes by name."""
    taken: set[str] = set()
    for index, node in enumerate(_nodes(graph)):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}" if f"{node.op_type}_{index}" not in taken else f"node_{index}_"
        taken.add(node.name)


def _name_axes(model: onnx.ModelProto) -> None:
    """An input's axis of any size without a name of its own (some exporters write ?) becomes ``NAME_AXIS``."""
    for value in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value <= 0 and dim.dim_param in ("", "?"):
                dim.dim_param = f"{value.name}_{axis}"


def _check_ops(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    opsets = {o.domain if o.domain not in STANDARD else "": o.version for o in model.opset_import}
    opset = opsets.get("", 0)
    if opset > NEWEST_OPSET:
        raise InputError(f"{path} has opset {opset}", f"the runtimes here read up to {NEWEST_OPSET}")
    functions = {(f.domain, f.name) for f in model.functions}
    for node in _nodes(model.graph):
        what = f"{path}: node {node.name or node.output[:1] or '(unnamed)'!r}"
        standard = node.domain in STANDARD
        if (node.domain, node.op_type) in functions or node.domain in RUNTIME_DOMAINS:
            continue
        if not standard:
            why = f"{node.domain!r} is neither ONNX nor ONNX Runtime's, and the file defines no such function"
            raise InputError(f"{what} is an op of its own, {node.op_type}", why, "replace it by ops of the standard")
        if opset and not onnx.defs.has(node.op_type, opset, ""):
            raise InputError(f"{what}: opset {opset} has no op {node.op_type!r}", fix="export the model again")


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    """Only files below the model's own folder, whole, and through no link that leads out of it."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

    folder = path.parent.resolve()
    for tensor in _tensors(model.graph):
        if not uses_external_data(tensor):
            continue
        try:
            info = ExternalDataInfo(tensor)
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: where {tensor.name} lies cannot be read", _said(error)) from None
        file = (folder / info.location).resolve()
        if not info.location or Path(info.location).is_absolute() or folder not in file.parents:
            raise InputError(f"{path}: {tensor.name} lies outside of the model's folder", f"at {info.location!r}")
        if not file.is_file():
            what = f"{path}: the weights in {info.location} are missing"
            raise InputError(what, f"{tensor.name} lies there", "copy that file beside the model")
        end = (info.offset or 0) + (info.length or 0)
        if file.stat().st_size < end:
            why = f"{tensor.name} ends at byte {end:,} of {file.stat().st_size:,}"
            raise InputError(f"{path}: {info.location} is truncated", why, "copy that file again")
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except (onnx.checker.ValidationError, ValueError, OSError) as error:
            raise InputError(f"{path}: {info.location} cannot be read", _said(error)) from None
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensor(value: Any, path: Path, kind: str) -> TensorSpec:
    import onnx

    if not value.type.HasField("tensor_type"):
        raise InputError(f"{path}: the {kind} {value.name!r} is no tensor", "sequences, maps and options are not fed")
    tensor = value.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    dtype = {"float": "float32", "double": "float64"}.get(name, name)
    if dtype not in _dtypes():
        raise InputError(
            f"{path}: the {kind} {value.name!r} holds {dtype}", f"edgekd feeds numbers: {', '.join(_dtypes())}"
        )
    if not tensor.HasField("shape") and kind == "input":
        raise InputError(f"{path}: the input {value.name!r} has no rank", fix=f"--shape {value.name}=SIZES says it")
    shape = tuple(
        dim.dim_value if dim.dim_value > 0 else dim.dim_param or f"{value.name}_{axis}"
        for axis, dim in enumerate(tensor.shape.dim)
    )
    return TensorSpec(name=value.name, shape=shape, dtype=dtype)


def _dtypes() -> tuple[str, ...]:
    from typing import get_args

    from edgekd.contracts import DType

    return get_args(DType)


def _freeze_input(value: Any, wanted: tuple[int | None, ...]) -> dict[str, int]:
    """Sizes of the axes that have names; the others are written at once."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        for _ in wanted:
            tensor.shape.dim.add()
    dims = tensor.shape.dim
    if len(dims) != len(wanted):
        raise InputError(f"--shape {value.name}: it has {len(dims)} axes, not {len(wanted)}", fix=_SHAPE_EXAMPLE)
    sizes: dict[str, int] = {}
    for axis, (dim, size) in enumerate(zip(dims, wanted, strict=True)):
        if size is None:
            continue
        if dim.dim_value > 0 and dim.dim_value != size:
            raise InputError(f"--shape {value.name}: axis {axis} is {dim.dim_value}, not {size}", "it is fixed")
        if dim.dim_param and sizes.setdefault(dim.dim_param, size) != size:
            raise InputError(f"--shape {value.name}: axes of one name, {dim.dim_param}, have one size")
        dim.dim_value = size
    return sizes


def _axes(values: Any) -> list[str]:
    return [dim.dim_param for v in values for dim in v.type.tensor_type.shape.dim if dim.dim_param]


def _nodes(graph: onnx.GraphProto) -> Iterator[Any]:
    """Of the graph and of the graphs in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


def _said(error: BaseException) -> str:
    """The first line of what a library says, without the place in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return first.partition("Assertion `false` failed: ")[2] or first
