from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino
import pytest

from edgekd.bundle.open import open as open_bundle
from edgekd.contracts import Precision
from edgekd.errors import InputError, MachineError
from edgekd_targets.openvino import runtime
from edgekd_targets.openvino.runtime import reason

CAPABILITIES = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
bf16_here = pytest.mark.skipif("BF16" not in CAPABILITIES, reason="this CPU has no bf16")


@pytest.fixture(scope="module")
def graph(tiny_bundles):
    return open_bundle(tiny_bundles["openvino"], threads=1).graph()


@pytest.mark.parametrize(
    ("precision", "hint"),
    [("fp32", "f32"), ("int8", "f32"), pytest.param("bf16", "bf16", marks=bf16_here)],
)
def test_the_precision_hint_is_always_given(precision, hint, graph):
    """Left open it is bf16 on many CPUs, and f16 makes an int8 graph ten times slower."""
    session = runtime.load(replace(graph, precision=Precision(precision)))
    given = session.compiled.get_property("INFERENCE_PRECISION_HINT")
    assert given == {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16}[hint]


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_one_stream_are_given(threads, graph):
    compiled = runtime.load(replace(graph, options={"threads": threads})).compiled
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("NUM_STREAMS") == 1


@pytest.mark.parametrize(("precision", "built"), [("fp32", "fp32"), pytest.param("bf16", "bf16", marks=bf16_here)])
def test_what_was_built_is_read_from_the_runtime_model(precision, built, graph):
    placement = runtime.placement(replace(graph, precision=Precision(precision)))
    assert placement.source == "OpenVINO runtime model"
    assert placement.share_of_macs("precision") == {built: pytest.approx(1)}
    assert placement.share_of_macs("device") == {"CPU": pytest.approx(1)}
    assert all(node.kernel for node in placement.nodes)


@pytest.mark.parametrize("precision", ["w8", "w4", "palette"])
def test_a_precision_it_has_no_hint_for_is_refused(precision, graph):
    with pytest.raises(MachineError, match=f"OpenVINO runs no {precision} graph"):
        runtime.load(replace(graph, precision=Precision(precision)))


def test_a_precision_the_device_lacks_is_refused_and_not_emulated(graph, monkeypatch):
    real = openvino.Core.get_property

    def old_cpu(self, device, name, *more):
        return ["FP32", "INT8"] if name == "OPTIMIZATION_CAPABILITIES" else real(self, device, name, *more)

    monkeypatch.setattr(openvino.Core, "get_property", old_cpu)
    with pytest.raises(MachineError, match="this CPU has no bf16") as caught:
        runtime.load(replace(graph, precision=Precision.BF16))
    assert caught.value.why == "OpenVINO lists FP32, INT8"


def test_a_device_that_is_not_here_is_refused_and_not_replaced(graph):
    with pytest.raises(MachineError, match="OpenVINO sees no NPU9 here") as caught:
        runtime.load(replace(graph, options={"device": "NPU9"}))
    assert "CPU" in caught.value.why


def test_an_unknown_option_is_named(graph):
    with pytest.raises(InputError, match="openvino knows no runtime option 'hint'"):
        runtime.load(replace(graph, options={"hint": "f16"}))


def test_a_file_it_cannot_load_is_named_with_the_reason_and_not_with_its_own_source_lines(graph, tmp_path):
    (tmp_path / "broken.xml").write_text("<net")
    with pytest.raises(MachineError, match=r"OpenVINO cannot load broken\.xml") as caught:
        runtime.load(replace(graph, path=tmp_path / "broken.xml"))
    assert caught.value.why
    assert "Exception from" not in caught.value.why


def test_the_reason_is_the_last_line_that_is_not_about_openvinos_own_code():
    text = (
        "Exception from src/a.cpp:84:\nCheck 'false' failed at src/b.cpp:1:\nSummary:\n-- No rule for: DeformConv\n\n"
    )
    assert reason(RuntimeError(text)) == "-- No rule for: DeformConv"
    assert reason(RuntimeError("Exception from src/a.cpp:84:\n")) == "Exception from src/a.cpp:84:"


class FakePort:
    def __init__(self, shape):
        self._shape = shape

    def get_partial_shape(self):
        return openvino.PartialShape(self._shape)


class FakeOp:
    def __init__(self, inputs, output):
        self._inputs, self._output = inputs, output

    def inputs(self):
        return [FakePort(s) for s in self._inputs]

    def outputs(self):
        return [FakePort(self._output)]


@pytest.mark.parametrize(
    ("layer", "inputs", "output", "macs"),
    [
        ("Convolution", [[1, 8, 6, 6], [16, 8, 3, 3]], [1, 16, 6, 6], 16 * 36 * 72),
        # a residual's other branch, of a larger shape than the weight, stands behind it
        ("Convolution", [[1, 8, 6, 6], [16, 8, 1, 1], [1, 16, 6, 6]], [1, 16, 6, 6], 16 * 36 * 8),
        ("Convolution", [[1, 8, 6, 6], [8, 1, 1, 3, 3], [8]], [1, 8, 6, 6], 8 * 36 * 9),
        ("Convolution", [[1, 8, 6, 6], [16, 8, 1, 1], [16, 1, 1, 3, 3]], [1, 16, 3, 3], None),  # depthwise fused in
        ("Deconvolution", [[1, 8, 6, 6], [8, 4, 2, 2]], [1, 4, 12, 12], 8 * 36 * 16),
        ("DeformableConvolution", [[1, 3, 8, 8], [1, 18, 6, 6], [5, 3, 3, 3], [1, 9, 6, 6]], [1, 5, 6, 6], 5 * 36 * 27),
        ("FullyConnected", [[1, 1280], [136, 1280], [0]], [1, 136], 136 * 1280),
        ("FullyConnected", [[2, 7, 32], [24, 32]], [2, 7, 24], 2 * 7 * 24 * 32),
        ("MatMul", [[4, 7, 3], [4, 3, 9]], [4, 7, 9], 4 * 7 * 3 * 9),
        ("MatMul", [[4, 3, 7], [4, 3, 9]], [4, 7, 9], 4 * 7 * 3 * 9),  # the left side transposed
        ("MatMul", [[-1, 3], [3, 9]], [-1, 9], 3 * 9),
        ("Eltwise", [[1, 8], [1, 8]], [1, 8], 0),
    ],
)
def test_multiply_accumulates_by_the_shapes_of_the_runtime_model(layer, inputs, output, macs):
    assert runtime._macs(FakeOp(inputs, output), layer) == macs


@pytest.mark.parametrize(
    ("kernel", "runtime_type", "precision"),
    [
        ("brgconv_avx512_amx_I8", "u8", "int8"),
        ("brgconv_avx512_1x1_I8", "f32", "int8"),
        ("brgemm_avx512_i8", "i8", "int8"),
        ("jit_avx2_dw_f32", "u8", "fp32"),
        ("brgconv_avx512_amx_bf16", "f32", "bf16"),
        ("gemm_acl_f16", "f32", "fp16"),
        ("unknown", "f32", "fp32"),
        ("ref_any", "i32", "i32"),
    ],
)
def test_the_kernels_own_suffix_says_the_precision(kernel, runtime_type, precision):
    assert runtime._precision(kernel, runtime_type) == precision


def test_profiling_counts_every_call_once(graph):
    feed = {"image": np.zeros((1, 3, 32, 32), np.float32)}
    rows = runtime.profile_layers(graph, [feed, feed])
    assert len({(name, kernel) for name, kernel, _ in rows}) == len(rows)
    assert all(ms > 0 for _, _, ms in rows)
