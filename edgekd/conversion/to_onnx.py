"""Student -> canonical ONNX: opset 20, static, one file, BatchNorm folded, names from the io spec."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from edgekd.contracts import IoSpec
from edgekd.errors import GateError

OPSET = 20  # what all four targets read (RoiAlign-22 and newer are missing in ONNX Runtime)


def export_onnx(student: nn.Module, io: IoSpec, path: Path) -> None:
    """Writes the canonical graph of a folded, evaluating ``student`` to ``path`` and checks it.

    Raises:
        GateError: the exporter or the checker refuses, or the graph is not what was asked (opset, names).
    """
    example = tuple(torch.zeros([1 if isinstance(a, str) else a for a in t.shape]) for t in io.inputs)
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                student.eval(),
                example,
                str(path),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=[t.name for t in io.inputs],
                output_names=[t.name for t in io.outputs],
                dynamic_shapes=_dynamic(io),
                verbose=False,
            )
    finally:
        logging.disable(previous)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opset = next(o.version for o in model.opset_import if o.domain == "")
    names = {v.name for v in (*model.graph.input, *model.graph.output)}
    wanted = {t.name for t in (*io.inputs, *io.outputs)}
    if opset != OPSET or names != wanted:
        raise GateError(
            "the exported graph is not the canonical one",
            f"opset {opset} with {sorted(names)}, asked for {OPSET} with {sorted(wanted)}",
        )
    del model.metadata_props[:]  # the exporter's own notes hold paths of this machine
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    onnx.save(model, str(path))


def _dynamic(io: IoSpec) -> Any:
    """torch.export's dynamic shapes, or None when every axis is a size."""
    names = {a for t in io.inputs for a in t.shape if isinstance(a, str)}
    if not names:
        return None
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    return tuple({i: dims[a] for i, a in enumerate(t.shape) if isinstance(a, str)} for t in io.inputs)
