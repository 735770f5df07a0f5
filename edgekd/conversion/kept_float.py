"""What could not be quantized, node by node: read back from the runtime, and explained by the typed graph."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.bundle.manifest import KeptFloat
from edgekd.contracts import Built, NodePlacement, Placement
from edgekd.nn.onnx_graph import KEEP_FLOAT

QUANTIZERS = (
    "DequantizeLinear", "FakeQuantize", "dequantize", "constexpr_affine_dequantize", "constexpr_blockwise_shift_scale",
)  # fmt: skip
# What may stand between a quantizer and the node that it is for, and moves or rescales values only.
SEEN_THROUGH = ("Convert", "Multiply", "Subtract", "Reshape", "Transpose", "Cast", "Squeeze", "Unsqueeze")
COMPUTED_IN = ("int8", "convert")


@dataclass(frozen=True)
class _Node:
    """Of the typed graph: its op and, for the two sides that it multiplies, where each comes from."""

    name: str
    op: str
    sides: tuple[str, ...]  # names of the producers; empty for a constant
    within: str = ""  # the node in whose inner graph it lies


def kept_float(placement: Placement, built: Built, way: Mapping[str, Any]) -> tuple[KeptFloat, ...]:
    """Every node that multiplies and that the runtime executes in another type than int8, the costliest first.

    Args:
        built: whose typed graph says which inputs of a node were quantized at all.
        way: how int8 was placed: the quantization recipe and its settings.
    """
    if built.typed_onnx:
        graph = _onnx_nodes(built.typed_onnx)
    elif built.entry.suffix == ".xml":
        graph = _ir_nodes(built.entry)
    else:  # the placement was read from the typed program itself
        graph = {node.name: _Node(node.name, node.op, node.sides) for node in placement.nodes}
    total = sum(node.macs or 0 for node in placement.nodes)
    kept = [n for n in placement.nodes if (n.macs is None or n.macs > 0) and n.precision not in COMPUTED_IN]
    found = []
    for node in sorted(kept, key=lambda n: -(n.macs or 0)):
        typed = next((graph[name] for name in _names(node) if name in graph), None)
        share = None if node.macs is None or not total else node.macs / total
        name, op = (typed.name, typed.op) if typed else (node.name, node.op)
        found.append(
            KeptFloat(node=name, op=op, precision=node.precision, share=share, why=_why(node, typed, graph, way))
        )
    return tuple(found)


def _names(node: NodePlacement) -> tuple[str, ...]:
    """Under which the typed graph may know it. OpenVINO takes a convolution with a bias apart."""
    return (node.owner, node.owner.removesuffix("/WithoutBiases"), node.name)


def _why(node: NodePlacement, typed: _Node | None, graph: Mapping[str, _Node], way: Mapping[str, Any]) -> str:
    if typed is None:
        return "it is no node of the typed graph: the runtime made it, and which node it was cannot be read back"
    recipe = way.get("recipe", "the quantizer")
    if typed.within:
        return f"it lies in the graph within {typed.within}, into which {recipe} does not go"
    bare = [side for side in typed.sides if not _quantized(side, graph)]
    if not bare:
        return f"its inputs are quantized, and the runtime has no int8 {node.op} for it: it ran as {node.kernel}"
    if typed.name.startswith(KEEP_FLOAT):
        return "it computes positions, which stay in fp32 (KeepFloat)"
    if typed.name in way.get("keep_float", ()):
        return "it is kept in floating point on purpose (keep_float)"
    if recipe == "onnxruntime" and typed.op not in _onnxruntime_ops():
        return f"onnxruntime's quantizer has no {typed.op}"
    if len(bare) == len(typed.sides):
        return f"{recipe} quantized none of its inputs"
    where = ", ".join(f"{s} ({graph[s].op})" if s in graph else (s or "a constant") for s in bare)
    return f"{recipe} did not quantize its input from {where}"


def _quantized(name: str, graph: Mapping[str, _Node]) -> bool:
    node = graph.get(name)
    while node is not None and node.op in SEEN_THROUGH and node.sides:
        node = graph.get(node.sides[0])
    return node is not None and node.op in QUANTIZERS


def _onnx_nodes(path: Path) -> dict[str, _Node]:
    """By name and by first output."""
    import onnx

    nodes: dict[str, _Node] = {}
    model = onnx.load(path)

    def walk(graph: Any, within: str) -> None:
        for node in graph.node:
            found = _Node(node.name or node.output[0], node.op_type, tuple(node.input[:2]), within)
            for name in (node.name, *node.output):
                if name:
                    nodes[name] = found
            for attribute in node.attribute:
                for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    walk(inner, found.name)

    walk(model.graph, "")
    return nodes


def _ir_nodes(path: Path) -> dict[str, _Node]:
    """By name, of an OpenVINO IR, which is XML that this machine has just written."""
    root = ET.parse(path).getroot()
    names = {layer.attrib["id"]: (layer.attrib["name"], layer.attrib["type"]) for layer in root.iter("layer")}
    sides: dict[str, dict[int, str]] = {}
    for edge in root.iter("edge"):
        port = int(edge.attrib["to-port"])
        sides.setdefault(edge.attrib["to-layer"], {})[port] = names[edge.attrib["from-layer"]][0]
    return {
        name: _Node(name, op, tuple(source for _, source in sorted(sides.get(index, {}).items())[:2]))
        for index, (name, op) in names.items()
    }


def _onnxruntime_ops() -> Collection[str]:
    from onnxruntime.quantization.registry import QDQRegistry

    return tuple(QDQRegistry)
