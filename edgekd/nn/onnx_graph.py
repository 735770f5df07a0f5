"""Reading an ONNX graph's cost: multiply-accumulates per node. Needs the onnx package, no runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

# Every op whose work is multiply-accumulates, in its plain form.
MAC_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "DeformConv")
# What an optimizer fuses behind one of them.
_FUSED_BEHIND = ("Clip", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "Mul", "Add", "Reshape")
_QUANTIZE = ("QuantizeLinear", "DequantizeLinear")


def macs_by_node(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates of one call per node of ``MAC_OPS``, by the name of its first output.

    That name alone is unique in every valid graph; nodes may be unnamed. An axis of unknown size counts as 1;
    a node whose shapes cannot be inferred at all is left out. Quantize-dequantize pairs between a weight and
    its node are seen through, because their output shape is known to shape inference.
    """
    import onnx

    shapes = _shapes(onnx.shape_inference.infer_shapes(model, data_prop=True))
    costs: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type not in MAC_OPS or node.domain not in ("", "ai.onnx"):
            continue
        first, weight = shapes.get(node.input[0]), shapes.get(node.input[1])
        out = shapes.get(node.output[0])
        if first is None or weight is None or out is None:
            continue
        if node.op_type in ("Conv", "DeformConv"):
            costs[node.output[0]] = prod(out) * prod(weight[1:])
        elif node.op_type == "ConvTranspose":
            costs[node.output[0]] = prod(first) * prod(weight[1:])
        else:  # Gemm, MatMul: the inner axis is the weight's that is not an output axis
            inner = weight[1] if _transposed(node) else weight[-2] if len(weight) > 1 else weight[0]
            costs[node.output[0]] = prod(out) * inner
    return costs


def attribute(model: onnx.ModelProto, costs: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Node, tensor and initializer names -> the nodes of ``costs`` that an optimized node of that name may be.

    A node is known by its own name, its output, its weight, and by the name or output of whatever
    elementwise op (activation, addition, quantization) may have been fused behind it. Most names mean one
    node; a shared weight, and an addition of two branches, mean several.
    """
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    constants = {t.name for t in graph.initializer}
    # What several nodes read must exist as a tensor, so nothing behind it was fused with what made it.
    readers = Counter([*(name for node in graph.node for name in node.input), *(v.name for v in graph.output)])
    known: dict[str, dict[str, None]] = {}

    def add(names: Iterable[str | None], owners: Iterable[str]) -> None:
        for name in names:
            if name:
                known.setdefault(name, {}).update(dict.fromkeys(owners))

    for node in graph.node:  # in topological order
        if node.output[0] in costs:
            add((node.name, node.output[0], _weight(node, producers, constants)), node.output)
        elif node.op_type in _FUSED_BEHIND + _QUANTIZE:
            behind = [o for i in node.input if i in producers and readers[i] == 1 for o in known.get(i, ())]
            add((node.name, node.output[0]), behind)
    return {name: tuple(owners) for name, owners in known.items() if owners}


def _weight(node: Any, producers: Mapping[str, Any], constants: set[str]) -> str | None:
    """The initializer that the node multiplies with; None where both sides are activations."""
    name = node.input[1]
    while name in producers and producers[name].op_type in (*_QUANTIZE, "Cast", "Transpose"):
        name = producers[name].input[0]
    return name if name in constants else None


def _transposed(node: Any) -> bool:
    return any(a.name == "transB" and a.i for a in node.attribute)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(axis.dim_value or 1 for axis in axes)
    return shapes
