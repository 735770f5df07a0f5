"""fp32 for the nodes that must stay in it, under whatever precision hint an IR is loaded with.

OpenVINO has an attribute for it, ``DisablePrecisionConversion``, which Python cannot make: it is written into the IR.
A node that is made anew when the IR is compiled loses it. So what would be made anew then is made here, before:
the general simplifications, and the newest Resize as the older one that the CPU executes. Export reads back whether
it came to be.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.nn.onnx_graph import KEEP_FLOAT

_KEPT = {"name": "DisablePrecisionConversion", "version": "0", "value": "dynamic:f16"}
_NO_NODES = ("Constant", "Parameter", "Result")


def settle(model: Any, typed: Path) -> None:
    """Makes of a model, in place, what compiling would make of it, where it has nodes that must stay in fp32.

    Args:
        typed: the ONNX that it was read from.
    """
    import onnx
    from openvino._offline_transformations import apply_moc_transformations

    graph = onnx.load(typed, load_external_data=False).graph
    kept = {name for node in graph.node if node.name.startswith(KEEP_FLOAT) for name in node.output}
    if not kept:
        return
    _name(model, lambda op: any(kept & port.get_names() for port in op.outputs()))  # some have an output's name
    apply_moc_transformations(model, cf=False)
    _name(model, lambda op: KEEP_FLOAT in op.get_rt_info()["fused_names_0"].astype(str))  # merged ones get a new name
    for op in list(model.get_ordered_ops()):
        if op.get_friendly_name().startswith(KEEP_FLOAT) and op.get_type_name() == "Interpolate":
            _make_older(op)
    model.validate_nodes_and_infer_types()


def _name(model: Any, kept: Callable[[Any], bool]) -> None:
    """Makes what is kept known by its name."""
    for op in model.get_ordered_ops():
        name = op.get_friendly_name()
        if op.get_type_name() not in _NO_NODES and not name.startswith(KEEP_FLOAT) and kept(op):
            op.set_friendly_name(f"{KEEP_FLOAT}{name}")


def _make_older(op: Any) -> None:
    """``Interpolate`` of opset 11 as the same of opset 4, where every size is known."""
    from openvino import opset8
    from openvino.utils.node_factory import NodeFactory

    whole = [port.get_partial_shape() for port in (op.input(0), op.output(0))]
    axes = op.input_value(2).get_node() if op.get_input_size() > 2 else opset8.constant(np.arange(len(whole[0])))
    static = all(shape.is_static for shape in whole) and axes.get_type_name() == "Constant"
    if op.get_type_info().version_id != "opset11" or not static:
        return
    before, after = (np.array(shape.to_shape())[axes.get_data()] for shape in whole)
    sizes, scales = opset8.constant(after, np.int32), opset8.constant(after / before, np.float32)
    attributes = dict(op.get_attributes())
    given = op.input_value(1)  # scales or sizes, of which opset 4 takes both and uses one
    both = (given, scales.output(0)) if attributes["shape_calculation_mode"] == "sizes" else (sizes.output(0), given)
    made = NodeFactory("opset4").create("Interpolate", [op.input_value(0), *both, axes.output(0)], attributes)
    made.set_friendly_name(op.get_friendly_name())
    names = op.output(0).get_names()
    op.output(0).replace(made.output(0))
    made.output(0).set_names(names)


def mark(entry: Path) -> None:
    """Marks the layers of an IR, which this machine has just written."""
    tree = ET.parse(entry)
    kept = [layer for layer in tree.getroot().iter("layer") if layer.attrib["name"].startswith(KEEP_FLOAT)]
    for layer in kept:
        facts = layer.find("rt_info")
        ET.SubElement(ET.SubElement(layer, "rt_info") if facts is None else facts, "attribute", _KEPT)
    if kept:
        tree.write(entry, encoding="utf-8", xml_declaration=True)
