from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.conversion.to_onnx import export_onnx
from edgekd.nn.cost import macs
from edgekd.nn.deformable import DeformableConv
from edgekd.nn.lowering import lower
from edgekd.nn.onnx_reference import OnnxReference

SHAPE = (2, 3, 5, 4)


def bent(spread: float, dtype: torch.dtype = torch.float64) -> DeformableConv:
    """A layer whose offsets are everywhere different, ``spread`` pixels and more."""
    torch.manual_seed(3)
    layer = DeformableConv(3, 2).to(dtype)
    torch.nn.init.normal_(layer.offsets.weight, std=spread / 3)
    torch.nn.init.normal_(layer.offsets.bias, std=spread)
    return layer.eval()


def one_by_one(layer: DeformableConv, x: torch.Tensor) -> torch.Tensor:
    """The definition (Dai et al. 2017, equations 2 to 4), pixel by pixel and corner by corner."""
    offsets = layer.offsets(x)
    batch, channels, height, width = x.shape
    out = torch.zeros(batch, layer.weight.shape[0], height, width, dtype=x.dtype)
    for b, row, column, tap in np.ndindex(batch, height, width, 9):
        dy, dx = (float(offsets[b, 2 * tap + axis, row, column]) for axis in (0, 1))
        y, x_ = row + tap // 3 - 1 + dy, column + tap % 3 - 1 + dx
        seen = torch.zeros(channels, dtype=x.dtype)
        for v, u in np.ndindex(2, 2):
            near_y, near_x = math.floor(y) + v, math.floor(x_) + u
            if 0 <= near_y < height and 0 <= near_x < width:
                seen += (1 - abs(y - near_y)) * (1 - abs(x_ - near_x)) * x[b, :, near_y, near_x]
        out[b, :, row, column] += layer.weight[:, :, tap // 3, tap % 3] @ seen
    return out


@pytest.mark.parametrize("form", DeformableConv.FORMS)
@pytest.mark.parametrize("spread", [0.3, 4.0])
@pytest.mark.parametrize("shape", [SHAPE, (1, 3, 1, 6)])
def test_every_form_is_the_definition_also_where_taps_leave_the_map(form, spread, shape):
    layer = bent(spread)
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        want, got = one_by_one(layer, x), lower(layer, {"deform": form})(x)
    assert want.abs().max() > 0.1
    assert (want - got).abs().max() < 1e-12


def test_a_fresh_layer_is_a_plain_convolution():
    layer, x = DeformableConv(3, 2).double(), torch.randn(SHAPE, dtype=torch.float64)
    plain = torch.nn.functional.conv2d(x, layer.weight, padding=1)
    assert torch.allclose(layer(x), plain, atol=1e-12)


def test_every_weight_the_offsets_and_the_input_have_the_gradient_that_the_differences_say():
    layer = bent(0.3)
    x = torch.randn(1, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    parameters = tuple(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters), eps=1e-7, atol=1e-6)


def test_offsets_are_in_full_precision_under_autocast():
    layer, x = bent(0.3, torch.float32), torch.randn(1, 3, 1, 600)
    with torch.no_grad():
        want = layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = layer(x).float()
    assert (want - got)[..., 400:].abs().mean() < 2 * (want - got)[..., :200].abs().mean()
    assert (want - got).abs().max() < 0.1 * want.abs().max()


@pytest.mark.parametrize(("form", "op"), [("grid_sample", "GridSample"), ("native", "DeformConv")])
def test_onnx_has_the_form_that_was_asked_for_and_onnx_runtime_gets_the_same(form, op, tmp_path: Path):
    layer, x = bent(2.0, torch.float32), torch.randn(1, *SHAPE[1:])
    io = IoSpec(
        inputs=(TensorSpec(name="x", shape=(1, *SHAPE[1:])),),
        outputs=(TensorSpec(name="y", shape=(1, 2, *SHAPE[2:])),),
    )
    path = tmp_path / "deform.onnx"
    export_onnx(lower(layer, {"deform": form}), io, path)
    ops = {node.op_type for node in onnx.load(path).graph.node}
    assert op in ops
    assert not ops & ({"GridSample", "DeformConv"} - {op})
    with torch.no_grad():
        want = one_by_one(layer, x).numpy()
    assert np.abs(OnnxReference(path, io).run({"x": x.numpy()})["y"] - want).max() < 1e-5


def test_its_multiplications_are_counted_beside_those_of_its_offsets():
    assert macs(DeformableConv(3, 2), torch.zeros(1, 3, 5, 4)) == 20 * 9 * 3 * (2 + 18)
