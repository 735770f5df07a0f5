"""OpenVINO's own deformable convolution from ONNX's, against ONNX Runtime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.contracts import Graph, IoSpec, Precision, Profile, Source, TensorSpec
from edgekd.nn.onnx_reference import OnnxReference
from edgekd_targets.openvino.build import build
from edgekd_targets.openvino.runtime import OpenVinoSession, placement

PROFILE = Profile(name="default", target="openvino", title="", precisions=(Precision.FP32,), runtime={"threads": 1})
# name -> (inputs behind data, weight and offsets; attributes; height and width of the output)
CASES = {
    "plain": ((), {"pads": [1, 1, 1, 1]}, (7, 9)),
    "no pads": ((), {}, (5, 7)),
    "bias": (("bias",), {"pads": [1, 1, 1, 1]}, (7, 9)),
    "mask": (("", "mask"), {"pads": [1, 1, 1, 1]}, (7, 9)),
    "strides, dilations, uneven pads": (
        ("bias",), {"pads": [2, 1, 1, 2], "strides": [2, 1], "dilations": [2, 1]}, (3, 10)
    ),
    "two groups of offsets": ((), {"pads": [1, 1, 1, 1], "offset_group": 2, "group": 2}, (7, 9)),
}  # fmt: skip


def written(path: Path, behind: tuple[str, ...], attributes: dict, size: tuple[int, int]) -> IoSpec:
    rng = np.random.default_rng(0)
    groups, offset_groups = attributes.get("group", 1), attributes.get("offset_group", 1)
    weight = rng.normal(size=(6, 4 // groups, 3, 3)).astype(np.float32)
    constants = {"weight": weight, "bias": rng.normal(size=6).astype(np.float32)}
    shapes = {"x": (1, 4, 7, 9), "offsets": (1, 18 * offset_groups, *size), "mask": (1, 9 * offset_groups, *size)}
    fed = ["x", "offsets", *(["mask"] if "mask" in behind else [])]
    io = IoSpec(
        inputs=tuple(TensorSpec(name=name, shape=shapes[name]) for name in fed),
        outputs=(TensorSpec(name="y", shape=(1, 6, *size)),),
    )
    graph = helper.make_graph(
        [helper.make_node("DeformConv", ["x", "weight", "offsets", *behind], ["y"], **attributes)],
        "deform",
        [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.shape) for t in io.inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, io.outputs[0].shape)],
        [numpy_helper.from_array(constants[name], name) for name in ("weight", *behind) if name in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return io


@pytest.mark.parametrize("case", CASES)
def test_it_computes_what_onnx_says_also_where_taps_lie_across_the_border(case, tmp_path: Path):
    io = written(tmp_path / "deform.onnx", *CASES[case])
    out = tmp_path / "out"
    out.mkdir()
    built = build(Source(tmp_path / "deform.onnx", io), PROFILE, Precision.FP32, None, out)
    graph = Graph(built.entry, io, Precision.FP32, {"threads": 1})
    assert "DeformableConvolution" in {node.op for node in placement(graph).nodes}
    rng = np.random.default_rng(1)
    feeds = {t.name: (2 * rng.normal(size=t.shape)).astype(np.float32) for t in io.inputs}  # taps far outside
    want = OnnxReference(tmp_path / "deform.onnx", io).run(feeds)["y"]
    assert np.abs(OpenVinoSession(graph).run(feeds)["y"] - want).max() < 1e-4 * np.abs(want).max()
