from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.bundle.inspect import inspect
from edgekd.bundle.manifest import read_manifest
from edgekd.errors import InputError, MachineError
from edgekd.run import open_run

TARGETS = ("onnxruntime", "openvino")


def titled(inspection, start, verbose=False):
    (rows,) = [rows for title, rows in inspection.tables(verbose) if title.startswith(start)]
    return rows


@pytest.mark.parametrize("target", TARGETS)
def test_a_bundle_shows_what_was_built_here_by_macs_and_by_node(target, tiny_bundles, tiny_run):
    found = inspect(tiny_bundles[target], threads=1)
    assert found.placement_from.endswith(", here")
    assert titled(found, "precision as built")[1][:2] == ["fp32", "100.0%"]
    assert titled(found, "placement")[1][1] == "100.0%"
    rows = titled(found, "nodes", verbose=True)
    assert len(rows) == len(found.nodes) + 1
    assert sum(int(row[5].replace(",", "")) for row in rows[1:]) == open_run(tiny_run).record.student["macs"]
    assert not [title for title, _ in found.tables(False) if title == "nodes"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_bundle_shows_its_gates_candidates_and_provenance(target, tiny_bundles, tiny_run):
    found, manifest = inspect(tiny_bundles[target], threads=1), read_manifest(tiny_bundles[target])
    gates = titled(found, "gates")
    assert [row[0] for row in gates[1:]] == [gate.arrow for gate in manifest.gates]
    assert all(row[4] == "12" for row in gates[1:])
    assert titled(found, "candidates (single candidate)")[1][:2] == ["fp32", "shipped"]
    text = "\n".join(found.lines())
    for part in (f"landmarks for {target}/default, fp32", "run tiny", "licence: drawn", "torch 2.", "nme"):
        assert part in text


def test_where_the_runtime_does_not_run_the_recorded_placement_is_shown_and_said_to_be(tiny_bundles, monkeypatch):
    from edgekd_targets.openvino import runtime

    def not_here(graph):
        raise MachineError("no driver", "none here")

    monkeypatch.setattr(runtime, "placement", not_here)
    found = inspect(tiny_bundles["openvino"])
    assert found.placement_from == "recorded at export; not here: no driver"
    assert found.placement == read_manifest(tiny_bundles["openvino"]).placement
    assert found.nodes == ()


@pytest.fixture
def foreign(tmp_path):
    """Unnamed nodes, a dynamic axis, an op from elsewhere whose shape nobody knows."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
        helper.make_node("Secret", ["y"], ["s"], domain="someone.else"),
        helper.make_node("MatMul", ["s", "w"], ["z"], name="after"),
    ]
    x, z = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", ["rows", 4]), ("z", ["rows", 4])))
    graph = helper.make_graph(nodes, "g", [x], [z], [numpy_helper.from_array(np.zeros((4, 4), np.float32), "w")])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("someone.else", 1)]
    path = tmp_path / "foreign.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_any_onnx_file_shows_its_ops_costs_and_names(foreign):
    found = inspect(foreign)
    assert found.manifest is None
    assert found.onnx["opset"] == {"ai.onnx": 20, "someone.else": 1}
    assert found.onnx["ops"] == {"MatMul": 3, "Secret": 1}
    assert found.onnx["inputs"] == {"x": ["rows", 4]}
    assert found.onnx["macs"] == 2 * 16
    assert "opset" in found.lines()[0]
    assert titled(found, "operators")[1] == ["MatMul", "3"]


def test_a_cost_that_is_not_known_is_not_called_nothing(foreign):
    assert [row[5] for row in titled(inspect(foreign), "nodes", verbose=True)[1:]] == [
        "16",
        "16",
        "0",
        "not attributed",
    ]


def test_the_canonical_graph_of_a_bundle_costs_what_the_student_does(tiny_bundles, tiny_run):
    found = inspect(tiny_bundles["openvino"] / "model.onnx")
    assert found.onnx["macs"] == open_run(tiny_run).record.student["macs"]
    assert found.onnx["inputs"] == {"image": [1, 3, 32, 32]}


@pytest.mark.parametrize("content", [b"", b"no graph at all", b"\x08\x07"])
def test_what_is_no_onnx_is_said_so(content, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.onnx"):
        inspect(path)


def test_another_file_is_neither(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("hello")
    with pytest.raises(InputError, match=r"neither a bundle folder nor an \.onnx file"):
        inspect(path)
