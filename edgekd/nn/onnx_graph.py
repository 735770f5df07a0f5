"""Reading an ONNX graph's cost: multiply-accumulates per node, by name. Needs the onnx package, no runtime."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

# Every op whose work is multiply-accumulates, in its plain form.
MAC_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "DeformConv")


def macs_by_node(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates of one call, per node name, for the ops in ``MAC_OPS``.

    An axis of unknown size counts as 1. Quantize-dequantize pairs between a weight and its node are seen
    through, because their output shape is known to shape inference.
    """
    import onnx

    shapes = _shapes(onnx.shape_inference.infer_shapes(model, data_prop=True))
    costs: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type not in MAC_OPS or node.domain not in ("", "ai.onnx"):
            continue
        first, weight = shapes.get(node.input[0]), shapes.get(node.input[1])
        out = shapes.get(node.output[0])
        if weight is None or out is None:
            continue
        if node.op_type in ("Conv", "DeformConv"):
            costs[node.name] = prod(out) * prod(weight[1:])
        elif node.op_type == "ConvTranspose":
            costs[node.name] = prod(first or (0,)) * prod(weight[1:])
        else:  # Gemm, MatMul: the inner axis is the weight's that is not an output axis
            inner = weight[1] if _transposed(node) else weight[-2] if len(weight) > 1 else weight[0]
            costs[node.name] = prod(out) * inner
    return costs


def attribute(model: onnx.ModelProto, costs: Mapping[str, int]) -> dict[str, str]:
    """Tensor and initializer names -> the ``MAC_OPS`` node they identify.

    A node is known by its weight, by its own output, and by the output of whatever elementwise op
    (activation, addition, quantization) an optimizer may have fused behind it.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    known: dict[str, str] = {}
    for node in model.graph.node:
        if node.name in costs:
            known[node.name] = known[node.output[0]] = node.name
            weight = producers.get(node.input[1])
            known[node.input[1] if weight is None else weight.input[0]] = node.name
    through = ("Clip", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "Mul", "Add", "Reshape")
    quantize = ("QuantizeLinear", "DequantizeLinear")
    for node in model.graph.node:  # in topological order
        if node.op_type in through + quantize and node.output[0] not in known:
            behind = [known[i] for i in node.input if i in known and i in producers]
            if behind:
                known[node.output[0]] = known[node.name] = behind[-1]
    return known


def _transposed(node: Any) -> bool:
    return any(a.name == "transB" and a.i for a in node.attribute)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(axis.dim_value or 1 for axis in axes)
    return shapes
