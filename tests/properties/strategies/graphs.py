"""ONNX graphs that say something else than they hold."""

from __future__ import annotations

from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

ESCAPES = ("../canary", "../../etc/hostname", "/etc/hostname", "inner/../../canary", "link.bin")


def external(location: str, length: int = 16) -> ModelProto:
    """y = x + w, with w in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", inputs, outputs, [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@st.composite
def odd(draw: st.DrawFn) -> bytes:
    """A graph of a few nodes with inputs, shapes and operators that do not fit each other."""
    ops = st.sampled_from(["Conv", "Gemm", "MatMul", "ConvTranspose", "Add", "Reshape", "Nonsense", "If", "Loop"])
    names = st.sampled_from(["x", "y", "w", "a", "", "b"])
    nodes = [
        helper.make_node(draw(ops), draw(st.lists(names, max_size=4)), draw(st.lists(names, max_size=2)))
        for _ in range(draw(st.integers(0, 4)))
    ]
    shapes = st.lists(st.one_of(st.sampled_from([-1, 0, 1, 4, 2**62]), st.sampled_from(["n", ""])), max_size=5)
    values = [
        helper.make_tensor_value_info(draw(names), draw(st.sampled_from([0, 1, 7, 99])), draw(shapes)) for _ in "xyz"
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:2], value_info=values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", draw(st.sampled_from([1, 17, 10**6])))])
    return bytes(model.SerializeToString())
