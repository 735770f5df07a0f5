"""Which type every node computes in, read from the strongly typed graph: types, not kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.contracts import IoSpec, NodePlacement, Placement
from edgekd.errors import MachineError
from edgekd.nn.onnx_graph import MAC_OPS, macs_by_node
from edgekd_targets.tensorrt.flavours import Flavour, library
from edgekd_targets.tensorrt.network import ParsedNetwork

if TYPE_CHECKING:
    import onnx

# What may stand between a dequantizer and the node that it is for, and moves values only.
MOVES = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "SHUFFLE", "IDENTITY"}
MULTIPLIES = {*MAC_OPS, "CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "LOOP_OUTPUT"}
DEQUANTIZES = {"DequantizeLinear", "DEQUANTIZE"}
QUANTIZES = {"QuantizeLinear", "QUANTIZE"}
TYPES = {
    "FLOAT": "fp32", "FLOAT16": "fp16", "HALF": "fp16", "BFLOAT16": "bf16", "BF16": "bf16",
    "DOUBLE": "fp64", "INT8": "int8",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """Of the typed graph, be it ONNX or TensorRT's network: names of tensors, and the type of the first output."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dtype: str
    owner: str = ""  # the ONNX node that it came from


def read(flavour: Flavour, path: Path, io: IoSpec) -> Placement:
    """Of a typed ONNX: as TensorRT's own parser understands it, or as it is written where that is not installed."""
    import onnx

    costs = costs_by_node(path, io)
    try:
        version = library(flavour).__version__
    except MachineError:
        return placement(onnx_nodes(onnx.load(path)), costs, "cuda", "types of the ONNX graph")
    nodes = network_nodes(ParsedNetwork(flavour, path).network)
    return placement(nodes, costs, "cuda", f"typed network of {flavour.title} {version}; types, not kernels")


def onnx_nodes(model: onnx.ModelProto) -> list[Node]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    types = {v.name: onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type) for v in values}
    return [
        Node(n.name or n.output[0], n.op_type, tuple(n.input), tuple(n.output), types.get(n.output[0], ""), n.name)
        for n in inferred.graph.node
    ]


def network_nodes(network: Any) -> list[Node]:
    """Of TensorRT's ``INetworkDefinition``, constants left out."""
    nodes = []
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        op = layer.type.name
        inputs = (layer.get_input(i) for i in range(layer.num_inputs))
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        if op == "CONSTANT" or not outputs:
            continue
        # "[ONNX Layer: conv1]"; it makes several layers of some nodes, and layers of no node
        owner = layer.metadata.rpartition("[ONNX Layer: ")[2].rstrip("]")
        made = tuple(o.name for o in outputs)
        nodes.append(
            Node(layer.name, op, tuple(i.name for i in inputs if i is not None), made, outputs[0].dtype.name, owner)
        )
    return nodes


def placement(nodes: Iterable[Node], costs: Mapping[str, int], device: str, source: str) -> Placement:
    """``costs``: multiply-accumulates by the name of the ONNX node; they go to its layer that multiplies."""
    nodes = list(nodes)
    producers = {name: node for node in nodes for name in node.outputs}
    placed, taken = [], set()
    for node in nodes:
        macs = 0
        if node.op in MULTIPLIES and node.owner in costs and node.owner not in taken:
            taken.add(node.owner)
            macs = costs[node.owner]
        placed.append(NodePlacement(node.name, node.op, _precision(node, producers), device, "", macs, node.owner))
    return Placement(tuple(placed), source)


def costs_by_node(path: Path, io: IoSpec) -> dict[str, int]:
    """Multiply-accumulates by node name."""
    import onnx

    model = onnx.load(path)
    costs = macs_by_node(model, io)
    return {node.name: costs[node.output[0]] for node in model.graph.node if node.output and node.output[0] in costs}


def _precision(node: Node, producers: Mapping[str, Node]) -> str:
    if node.op in QUANTIZES or node.op in DEQUANTIZES or node.op.upper() == "CAST":
        return "convert"
    sides = [producers.get(name) for name in node.inputs[:2]]
    if (
        node.op in MULTIPLIES
        and len(sides) == 2
        and all(side is not None and _dequantized(side, producers) for side in sides)
    ):
        return "int8"  # the pair in the graph says so: TensorRT makes one int8 layer of it
    return TYPES.get(node.dtype, node.dtype.lower())


def _dequantized(node: Node, producers: Mapping[str, Node]) -> bool:
    while node.op in MOVES and node.inputs and node.inputs[0] in producers:
        node = producers[node.inputs[0]]
    return node.op in DEQUANTIZES
