"""ONNX's DeformConv for OpenVINO, which has the operation and whose ONNX front end has no rule for it (2026.4)."""

from __future__ import annotations

from typing import Any

OP = "DeformConv"


def extension() -> Any:
    """To be added to a ``Core`` before it reads an ONNX."""
    from openvino.frontend.onnx import ConversionExtension

    return ConversionExtension(OP, _converted)


def _converted(node: Any) -> Any:
    """Inputs: data, weight, offsets, then bias and mask, which may be left out."""
    from openvino import opset8

    data, weight, offsets = (node.get_input(index) for index in range(3))
    bias, mask = (_optional(node, index) for index in (3, 4))
    rank = len(weight.get_partial_shape()) - 2
    pads = _integers(node, "pads", [0] * (2 * rank))
    result = opset8.deformable_convolution(
        data,
        offsets,
        weight,
        strides=_integers(node, "strides", [1] * rank),
        pads_begin=pads[:rank],
        pads_end=pads[rank:],
        dilations=_integers(node, "dilations", [1] * rank),
        mask=mask,
        group=int(node.get_attribute("group", 1)),
        deformable_group=int(node.get_attribute("offset_group", 1)),
        # A tap between the border and the zeros around it sees a part of both, as ONNX says; OpenVINO's own default is
        # to see nothing.
        bilinear_interpolation_pad=True,
    )
    if bias is not None:
        result = opset8.add(result, opset8.unsqueeze(bias, [0, *range(2, 2 + rank)]))
    return result.outputs()


def _optional(node: Any, index: int) -> Any:
    """None for an input that is not there, or has an empty name."""
    if index >= node.get_input_size():
        return None
    found = node.get_input(index)
    return None if found.get_node().get_type_name() == "NullNode" else found


def _integers(node: Any, name: str, default: list[int]) -> list[int]:
    return [int(value) for value in node.get_attribute(name, default)]
