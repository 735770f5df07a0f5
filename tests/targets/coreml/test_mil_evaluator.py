"""What the evaluator does around its operations: types, rounding, constants, state, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.errors import InputError
from edgekd_targets.coreml.library import coremltools, quiet
from edgekd_targets.coreml.mil.evaluator import Evaluator, MilReference, load_program
from edgekd_targets.coreml.mil.registry import OPS


@pytest.fixture(scope="module")
def mil():
    """coremltools' builder of programs."""
    coremltools()
    from coremltools.converters.mil import Builder

    return Builder


def program(mil, body, deployment="iOS17", **inputs):
    """``body`` over inputs ``name=shape``, or ``name=(shape, type)``."""
    library = coremltools()
    from coremltools.converters.mil.mil import types

    specs = [
        mil.TensorSpec(shape=s[0], dtype=s[1]) if isinstance(s[0], tuple) else mil.TensorSpec(shape=s, dtype=types.fp32)
        for s in inputs.values()
    ]
    with quiet():
        return mil.program(input_specs=specs, opset_version=getattr(library.target, deployment))(body)


def test_float16_is_rounded_after_every_operation(mil):
    """2048 + 1 - 2048: the sum is 2048 in float16, which has 11 bits, and 1 stays in float32."""
    from coremltools.converters.mil.mil import types

    def body(x):
        return mil.sub(x=mil.add(x=x, y=np.float16(1)), y=np.float16(2048))

    made = program(mil, body, x=((1,), types.fp16))
    (said,) = Evaluator(made.functions["main"]).run({"x": np.asarray([2048], np.float16)}).values()
    assert said.dtype == torch.float16
    assert said.item() == 0


def test_what_float16_cannot_hold_becomes_infinite(mil):
    from coremltools.converters.mil.mil import types

    made = program(mil, lambda x: mil.mul(x=x, y=x), x=((1,), types.fp16))
    assert Evaluator(made.functions["main"]).run({"x": np.asarray([300], np.float16)}).popitem()[1].isinf().all()


@pytest.mark.parametrize(("dtype", "zero"), [("int8", None), ("int8", 3), ("uint8", 128)])
def test_quantize_and_dequantize_are_torchs_fake_quantization(mil, dtype, zero):
    low, high = (-128, 127) if dtype == "int8" else (0, 255)
    point = None if zero is None else np.dtype(dtype).type(zero)

    def body(x):
        q = mil.quantize(input=x, scale=np.float32(0.05), zero_point=point, output_dtype=dtype)
        return mil.dequantize(input=q, scale=np.float32(0.05), zero_point=point)

    x = 4 * torch.randn(3, 4, 5)
    (said,) = Evaluator(program(mil, body, x=(3, 4, 5)).functions["main"]).run({"x": x.numpy()}).values()
    wanted = torch.fake_quantize_per_tensor_affine(x, 0.05, zero or 0, low, high)
    torch.testing.assert_close(said, wanted)


def test_quantization_by_channel_has_a_scale_for_each(mil):
    scales = np.asarray([0.1, 0.02, 0.5], np.float32)

    def body(x):
        q = mil.quantize(input=x, scale=scales, output_dtype="int8", axis=1)
        return mil.dequantize(input=q, scale=scales, axis=1)

    x = torch.randn(2, 3, 4)
    (said,) = Evaluator(program(mil, body, x=(2, 3, 4)).functions["main"]).run({"x": x.numpy()}).values()
    wanted = torch.fake_quantize_per_channel_affine(x, torch.from_numpy(scales), torch.zeros(3), 1, -128, 127)
    torch.testing.assert_close(said, wanted)


def test_operations_that_it_lacks_are_named_with_where_they_stand(mil):
    made = program(mil, lambda x: mil.atanh(x=mil.erf(x=x), name="strange"), x=(2,))
    assert "atanh" not in OPS
    with pytest.raises(InputError, match=r"lacks operations") as caught:
        Evaluator(made.functions["main"])
    assert caught.value.why == "atanh (first as strange)"


@pytest.mark.parametrize(
    ("precision", "profile", "steps"),
    [("w8", "iphone", 254), ("w8", "iphone-ios18", 254), ("w4", "iphone-ios18", 14), ("palette", "iphone", 64)],
)
def test_compressed_weights_are_unpacked_to_near_what_they_were(precision, profile, steps, built, small):
    """Within half a step of the range that shares a scale; for a palette, in no more values than it holds."""
    made = load_program(built(precision, profile).entry)
    values = Evaluator(made.functions["main"])._values
    kinds = {op.op_type for op in made.functions["main"].operations if op.op_type.startswith("constexpr_")}
    assert kinds
    weight = small.module.wide.weight.numpy()
    (found,) = [
        v.float().numpy()
        for name, v in values.items()
        if "wide" in name and getattr(v, "shape", ()) == weight.shape and v.is_floating_point()
    ]
    if precision == "palette":
        assert 1 < len(np.unique(found)) <= steps
        assert np.abs(found - weight).mean() < 0.05 * np.abs(weight).mean()
    else:
        step = (np.abs(weight).max(1, keepdims=True) * 2) / steps
        assert (np.abs(found - weight) <= 0.51 * step + 1e-3 * np.abs(weight)).all()
        assert not np.array_equal(found, weight.astype(np.float16))


def test_a_value_that_comes_as_it_went_is_the_input(mil):
    x = np.arange(3, dtype=np.float32)
    (said,) = Evaluator(program(mil, lambda x: mil.identity(x=x), x=(3,)).functions["main"]).run({"x": x}).values()
    np.testing.assert_array_equal(said.numpy(), x)


def test_a_session_says_that_it_is_no_core_ml(built, small):
    name = MilReference(built("fp16").entry, small.io).name
    assert name.startswith("MIL reference evaluator (coremltools ")
    assert "Core ML" not in name
