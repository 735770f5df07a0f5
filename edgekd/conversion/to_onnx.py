"""Student -> canonical ONNX: opset 20, static, one file, BatchNorm folded, names from the io spec."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper
from torch import nn

from edgekd.contracts import IoSpec
from edgekd.errors import GateError
from edgekd.nn.deformable import DEFORM_CONV2D
from edgekd.nn.keep_float import KeepFloat
from edgekd.nn.onnx_graph import KEEP_FLOAT

_SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's note of it, a list as Python writes it
OPSET = 20  # what all four targets read (RoiAlign-22 and newer are missing in ONNX Runtime)


def export_onnx(student: nn.Module, io: IoSpec, path: Path) -> None:
    """Writes the canonical graph of a folded, evaluating ``student`` to ``path`` and checks it.

    Raises:
        GateError: the exporter or the checker refuses, or the graph is not what was asked (opset, names,
            shapes).
    """
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                student.eval(),
                _example(io),
                str(path),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=[t.name for t in io.inputs],
                output_names=[t.name for t in io.outputs],
                dynamic_shapes=_dynamic(io),
                custom_translation_table={DEFORM_CONV2D: _deform_conv},
                verbose=False,
            )
        model = onnx.load(path)
        _drop_undone_transposes(model.graph)
        onnx.checker.check_model(model, full_check=True)
        _name_kept_float(model, student)
    except (torch.onnx.OnnxExporterError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = next((str(e) for e in _chain(error) if not isinstance(e, torch.onnx.OnnxExporterError)), str(error))
        raise GateError(
            "the arrow student → canonical ONNX failed: the student cannot be exported",
            reason.strip().partition("\n")[0],
            "change the student's code to what torch.export takes",
        ) from error
    finally:
        logging.disable(previous)
    opset = next(o.version for o in model.opset_import if o.domain == "")
    found = {v.name: _axes(v) for v in (*model.graph.input, *model.graph.output)}
    wanted = {t.name: list(t.shape) for t in (*io.inputs, *io.outputs)}
    if opset != OPSET or found != wanted:
        raise GateError(
            "the exported graph is not the canonical one",
            f"opset {opset} with {found}, asked for {OPSET} with {wanted}",
        )
    # The exporter's own notes name the files and lines of this machine.
    for part in (model, model.graph, *model.graph.node, *_values(model.graph)):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, str(path))


def _deform_conv(x: Any, offsets: Any, weight: Any) -> Any:
    """``edgekd.nn.deformable.deform_conv2d`` as ONNX has it since opset 19; its offsets are in the same order."""
    from onnxscript import opset20

    return opset20.DeformConv(x, weight, offsets, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _name_kept_float(model: onnx.ModelProto, student: nn.Module) -> None:
    """Begins the names of the nodes that a ``KeepFloat`` computes with what builders know them by."""
    kept = {name for name, module in student.named_modules(remove_duplicate=False) if isinstance(module, KeepFloat)}
    scopes = [_scopes(node) for node in model.graph.node]
    if kept and not any(scopes):
        raise GateError(
            "the arrow student → canonical ONNX failed: what must stay in fp32 cannot be told from the rest",
            "this exporter does not note which module a node is of",
            "install the torch that constraints.txt names",
        )
    for node, within in zip(model.graph.node, scopes, strict=True):
        if kept & within:
            node.name = f"{KEEP_FLOAT}{node.name}"


def _drop_undone_transposes(graph: onnx.GraphProto) -> None:
    """A block that ends with its channels last turned back, and one that begins by turning them again.

    Where the map between them has a second reader neither the exporter nor the runtimes drop the pair.
    """
    turned = {node.output[0]: node for node in graph.node if node.op_type == "Transpose"}
    outputs = {value.name for value in graph.output}
    replaced: dict[str, str] = {}
    for node in turned.values():
        before = turned.get(node.input[0])
        if before is not None and node.output[0] not in outputs:
            first, second = (list(helper.get_attribute_value(n.attribute[0])) for n in (before, node))
            if [first[axis] for axis in second] == sorted(first):
                replaced[node.output[0]] = before.input[0]
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = replaced.get(name, name)
    read = {name for node in graph.node for name in node.input} | outputs
    kept = [node for node in graph.node if node.op_type != "Transpose" or node.output[0] in read]
    gone = {name for node in turned.values() for name in node.output} - read
    values = [value for value in graph.value_info if value.name not in gone]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.value_info.extend(values)


def _scopes(node: onnx.NodeProto) -> set[str]:
    """Paths of the modules that a node lies in, outermost to innermost."""
    noted = next((p.value for p in node.metadata_props if p.key == _SCOPES), "[]")
    return {str(path) for path in ast.literal_eval(noted)}


def _example(io: IoSpec) -> tuple[torch.Tensor, ...]:
    """Zeros of the inputs' types. Named axes get sizes of their own, above 1, or the exporter takes them as fixed."""
    names = sorted({a for t in io.inputs for a in t.shape if isinstance(a, str)})
    sizes = {name: 2 + index for index, name in enumerate(names)}
    return tuple(
        torch.zeros([sizes[a] if isinstance(a, str) else a for a in t.shape], dtype=getattr(torch, t.dtype))
        for t in io.inputs
    )


def _axes(value: Any) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def _values(graph: onnx.GraphProto) -> tuple[Any, ...]:
    return (*graph.input, *graph.output, *graph.value_info, *graph.initializer)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what caused it."""
    while error is not None:
        yield error
        error = error.__cause__


def _dynamic(io: IoSpec) -> Any:
    """torch.export's dynamic shapes, or None when every axis is a size."""
    names = {a for t in io.inputs for a in t.shape if isinstance(a, str)}
    if not names:
        return None
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    return tuple({i: dims[a] for i, a in enumerate(t.shape) if isinstance(a, str)} for t in io.inputs)
