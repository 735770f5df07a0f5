"""Every operation of the evaluator against torch, over random shapes and attributes.

The torch function is converted by coremltools, which decides what MIL's attributes mean; the evaluator has to come to
what torch itself computes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd_targets.coreml.library import coremltools, quiet
from edgekd_targets.coreml.mil.evaluator import Evaluator
from edgekd_targets.coreml.mil.registry import OPS

SEEDS = (0, 1)
Case = Callable[[random.Random], tuple[Callable[..., Any], list[Tensor]]]
CASES: dict[str, Case] = {}
# What no torch program is converted to, and its own test.
APART = {"quantize", "dequantize", "read_state", "coreml_update_state", "inverse", "identity"}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape)


def frozen(layer: Any) -> Any:
    return layer.eval().requires_grad_(False)


def simple(name: str, function: Callable[..., Any], count: int = 1, positive: bool = False) -> None:
    def make(rng: random.Random) -> tuple[Callable[..., Any], list[Tensor]]:
        shape = [rng.randint(1, 5) for _ in range(rng.randint(2, 4))]
        values = [drawn(*shape) for _ in range(count)]
        return function, [v.abs() + 0.1 if positive else v for v in values]

    CASES[name] = make


for _name in (
    "abs", "ceil", "cos", "sin", "tan", "atan", "exp", "floor", "erf", "relu", "round", "sigmoid", "sign", "square",
    "tanh", "cosh", "sinh", "exp2",
):  # fmt: skip
    simple(_name, getattr(torch, _name))
for _name in ("sqrt", "rsqrt", "log"):
    simple(_name, getattr(torch, _name), positive=True)
for _name in ("relu6", "silu", "softplus", "leaky_relu", "elu", "hardswish", "hardsigmoid", "mish"):
    simple(_name, getattr(F, _name))
simple("acos", lambda x: torch.acos(torch.tanh(x)))
simple("asin", lambda x: torch.asin(torch.tanh(x)))
simple("threshold", lambda x: F.threshold(x, 0.2, 0.2))
simple("gelu", F.gelu)
simple("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"))
for _name in ("add", "sub", "mul", "maximum", "minimum"):
    simple(_name, getattr(torch, _name), 2)
simple("div", torch.div, 2, positive=True)
simple("pow", torch.pow, 2, positive=True)
simple("floor_divide", lambda x, y: torch.div(x, y, rounding_mode="floor"), 2, positive=True)
for _name in ("eq", "ne", "gt", "ge", "lt", "le"):
    simple(_name, lambda x, y, f=getattr(torch, _name): f(x.round(), y.round()).float(), 2)
simple("logical_and", lambda x, y: torch.logical_and(x > 0, y > 0).float(), 2)
simple("logical_or", lambda x, y: torch.logical_or(x > 0, y > 0).float(), 2)
simple("logical_xor", lambda x, y: torch.logical_xor(x > 0, y > 0).float(), 2)
simple("logical_not", lambda x: torch.logical_not(x > 0).float())
simple("where", lambda x, y: torch.where(x > 0, x, y), 2)
simple("clamp", lambda x: torch.clamp(x, -0.3, 0.8))
simple("to_int", lambda x: (4 * x).int().float())
simple("expand_dims", lambda x: x.unsqueeze(1) * 2)
simple("squeeze", lambda x: x.unsqueeze(0).squeeze(0) + x.unsqueeze(2).relu().squeeze(2))


@case
def softmax(rng: random.Random) -> Any:
    axis = rng.choice([-1, 1, 0])
    return lambda x: torch.softmax(x, axis), [drawn(2, 5, 3)]


@case
def prelu(rng: random.Random) -> Any:
    weight = torch.rand(4)
    return lambda x: F.prelu(x, weight), [drawn(2, 4, 3, 3)]


@case
def reductions(rng: random.Random) -> Any:
    axes, keep = rng.choice([(1,), (2, 3), (0, 2)]), rng.random() < 0.5
    functions = [torch.mean, torch.sum, torch.amax, torch.amin, torch.logsumexp]
    norms = [lambda x, a, k, p=p: torch.linalg.vector_norm(x, p, a, k) for p in (1, 2)]
    return lambda x: tuple(f(x, axes, keep) for f in (*functions, *norms)), [drawn(2, 3, 4, 5)]


@case
def places_of_extremes(rng: random.Random) -> Any:
    axis, keep = rng.randint(0, 2), rng.random() < 0.5
    return lambda x: (torch.argmax(x, axis, keep).float(), torch.argmin(x, axis, keep).float()), [drawn(3, 4, 5)]


@case
def cumulative_sum(rng: random.Random) -> Any:
    axis = rng.randint(0, 2)
    return lambda x: torch.cumsum(x, axis), [drawn(3, 4, 5)]


@case
def matrix_products(rng: random.Random) -> Any:
    layer, other = frozen(nn.Linear(5, rng.randint(1, 7), bias=rng.random() < 0.5)), drawn(4, 5)
    return lambda x, y: (layer(x), x @ y.transpose(1, 2), torch.matmul(x, other.T)), [drawn(2, 3, 5), drawn(2, 6, 5)]


@case
def one_hot(rng: random.Random) -> Any:
    return lambda x: F.one_hot((3 * x).abs().clamp(0, 4).long(), 5).float(), [drawn(3, 4)]


@case
def writing_at_places(rng: random.Random) -> Any:
    places = torch.tensor([[rng.randrange(5), rng.randrange(6)] for _ in range(3)])

    def function(x: Tensor, y: Tensor) -> Tensor:
        return x.index_put((places[:, 0], places[:, 1]), y)

    return function, [drawn(5, 6, 2), drawn(3, 2)]


@case
def reading_at_places(rng: random.Random) -> Any:
    rows, columns = (torch.tensor([rng.randrange(5) for _ in range(3)]) for _ in range(2))
    return lambda x: x[rows, columns], [drawn(5, 6, 2)]


@case
def einsum(rng: random.Random) -> Any:
    return lambda x, y: torch.einsum("bchw,bcxy->bhwxy", x, y), [drawn(1, 2, 3, 4), drawn(1, 2, 2, 2)]


@case
def convolution(rng: random.Random) -> Any:
    rank, groups = rng.choice([1, 2, 2, 3]), rng.choice([1, 2, 4])
    layer = [nn.Conv1d, nn.Conv2d, nn.Conv3d][rank - 1](
        4, 4 * rng.randint(1, 2), [rng.randint(1, 4) for _ in range(rank)], [rng.randint(1, 3) for _ in range(rank)],
        [rng.randint(0, 2) for _ in range(rank)], [rng.randint(1, 2) for _ in range(rank)], groups,
        bias=rng.random() < 0.5,
    )  # fmt: skip
    return layer, [drawn(1, 4, *(rng.randint(8, 11) for _ in range(rank)))]


@case
def convolution_padded_to_the_same(rng: random.Random) -> Any:
    layer = nn.Conv2d(3, 5, [rng.randint(2, 5), rng.randint(2, 5)], padding="same", dilation=rng.randint(1, 2))
    return layer, [drawn(1, 3, 9, 10)]


@case
def transposed_convolution(rng: random.Random) -> Any:
    groups, pad = rng.choice([1, 2]), rng.randint(0, 2)
    more = rng.randint(0, 1) if pad else 0  # coremltools refuses a wider output without padding
    layer = frozen(nn.ConvTranspose2d(4, 6, rng.randint(2, 4), rng.randint(2, 3), pad, more, groups))
    cropped = frozen(nn.ConvTranspose2d(4, 2, 5, 3, 2, 1, bias=False))  # written as a whole one, and a crop
    return lambda x: (layer(x), cropped(x)), [drawn(1, 4, 5, 6)]


@case
def pooling(rng: random.Random) -> Any:
    kernel, stride, ceil = rng.randint(2, 4), rng.randint(1, 3), rng.random() < 0.5
    pad, counted = rng.randint(0, 1), rng.random() < 0.5
    return lambda x: (
        F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil),
        F.avg_pool2d(x, kernel, stride, pad, count_include_pad=counted),
    ), [drawn(1, 3, 9, 11)]


@case
def adaptive_pooling(rng: random.Random) -> Any:
    return lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)), [drawn(1, 3, 6, 8)]


@case
def normalisations(rng: random.Random) -> Any:
    batch, layer, group = frozen(nn.BatchNorm2d(4)), frozen(nn.LayerNorm([5, 6])), frozen(nn.GroupNorm(2, 4))
    instance = frozen(nn.InstanceNorm2d(4, affine=True))
    for tensor in (batch.running_mean, batch.weight, layer.weight, layer.bias, instance.weight, instance.bias):
        tensor.normal_()
    batch.running_var.uniform_(0.5, 2)
    return lambda x: (batch(x), layer(x), instance(x), group(x), F.normalize(x, dim=1)), [drawn(1, 4, 5, 6)]


@case
def grid_sample(rng: random.Random) -> Any:
    mode, padding = rng.choice(["bilinear", "nearest"]), rng.choice(["zeros", "border", "reflection"])
    corners = rng.random() < 0.5
    return lambda x, at: F.grid_sample(x, at, mode, padding, corners), [drawn(1, 3, 5, 7), 1.2 * drawn(1, 4, 6, 2)]


@case
def upsampling(rng: random.Random) -> Any:
    factor = rng.randint(2, 3)
    return lambda x: (
        F.interpolate(x, scale_factor=float(factor)),
        F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=True),
        F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False),
    ), [drawn(1, 2, 4, 5)]


@case
def resizing(rng: random.Random) -> Any:
    """To sizes that are no multiple: rows 19 to 38 and 38 to 75 of a picture of 600 rows."""
    size = [rng.choice([75, 38, 7]), rng.randint(5, 30)]
    return lambda x: (
        F.interpolate(x, size),
        F.interpolate(x, size, mode="bilinear", align_corners=False),
        F.interpolate(x, size, mode="bilinear", align_corners=True),
    ), [drawn(1, 2, 38, 15)]


@case
def pixel_shuffling(rng: random.Random) -> Any:
    return lambda x: (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2)), [drawn(1, 8, 4, 6)]


@case
def padding(rng: random.Random) -> Any:
    sides = [rng.randint(0, 2) for _ in range(4)]
    sides[rng.randrange(4)] = 1
    return lambda x: (
        F.pad(x, sides, value=0.3), F.pad(x, sides, mode="reflect"), F.pad(x, sides, mode="replicate")
    ), [drawn(1, 2, 5, 6)]  # fmt: skip


@case
def shapes(rng: random.Random) -> Any:
    order = rng.sample(range(4), 4)
    return lambda x: (x.permute(order), x.reshape(3, -1), x.flatten(1), x[:, None].squeeze(1)), [drawn(2, 3, 4, 5)]


@case
def joining(rng: random.Random) -> Any:
    axis = rng.randint(0, 2)
    return lambda x, y: (torch.cat([x, y], axis), torch.stack([x, y], axis)), [drawn(2, 3, 4), drawn(2, 3, 4)]


@case
def cutting(rng: random.Random) -> Any:
    start, step = rng.randint(0, 2), rng.randint(1, 3)
    return lambda x: (
        x[:, start::step, ..., :-1], x[..., 1], x.chunk(2, 1)[1], *torch.split(x, [1, 3], 1), x.narrow(2, 1, 3),
        torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1),
    ), [drawn(2, 4, 6, 8)]  # fmt: skip


@case
def repeating(rng: random.Random) -> Any:
    return lambda x: (x.repeat(2, 1, 3), x.expand(4, 3, 5) + 1, x.flip([1, 2]), torch.roll(x, 2, 1)), [drawn(1, 3, 5)]


@case
def gathering(rng: random.Random) -> Any:
    rows = torch.tensor([rng.randrange(6) for _ in range(4)])
    along = torch.randint(0, 6, (3, 5, 2))
    return lambda x: (x.index_select(1, rows), torch.gather(x, 1, along), x[:, rows], x[0, rows]), [drawn(3, 6, 2)]


@case
def gathering_at_fed_places(rng: random.Random) -> Any:
    def function(x: Tensor, at: Tensor) -> Any:
        places = (at * 5).clamp(0, 5).long()
        rows = places.unsqueeze(-1).expand(-1, -1, 2)
        return torch.gather(x, 1, rows), x[0][places[0]]

    return function, [drawn(3, 6, 2), torch.rand(3, 4)]


@case
def writing_in_place(rng: random.Random) -> Any:
    def function(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 1:3] = 2 * x[:, :2]
        return y

    return function, [drawn(2, 5, 3)]


@case
def sorting(rng: random.Random) -> Any:
    down = rng.random() < 0.5
    return lambda x: (*torch.topk(x, 3, 1, largest=down), torch.argsort(x, 1, down).float()), [drawn(2, 6)]


@case
def triangles(rng: random.Random) -> Any:
    return lambda x: (torch.tril(x), torch.triu(x)), [drawn(5, 5)]


@case
def filling(rng: random.Random) -> Any:
    return lambda x: (x + torch.full_like(x, 0.5), torch.zeros_like(x) + x), [drawn(2, 3)]


@case
def attention(rng: random.Random) -> Any:
    return F.scaled_dot_product_attention, [drawn(1, 2, 4, 8), drawn(1, 2, 5, 8), drawn(1, 2, 5, 8)]


@case
def updating_a_slice(rng: random.Random) -> Any:
    return writing_in_place(rng)


DEPLOYMENT = {"attention": "iOS18", "updating_a_slice": "iOS18"}


class Module(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.inner = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.inner(*inputs)


def program_of(
    function: Callable[..., Any], inputs: list[Tensor], deployment: str = "iOS17", half: bool = False
) -> Any:
    library = coremltools()
    with quiet(), torch.no_grad():
        return library.convert(
            torch.jit.trace(Module(function).eval(), tuple(inputs), check_trace=False),
            inputs=[library.TensorType(name=f"in{i}", shape=v.shape) for i, v in enumerate(inputs)],
            convert_to="milinternal",
            minimum_deployment_target=getattr(library.target, deployment),
            compute_precision=library.precision.FLOAT16 if half else library.precision.FLOAT32,
        )


SEEN: set[str] = set()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_what_torch_computes(name, seed):
    torch.manual_seed(seed)
    function, inputs = CASES[name](random.Random(seed))
    with torch.no_grad():
        wanted = Module(function)(*inputs)
    program = program_of(function, inputs, DEPLOYMENT.get(name, "iOS17"))
    SEEN.update(op.op_type for op in program.functions["main"].operations)
    said = list(Evaluator(program.functions["main"]).run({f"in{i}": v.numpy() for i, v in enumerate(inputs)}).values())
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    assert len(said) == len(wanted)
    for one, other in zip(said, wanted, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_sizes_that_are_known_only_when_fed_are_followed(rows):
    library, layer = coremltools(), frozen(nn.Linear(6, 4))

    def function(x: Tensor) -> Tensor:
        joined = torch.cat([layer(x).reshape(x.shape[0], 2, 2).flatten(1), torch.ones(x.shape[0], 1)], 1)
        return joined * x.shape[0]

    with quiet():
        program = library.convert(
            torch.jit.trace(Module(function), drawn(2, 6), check_trace=False),
            inputs=[library.TensorType(name="x", shape=(library.RangeDim(1, 9, 2), 6))],
            convert_to="milinternal",
            minimum_deployment_target=library.target.iOS17,
            compute_precision=library.precision.FLOAT32,
        )
    SEEN.update(op.op_type for op in program.functions["main"].operations)
    x = drawn(rows, 6)
    (said,) = Evaluator(program.functions["main"]).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(said.numpy(), function(x).numpy(), rtol=1e-5, atol=1e-6)


def test_a_reciprocal_is_what_the_program_says_and_not_what_torch_says():
    """coremltools writes 1 / x as ``inverse``, which adds 0.0001: on the device as here."""
    x = torch.rand(3, 4) + 0.1
    (said,) = Evaluator(program_of(torch.reciprocal, [x]).functions["main"]).run({"in0": x.numpy()}).values()
    np.testing.assert_allclose(said.numpy(), (1 / (x + 1e-4)).numpy(), rtol=1e-6)


def test_no_operation_of_the_evaluator_goes_untested():
    """Runs after the cases: each operation was a part of one of them, or has a test of its own."""
    assert set(OPS) - SEEN - APART == set()
