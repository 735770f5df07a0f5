"""Engines for GPUs that are not here, by TensorRT-RTX itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.contracts import Graph, IoSpec, Precision, Source, TensorSpec
from edgekd.errors import InputError, MachineError
from edgekd.registry import profile, profiles
from edgekd_targets.tensorrt import build as builder
from edgekd_targets.tensorrt import runtime

pytest.importorskip("tensorrt_rtx")

RTX = profile("tensorrt/rtx")


def _types(built, io, options=RTX.options):
    return runtime.placement(Graph(built.entry, io, Precision.FP32, options, built.engine))


def _with(profile, **build):
    return profile.model_copy(update={"build": {**profile.build, **build}})


@pytest.fixture(scope="module")
def built(source, calibration, tmp_path_factory):
    """Precision -> what the rtx profile makes of the network."""

    def make(precision):
        out = tmp_path_factory.mktemp(precision)
        return builder.build(source, RTX, Precision(precision), calibration, out)

    return {precision: make(precision) for precision in ("fp32", "fp16", "int8", "mixed")}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "mixed"])
def test_one_engine_holds_the_precision_for_three_generations(built, precision, source):
    made = built[precision]
    assert made.entry.read_bytes()[:4] == b"vtrt"
    assert made.engine.compute_capabilities == ("sm_86", "sm_89", "sm_120")
    assert made.engine.version == builder.versions()["tensorrt-rtx-cu12"]
    found = _types(made, source.io)
    assert found.source.startswith("typed network of TensorRT-RTX")
    assert "types, not kernels" in found.source
    assert found.share_of_macs("precision") == {"int8" if precision == "mixed" else precision: pytest.approx(1)}
    assert sum(node.macs for node in found.nodes) == 16 * 16 * (8 * 3 * 9 + 8 * 8 * 9) + 8 * 4
    between = {node.precision for node in found.nodes if node.op == "ELEMENTWISE"}
    assert between == {{"int8": "fp32", "mixed": "fp16"}.get(precision, precision)}


def test_the_typed_graph_loses_no_more_than_its_types_do(built, source, calibration):
    exact = builder.reference(built["fp32"], source.io).run(calibration[0])["scores"]
    for precision, most in {"fp16": 2e-3, "mixed": 0.05, "int8": 0.05}.items():
        found = builder.reference(built[precision], source.io).run(calibration[0])["scores"]
        assert found.dtype == np.float32
        assert 0 < np.abs(found - exact).max() < most * np.abs(exact).max()


def test_int8_is_signed_and_symmetric_per_channel_with_a_bias_in_floating_point(built):
    model = onnx.load(built["int8"].typed_onnx)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    quantizers = [n for n in model.graph.node if n.op_type.lower().endswith("quantizelinear")]
    assert {stored[n.input[2]].dtype for n in quantizers} == {np.dtype(np.int8)}
    assert all(not stored[n.input[2]].any() for n in quantizers)
    assert "int32" not in {str(value.dtype) for value in stored.values()}
    scales = [stored[n.input[1]].shape for n in quantizers if n.input[0] in stored]
    assert sorted(scales) == [(4,), (8,), (8,)]
    assert np.array_equal(stored["b1"], stored["b1"].astype(np.float32))


def test_only_what_multiplies_asks_for_int8(built):
    """A shortcut beside a convolution reads the same eight bits, which is what TensorRT fuses."""
    model = onnx.load(built["int8"].typed_onnx)
    quantized = [n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert quantized == ["image", "r1", "m"]  # what the two convolutions and the head read; not what they give


def test_fp16_that_the_graph_does_not_hold_is_seen(built, source):
    """fp16 asked and fp32 built: read back, not believed."""
    made = built["fp32"]
    assert "fp16" not in _types(made, source.io).share_of_macs("precision")


def test_what_stays_fp32_is_told_with_its_reason(saved, tmp_path):
    weights = {"big": np.full((1, 4), 300.0, np.float32), "w": np.ones((4, 4), np.float32)}
    nodes = [
        helper.make_node("Mul", ["x", "big"], ["square"], "scale"),
        helper.make_node("Sub", ["square", "big"], ["s"], "shift"),
        helper.make_node("Div", ["s", "big"], ["d"], "back"),
        helper.make_node("MatMul", ["d", "w"], ["y"], "product"),
    ]
    path = saved(tmp_path / "big.onnx", nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights)
    io = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 4)),), outputs=(TensorSpec(name="y", shape=(1, 4)),))
    feeds = [{"x": np.array([[1, 500, 2, 3]], np.float32)}]
    out = tmp_path / "out"
    out.mkdir()
    made = builder.build(Source(path, io), RTX, Precision.FP16, feeds, out)
    assert "3 nodes stay fp32" in made.notes[0]
    assert "square reaches 1.5e+05" in made.notes[0]
    exact = (feeds[0]["x"] * 300 - 300) / 300 @ weights["w"]
    found = builder.reference(made, io).run(feeds[0])["y"]
    np.testing.assert_allclose(found, exact, rtol=2e-3)  # fp16 throughout would give infinity


@pytest.mark.parametrize("name", list(profiles("tensorrt")))
def test_every_profile_builds_its_precisions_or_says_how(name, source, calibration, tmp_path):
    chosen = profile(f"tensorrt/{name}")
    made = builder.build(source, chosen, chosen.precisions[0], calibration, tmp_path)
    if chosen.runtime["flavour"] == "rtx":
        assert made.engine.version
        return
    if made.engine.version:
        pytest.skip("full TensorRT and its GPU are here")
    assert made.entry == made.typed_onnx
    assert "edgekd rebuild" in made.notes[-1]
    assert "trtexec --onnx=model.onnx --saveEngine=model.engine --stronglyTyped --noTF32" in made.notes[-1]
    assert _types(made, source.io, chosen.options).share_of_macs("precision") == {"fp16": pytest.approx(1)}


def test_turing_multiplies_no_matrices_in_fp32(source, tmp_path):
    with pytest.raises(MachineError, match="cannot build the engine") as caught:
        builder.build(source, profile("tensorrt/rtx-turing"), Precision.FP32, None, tmp_path)
    assert "FP32 GEMM is not supported" in caught.value.why


def test_a_compute_capability_that_the_builder_does_not_know(source, tmp_path):
    with pytest.raises(InputError, match="knows no compute capability sm_90") as caught:
        builder.build(source, _with(RTX, compute_capabilities=["sm_86", "sm_90"]), Precision.FP32, None, tmp_path)
    assert caught.value.why == "it builds for sm_75, sm_80, sm_86, sm_89, sm_120, sm_121"
    assert 'flavour = "full"' in caught.value.fix
    assert not (tmp_path / "model.engine").exists()


@pytest.mark.parametrize("wrong", [["8.6"], "sm_86", [], [86]])
def test_what_is_no_compute_capability(wrong, source, tmp_path):
    with pytest.raises(InputError, match="compute_capabilities"):
        builder.build(source, _with(RTX, compute_capabilities=wrong), Precision.FP32, None, tmp_path)


def test_an_unknown_setting_names_its_nearest(source, tmp_path):
    with pytest.raises(InputError, match=r"\[build\] axis is unknown") as caught:
        builder.build(source, _with(RTX, axis={}), Precision.FP32, None, tmp_path)
    assert caught.value.fix == 'did you mean "axes"?'


def test_an_op_it_lacks_is_named_with_its_node_and_another_form(saved, tmp_path):
    inputs = {"x": [1, 3, 8, 8], "o": [1, 18, 6, 6], "w": [4, 3, 3, 3]}
    nodes = [helper.make_node("DeformConv", ["x", "w", "o"], ["y"], "offsets")]
    path = saved(tmp_path / "deform.onnx", nodes, inputs, {"y": [1, 4, 6, 6]})
    with pytest.raises(MachineError, match=r"cannot read the node 'offsets' \(DeformConv\)") as caught:
        builder.build(Source(path, IoSpec(outputs=(TensorSpec(name="y", shape=(1, 4, 6, 6)),), inputs=())), RTX,
                      Precision.FP32, None, tmp_path)  # fmt: skip
    assert caught.value.why == "it has no DeformConv"
    assert 'deform = "grid_sample"' in caught.value.fix


def test_an_axis_of_any_size_is_built_for_the_profiles_range(saved, tmp_path):
    weights = {"w": np.ones((64, 8), np.float32)}
    path = saved(
        tmp_path / "rows.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"], "m")],
        {"x": ["rows", 64]},
        {"y": ["rows", 8]},
        weights,
    )
    io = IoSpec(inputs=(TensorSpec(name="x", shape=("rows", 64)),), outputs=(TensorSpec(name="y", shape=("rows", 8)),))
    source = Source(path, io)
    assert builder.build(source, RTX, Precision.FP32, None, tmp_path).entry.stat().st_size > 0
    with pytest.raises(InputError, match="the axis 'rows' of x may have any size") as caught:
        builder.build(source, _with(RTX, axes={"columns": [1, 2, 3]}), Precision.FP32, None, tmp_path)
    assert "[build.axes] rows = [1, 16, 4096]" in caught.value.fix
    with pytest.raises(InputError, match=r"it gives \[8, 4, 16\]"):
        builder.build(source, _with(RTX, axes={"rows": [8, 4, 16]}), Precision.FP32, None, tmp_path)
    command = builder.trtexec(io, {"rows": [1, 4, 32]})
    assert "--minShapes=x:1x64 --optShapes=x:4x64 --maxShapes=x:32x64" in command


@pytest.mark.parametrize("precision", ["bf16", "w8", "palette"])
def test_a_precision_it_does_not_build_is_refused(precision, source, tmp_path):
    with pytest.raises(InputError, match=f"tensorrt builds fp32, fp16, int8, mixed, not {precision}"):
        builder.build(source, RTX, Precision(precision), None, tmp_path)


@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_quantizing_without_calibration_is_refused(precision, source, tmp_path):
    with pytest.raises(InputError, match=f"{precision} needs calibration"):
        builder.build(source, RTX, Precision(precision), None, tmp_path)


def test_rebuilding_where_nothing_can_be_built_says_what_is_missing(source, built, tmp_path):
    chosen = profile("tensorrt/jetson-orin")
    if not builder._missing(builder.flavour_of(chosen.runtime), ("sm_87",)):
        pytest.skip("this is a Jetson Orin")
    with pytest.raises(MachineError, match="TensorRT cannot build the engine here"):
        builder.rebuild(built["fp16"].typed_onnx, source.io, chosen, tmp_path)
