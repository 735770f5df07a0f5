from __future__ import annotations

import pytest

from edgekd.contracts import IoSpec, Precision, Source, TensorSpec
from edgekd.errors import InputError
from edgekd.registry import profile
from edgekd_targets.onnxruntime import build as builder

IO = IoSpec(
    inputs=(TensorSpec(name="image", shape=(1, 3, 32, 32)),), outputs=(TensorSpec(name="landmarks", shape=(1, 136)),)
)


@pytest.fixture
def source(tiny_bundles):
    return Source(tiny_bundles["onnxruntime"] / "model.onnx", IO)


def test_fp32_is_the_canonical_graph_byte_for_byte(source, tmp_path):
    built = builder.build(source, profile("onnxruntime"), Precision.FP32, None, tmp_path)
    assert built.entry == built.typed_onnx == tmp_path / "model.onnx"
    assert built.entry.read_bytes() == source.model.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("precision", ["bf16", "fp16", "w8"])
def test_a_precision_it_does_not_build_is_refused(precision, source, tmp_path):
    with pytest.raises(InputError, match=f"onnxruntime builds fp32 and int8, not {precision}"):
        builder.build(source, profile("onnxruntime"), Precision(precision), None, tmp_path)


def test_int8_without_calibration_is_refused(source, tmp_path):
    with pytest.raises(InputError, match="int8 needs calibration"):
        builder.build(source, profile("onnxruntime"), Precision.INT8, None, tmp_path)


def test_versions_are_of_what_decides_the_graph():
    assert set(builder.versions()) == {"onnx", "onnxruntime"}
