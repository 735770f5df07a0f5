"""Reading an ONNX graph's cost: multiply-accumulates per node. Needs the onnx package, no runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from edgekd.contracts import IoSpec

if TYPE_CHECKING:
    import onnx

# Every op whose work is multiply-accumulates, in its plain form.
MAC_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "DeformConv", "LSTM", "GRU")
_GATES = {"LSTM": 4, "GRU": 3}  # matrices per direction of a recurrent layer
# What an optimizer fuses behind one of them.
_FUSED_BEHIND = ("Clip", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "Mul", "Add", "Reshape")
_QUANTIZE = ("QuantizeLinear", "DequantizeLinear")
# What the name of a node begins with that must stay in fp32 (``edgekd.nn.keep_float``), in every typed graph.
KEEP_FLOAT = "keep_float/"


def kept_float_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that no builder may put into a lower type than fp32."""
    return [node.name for node in model.graph.node if node.name.startswith(KEEP_FLOAT)]


def macs_by_node(model: onnx.ModelProto, io: IoSpec | None = None) -> dict[str, int]:
    """Multiply-accumulates of one call per node of ``MAC_OPS``, by the name of its first output.

    That name alone is unique in every valid graph; nodes may be unnamed. Nodes of graphs within (the branches of
    an If, all of them) count too. A node whose shapes cannot be inferred at all is left out. Quantize-dequantize
    pairs between a weight and its node are seen through, because their output shape is known to shape inference.

    Args:
        io: whose examples say how long an axis of any size is; without, such an axis counts as 1.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(_at_examples(model, io), data_prop=True)
    shapes: dict[str, tuple[int, ...]] = {}
    for graph in graphs(inferred.graph):
        shapes |= _shapes(graph)
    costs: dict[str, int] = {}
    for graph in graphs(inferred.graph):
        for node in graph.node:
            if node.op_type in MAC_OPS and node.domain in ("", "ai.onnx"):
                try:
                    cost = _cost(node, shapes)
                except IndexError:  # ranks that the op cannot have: what was inferred is wrong
                    cost = None
                if cost is not None:
                    costs[next(name for name in node.output if name)] = cost
    return costs


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs(inner)


def _cost(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    first, weight = shapes.get(node.input[0]), shapes.get(node.input[1])
    if first is None or weight is None:
        return None
    if node.op_type in _GATES:  # X [steps, batch, inputs], W [directions, gates * hidden, inputs]
        hidden = weight[1] // _GATES[node.op_type]
        return first[0] * first[1] * weight[0] * weight[1] * (weight[2] + hidden)
    out = shapes.get(node.output[0])
    if out is None:
        return None
    if node.op_type in ("Conv", "DeformConv"):
        return prod(out) * prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return prod(first) * prod(weight[1:])
    # Gemm, MatMul: the inner axis is the weight's that is not an output axis
    inner = weight[1] if _transposed(node) else weight[-2] if len(weight) > 1 else weight[0]
    return prod(out) * inner


def _at_examples(model: onnx.ModelProto, io: IoSpec | None) -> onnx.ModelProto:
    """The model with the sizes of the io spec's examples, where it has any."""
    examples = {t.name: t.example for t in io.inputs if t.example is not None} if io else {}
    if not examples:
        return model
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in sized.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, examples.get(value.name, ()), strict=False):
            dim.dim_value = size
    del sized.graph.value_info[:]  # inferred for any size: it is inferred anew
    for value in sized.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
    return sized


def attribute(model: onnx.ModelProto, costs: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Node, tensor and initializer names -> the nodes of ``costs`` that an optimized node of that name may be.

    A node is known by its own name, its output, its weight, and by the name or output of whatever
    elementwise op (activation, addition, quantization) may have been fused behind it. Most names mean one
    node; a shared weight, and an addition of two branches, mean several.
    """
    nodes = [node for graph in graphs(model.graph) for node in graph.node]
    producers = {name: node for node in nodes for name in node.output if name}
    constants = {t.name for graph in graphs(model.graph) for t in graph.initializer}
    # What several nodes read must exist as a tensor, so nothing behind it was fused with what made it.
    outputs = [v.name for graph in graphs(model.graph) for v in graph.output]
    readers = Counter([*(name for node in nodes for name in node.input), *outputs])
    known: dict[str, dict[str, None]] = {}

    def add(names: Iterable[str | None], owners: Iterable[str]) -> None:
        for name in names:
            if name:
                known.setdefault(name, {}).update(dict.fromkeys(owners))

    for node in nodes:  # in topological order, graphs within after the one that they are in
        own = next((name for name in node.output if name in costs), None)
        if own is not None:
            add((node.name, *node.output, _weight(node, producers, constants)), (own,))
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


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim)
    return shapes
