"""What a loaded engine says of itself: its tensors, and its layers with their types and formats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekd.contracts import NodePlacement, Placement

_TYPES = {"float": "fp32", "half": "fp16", "bfloat16": "bf16", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
# "Channel major FP16 format where channel % 8 == 0", "Row major Int8 format", or the type alone.
_TYPE = re.compile(r"\b(fp32|fp16|bf16|int8|float|half|bfloat16)\b", re.IGNORECASE)
_OWNER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def inputs_and_outputs(trt: Any, engine: Any) -> tuple[dict[str, tuple[str, list[int | None]]], list[str]]:
    """dtype and shape of each input, an axis of any size being None; names of the outputs."""
    inputs: dict[str, tuple[str, list[int | None]]] = {}
    outputs = []
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
            inputs[name] = (dtype, [axis if axis >= 0 else None for axis in engine.get_tensor_shape(name)])
        else:
            outputs.append(name)
    return inputs, outputs


def layers(trt: Any, engine: Any, costs: Mapping[str, int], device: str) -> Placement | None:
    """Of a loaded engine, by its inspector; None where that does not tell the types of layers."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return from_json(text, costs, device)


def from_json(text: str, costs: Mapping[str, int], device: str) -> Placement | None:
    """The inspector's JSON as a placement.

    Args:
        costs: multiply-accumulates by the name of the ONNX node; they go to the layer into which it was fused.
    """
    nodes = []
    for layer in json.loads(text).get("Layers", ()):
        if not isinstance(layer, dict):  # names alone: the engine was built without details
            return None
        owners = _OWNER.findall(layer.get("Metadata", ""))
        read, made = (_tensor_type(layer.get(side, ())) for side in ("Inputs", "Outputs"))
        # A fused convolution may give fp16 and multiply in int8: what it reads says it.
        precision = read if read == "int8" else made or read
        kernel = layer.get("TacticName") or _format(layer.get("Outputs", ()))
        macs = sum(costs.get(owner, 0) for owner in dict.fromkeys(owners))
        owner = max(owners, key=lambda name: costs.get(name, 0), default="")
        nodes.append(
            NodePlacement(
                layer["Name"], layer.get("LayerType", ""), precision, device, kernel, macs, owner, tuple(owners)
            )
        )
    if not any(node.precision for node in nodes):
        return None
    return Placement(tuple(nodes), "TensorRT engine inspector")


def _format(tensors: Any) -> str:
    """Memory format and type of the first tensor, as the inspector words it."""
    first: Mapping[str, Any] = next(iter(tensors), {})
    return next((str(v) for k, v in first.items() if k.startswith("Format")), "")


def _tensor_type(tensors: Any) -> str:
    found = _TYPE.search(_format(tensors))
    return _TYPES.get(found[1].lower(), found[1].lower()) if found else ""
