"""An ONNX graph in fp16 by casts, with islands of fp32 where fp16 cannot hold the numbers.

For runtimes that take types from the graph and from nowhere else (strong typing). Inputs and outputs of the graph
keep their types, so its io spec holds unchanged. Nodes are known by their first output, which alone is unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.contracts import Array, Arrays
from edgekd.nn.half_range import (
    COMPUTES_PLACES,
    MARKED,
    READS_PLACES,
    activation_misfit,
    constant_too_large,
    constant_too_small,
    sum_misfit,
)
from edgekd.nn.onnx_graph import KEEP_FLOAT, MAC_OPS

if TYPE_CHECKING:
    import onnx

FLOAT, HALF = 1, 10  # onnx.TensorProto's
# These add up all that they read before they divide: the sum must fit, too.
SUMS = (
    "ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "GlobalAveragePool",
    "LayerNormalization", "InstanceNormalization", "GroupNormalization",
)  # fmt: skip
SQUARES = ("ReduceL2", "ReduceSumSquare", "LayerNormalization", "InstanceNormalization", "GroupNormalization")
FLOAT_INPUTS = {"Resize": (1, 2)}  # fp32 by the standard, whatever the data is
# No fp16 in the standard, or graphs within that have borders of their own.
FLOAT_OPS = ("CumSum", "RoiAlign", "NonMaxSuppression", "If", "Loop", "Scan", "LSTM", "GRU", "RNN")


def scan(path: Path, feeds: Iterable[Arrays]) -> dict[str, float]:
    """The largest magnitude of every float tensor over ``feeds``; infinite where one is no number.

    Every tensor is reduced inside the graph, so that no more of them is held than one call needs.
    """
    import onnx
    import onnxruntime
    from onnx import helper

    model = typed(onnx.load(path))
    types = _types(model.graph)
    made = [v.name for v in model.graph.input] + [name for node in model.graph.node for name in node.output]
    tensors = [name for name in made if types.get(name) == FLOAT]
    for index, name in enumerate(tensors):
        model.graph.node.append(helper.make_node("Abs", [name], [f"scan/{index}/abs"]))
        model.graph.node.append(helper.make_node("ReduceMax", [f"scan/{index}/abs"], [f"scan/{index}"], keepdims=0))
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(f"scan/{i}", FLOAT, []) for i in range(len(tensors)))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    largest = np.zeros(len(tensors))
    for feed in feeds:
        found = np.array(session.run(None, dict(feed)), np.float64)
        largest = np.maximum(largest, np.where(np.isnan(found), np.inf, found))
    return dict(zip(tensors, largest.tolist(), strict=True))


def kept_float(model: onnx.ModelProto, ranges: Mapping[str, float]) -> dict[str, str]:
    """Nodes that must stay fp32, each with the reason.

    Args:
        ranges: what ``scan`` found; a tensor that it does not hold is not judged.
    """
    from onnx import numpy_helper

    model = typed(model)
    types, sizes = _types(model.graph), _sizes(model.graph)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == FLOAT}
    kept = _coordinates(model.graph, types)
    for node in model.graph.node:
        floats = [n for n in (*node.input, *node.output) if types.get(n) == FLOAT]
        if not floats:
            continue
        found = MARKED if node.name.startswith(KEEP_FLOAT) else ""
        found = found or (f"{node.op_type} has no fp16 form" if node.op_type in FLOAT_OPS else "")
        found = found or _out_of_range(node, floats, constants, ranges, sizes) or _too_small(node, constants)
        if found:
            kept[node.output[0]] = found
    return _with_partners(model.graph, kept)


def to_half(model: onnx.ModelProto, kept: Iterable[str] = ()) -> onnx.ModelProto:
    """``model`` with every node in fp16 that is not ``kept``; a cast stands at each border, once per tensor.

    Quantize-dequantize pairs get fp16 scales, so that what stands between two of them is fp16.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = typed(model)
    kept, types = set(kept), _types(model.graph)
    stored = {t.name: t for t in model.graph.initializer}
    outputs = {v.name for v in model.graph.output}
    nodes: list[onnx.NodeProto] = []
    halves: dict[str, str] = {}  # float tensor -> its name in fp16
    floats = {name: name for name in (*stored, *(v.name for v in model.graph.input))}  # and in fp32

    def in_half(name: str) -> str:
        """Its name in fp16; made where nothing has it yet."""
        if name not in halves:
            halves[name] = f"{name}/fp16"
            if name in stored:
                value = numpy_helper.to_array(stored[name]).astype(np.float16)
                model.graph.initializer.append(numpy_helper.from_array(value, halves[name]))
            else:
                nodes.append(helper.make_node("Cast", [floats[name]], [halves[name]], halves[name], to=HALF))
        return halves[name]

    def in_float(name: str) -> str:
        """Its name in fp32; made where nothing has it yet."""
        if name not in floats:
            floats[name] = name if name in outputs else f"{name}/fp32"
            nodes.append(helper.make_node("Cast", [halves[name]], [floats[name]], f"{name}/fp32", to=FLOAT))
        return floats[name]

    for original in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        half = node.output[0] not in kept and any(types.get(n) == FLOAT for n in (*node.input, *node.output))
        for index, name in enumerate(original.input):
            if types.get(name) == FLOAT:
                exact = not half or index in FLOAT_INPUTS.get(node.op_type, ())
                node.input[index] = in_float(name) if exact else in_half(name)
        for index, name in enumerate(original.output):
            if types.get(name) == FLOAT:
                if half:
                    node.output[index] = halves[name] = f"{name}/fp16"
                else:
                    floats[name] = name
        if half:
            _retype(node)
        nodes.append(node)
    for name in outputs:
        if types.get(name) == FLOAT:
            in_float(name)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input} | outputs
    held = [t for t in model.graph.initializer if t.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(held)
    return typed(model)


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which constants are initializers and every tensor's type, and shape as far as known, is stated."""
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = []
    for node in copy.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if value is None:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
        else:
            array = numpy_helper.to_array(value)
            copy.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)


def _types(graph: onnx.GraphProto) -> dict[str, int]:
    found = {t.name: t.data_type for t in graph.initializer}
    values = (*graph.value_info, *graph.input, *graph.output)
    return found | {v.name: v.type.tensor_type.elem_type for v in values if v.type.HasField("tensor_type")}


def _sizes(graph: onnx.GraphProto) -> dict[str, int]:
    """Number of elements; an axis of any size counts as 1."""
    values = (*graph.value_info, *graph.input, *graph.output)
    return {v.name: prod(axis.dim_value or 1 for axis in v.type.tensor_type.shape.dim) for v in values}


def _out_of_range(
    node: onnx.NodeProto,
    floats: Iterable[str],
    constants: Mapping[str, Array],
    ranges: Mapping[str, float],
    sizes: Mapping[str, int],
) -> str:
    for name in floats:
        if name in constants:
            found = constant_too_large(name, constants[name])
        else:
            found = activation_misfit(name, ranges.get(name, 0.0))
        if found:
            return found
    if node.op_type in SUMS and node.input[0] in ranges:
        # As many terms fall into one sum as there are inputs for each output.
        terms = sizes.get(node.input[0], 1) / max(1, sizes.get(node.output[0], 1))
        return sum_misfit(ranges[node.input[0]], terms, node.op_type in SQUARES)
    return ""


def _too_small(node: onnx.NodeProto, constants: Mapping[str, Array]) -> str:
    """Single numbers and scales alone."""
    quantizer = node.op_type in ("QuantizeLinear", "DequantizeLinear")
    for name in node.input[1:2] if quantizer else node.input:
        if name in constants and (quantizer or constants[name].size == 1):
            found = constant_too_small(name, constants[name])
            if found:
                return found
    return ""


def _coordinates(graph: onnx.GraphProto, types: Mapping[str, int]) -> dict[str, str]:
    """What computes the places that a GridSample reads: back to the nodes that multiply, which stay free.

    Near 1 an fp16 moves in steps of 2**-11: on a picture of 1000 pixels, a quarter of a pixel.
    """
    producers = {name: node for node in graph.node for name in node.output}
    kept: dict[str, str] = {}
    waiting = [n.input[1] for n in graph.node if n.op_type == "GridSample"]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.op_type in MAC_OPS or node.op_type == "GridSample" or node.output[0] in kept:
            continue
        if types.get(node.output[0]) == FLOAT:
            kept[node.output[0]] = COMPUTES_PLACES
            waiting += node.input
    return kept | {n.output[0]: READS_PLACES for n in graph.node if n.op_type == "GridSample"}


def _with_partners(graph: onnx.GraphProto, kept: dict[str, str]) -> dict[str, str]:
    """All quantizers of one node that multiplies have scales of one type, which is its own: they stay fp32 together."""
    producers = {name: node for node in graph.node for name in node.output}
    groups = []
    for node in graph.node:
        pairs = [producers[n] for n in node.input if n in producers and producers[n].op_type == "DequantizeLinear"]
        if node.op_type in MAC_OPS and pairs:
            quantize = [producers[pair.input[0]] for pair in pairs if pair.input[0] in producers]
            groups.append([part.output[0] for part in (node, *pairs, *quantize)])
    grown = True
    while grown:  # two of them may share a quantizer
        grown = False
        for group in groups:
            why = next((kept[part] for part in group if part in kept), "")
            missing = [part for part in group if part not in kept] if why else []
            kept |= dict.fromkeys(missing, why)
            grown = grown or bool(missing)
    return kept


def _retype(node: Any) -> None:
    """A node that names a float type in an attribute names fp16."""
    from onnx import numpy_helper

    for attribute in node.attribute:
        if attribute.name in ("to", "dtype", "output_dtype") and attribute.i == FLOAT:
            attribute.i = HALF
        elif attribute.name == "value" and attribute.t.data_type == FLOAT:  # ConstantOfShape
            half = numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.t.CopyFrom(numpy_helper.from_array(half, attribute.t.name))
