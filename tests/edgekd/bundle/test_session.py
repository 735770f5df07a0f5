"""State that a graph hands from call to call, in every runtime that loads ONNX or IR."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.bundle.session import CarriedState, carried
from edgekd.contracts import Graph, IoSpec, Precision, Source, TensorSpec
from edgekd.errors import InputError
from edgekd.registry import builder, profile, runtime

AXES = (1, 3)
IO = IoSpec(
    inputs=(TensorSpec(name="x", shape=AXES), TensorSpec(name="sum", shape=AXES), TensorSpec(name="last", shape=AXES)),
    outputs=(
        TensorSpec(name="sum_next", shape=AXES),
        TensorSpec(name="y", shape=AXES),
        TensorSpec(name="total", shape=AXES),
        TensorSpec(name="last_next", shape=AXES),
    ),
    state={"sum_next": "sum", "last_next": "last"},
)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def graph(request, tmp_path_factory):
    """sum' = sum + x; last' = 1 x; y = sum' - last; total = sum': two states of which each call sees the last one's."""
    folder = tmp_path_factory.mktemp(request.param)
    values = {
        n: helper.make_tensor_value_info(n, TensorProto.FLOAT, AXES)
        for t in (IO.inputs, IO.outputs)
        for n in [v.name for v in t]
    }
    nodes = [
        helper.make_node("Add", ["sum", "x"], ["sum_next"], name="add"),
        helper.make_node("Add", ["sum_next", "zero"], ["total"], name="show"),
        helper.make_node("Sub", ["sum_next", "last"], ["y"], name="sub"),
        helper.make_node("Add", ["x", "zero"], ["last_next"], name="keep"),
    ]
    zero = onnx.numpy_helper.from_array(np.zeros(AXES, np.float32), "zero")
    made = helper.make_graph(
        nodes, "g", [values[t.name] for t in IO.inputs], [values[t.name] for t in IO.outputs], [zero]
    )
    path = folder / "source.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    out = folder / "built"
    out.mkdir()
    built = builder(request.param).build(Source(path, IO), profile(request.param), Precision.FP32, None, out)
    return request.param, Graph(built.entry, IO, Precision.FP32, {"threads": 1})


@pytest.fixture
def session(graph):
    target, loaded = graph
    return carried(runtime(target).load(loaded))


def x(value):
    return {"x": np.full(AXES, value, np.float32)}


def test_outputs_feed_the_inputs_of_the_next_call(session):
    seen = [session.run(x(v)) for v in (1, 10, 100)]
    assert [float(o["total"][0, 0]) for o in seen] == [1, 11, 111]
    assert [float(o["y"][0, 0]) for o in seen] == [1, 10, 101]
    assert float(seen[0]["total"][0, 0]) == 1  # what was given is not overwritten by later calls


def test_reset_begins_a_new_sequence(session):
    first = session.run(x(5))["y"]
    session.run(x(7))
    session.reset()
    np.testing.assert_array_equal(session.run(x(5))["y"], first)


def test_two_sessions_of_one_graph_keep_apart(graph):
    target, loaded = graph
    one, other = (carried(runtime(target).load(loaded)) for _ in range(2))
    one.run(x(100))
    assert float(other.run(x(1))["total"][0, 0]) == 1


def test_a_caller_may_change_what_it_was_given(session):
    session.run(x(1))["total"][:] = 1000
    assert float(session.run(x(1))["total"][0, 0]) == 2


def test_only_what_the_caller_feeds_and_gets_is_shown_taken_and_given(session):
    assert [t.name for t in session.io.inputs] == ["x"]
    assert [t.name for t in session.io.outputs] == ["y", "total"]
    assert set(session.run(x(1))) == {"y", "total"}
    with pytest.raises(InputError):
        session.run({**x(1), "sum": np.ones(AXES, np.float32)})


def test_a_call_that_is_refused_leaves_the_state(session):
    session.run(x(1))
    with pytest.raises(InputError):
        session.run({"x": np.zeros((2, 2), np.float32)})
    assert float(session.run(x(1))["total"][0, 0]) == 2


def test_state_of_unknown_size_is_refused():
    class Dynamic:
        io = IoSpec(
            inputs=(TensorSpec(name="h", shape=("rows", 3)),),
            outputs=(TensorSpec(name="n", shape=("rows", 3)), TensorSpec(name="y", shape=(1,))),
            state={"n": "h"},
        )

    with pytest.raises(InputError, match=r"state h has a dynamic shape \['rows', 3\]"):
        CarriedState(Dynamic())
