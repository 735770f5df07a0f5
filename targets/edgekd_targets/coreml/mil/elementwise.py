"""Operations that treat every element alone, reductions and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd_targets.coreml.mil.registry import ints, op

# MIL's gelu in its three modes
_GELU: dict[str, Callable[[Tensor], Tensor]] = {
    "EXACT": F.gelu,
    "TANH_APPROXIMATION": lambda x: F.gelu(x, approximate="tanh"),
    "SIGMOID_APPROXIMATION": lambda x: x * torch.sigmoid(1.702 * x),
}


def _unary(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x: function(torch.as_tensor(x))


_UNARY: dict[str, Callable[..., Tensor]] = {
    "abs": torch.abs, "ceil": torch.ceil, "cos": torch.cos, "sin": torch.sin, "tan": torch.tan, "atan": torch.atan,
    "acos": torch.acos, "asin": torch.asin, "exp": torch.exp, "exp2": torch.exp2, "floor": torch.floor,
    "erf": torch.erf, "logical_not": torch.logical_not, "relu": torch.relu, "relu6": F.relu6, "round": torch.round,
    "sigmoid": torch.sigmoid, "sign": torch.sign, "silu": F.silu, "softplus": F.softplus,
    "sqrt": torch.sqrt, "square": torch.square, "tanh": torch.tanh, "cosh": torch.cosh, "sinh": torch.sinh,
    "identity": torch.clone,
}  # fmt: skip
for _name, _function in _UNARY.items():
    op(_name)(_unary(_function))


def _floor_div(x: Any, y: Any) -> Tensor:
    return torch.div(torch.as_tensor(x), torch.as_tensor(y), rounding_mode="floor")


def _binary(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, y: function(torch.as_tensor(x), torch.as_tensor(y))


_BINARY: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum,
    "pow": torch.pow, "floor_div": _floor_div, "equal": torch.eq, "not_equal": torch.ne,
    "greater": torch.gt, "greater_equal": torch.ge, "less": torch.lt, "less_equal": torch.le,
    "logical_and": torch.logical_and, "logical_or": torch.logical_or, "logical_xor": torch.logical_xor,
}  # fmt: skip
for _name, _both in _BINARY.items():
    op(_name)(_binary(_both))


@op("real_div")
def real_div(x: Any, y: Any) -> Tensor:
    """Of integers it is the quotient cut off towards zero."""
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@op("log")
def log(x: Tensor, epsilon: float) -> Tensor:
    return torch.log(x + epsilon)


@op("rsqrt")
def rsqrt(x: Tensor, epsilon: float) -> Tensor:
    return torch.rsqrt(x + epsilon)


@op("inverse")
def inverse(x: Tensor, epsilon: float) -> Tensor:
    return 1 / (x + epsilon)


@op("clip")
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(x, alpha, beta)


@op("threshold")
def threshold(x: Tensor, alpha: float) -> Tensor:
    return torch.clamp(x, min=alpha)


@op("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros_like(x))


@op("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return F.leaky_relu(x, alpha)


@op("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    return F.elu(x, alpha)


@op("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return F.prelu(x, alpha)


@op("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


@op("gelu")
def gelu(x: Tensor, mode: str) -> Tensor:
    return _GELU[mode](x)


@op("softmax")
def softmax(x: Tensor, axis: int) -> Tensor:
    return torch.softmax(x, axis)


@op("select")
def select(cond: Any, a: Any, b: Any) -> Tensor:
    return torch.where(torch.as_tensor(cond), torch.as_tensor(a), torch.as_tensor(b))


@op("cast")
def cast(x: Any, dtype: str) -> Tensor:
    """Floats are cut off towards zero; the evaluator itself gives the result its type."""
    value = torch.as_tensor(x)
    if dtype == "bool":
        return value != 0
    return torch.trunc(value) if value.is_floating_point() and "int" in dtype else value


@op("cumsum")
def cumsum(x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    ordered = x.flip(axis) if reverse else x
    total = torch.cumsum(ordered, axis)
    total = total - ordered if exclusive else total
    return total.flip(axis) if reverse else total


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(x: Tensor, axes: Any, keep_dims: bool) -> Tensor:
        return function(x, ints(axes) or list(range(x.dim())), keepdim=keep_dims)

    return reduce


_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "reduce_mean": torch.mean,
    "reduce_sum": torch.sum,
    "reduce_max": torch.amax,
    "reduce_min": torch.amin,
    "reduce_l2_norm": lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim).sqrt(),
    "reduce_log_sum_exp": torch.logsumexp,
}
for _name, _reduce in _REDUCTIONS.items():
    op(_name)(_reduction(_reduce))


@op("reduce_argmax")
def reduce_argmax(x: Tensor, axis: int, keep_dims: bool, output_dtype: Any = None) -> Tensor:
    return torch.argmax(x, axis, keepdim=keep_dims)


@op("reduce_argmin")
def reduce_argmin(x: Tensor, axis: int, keep_dims: bool, output_dtype: Any = None) -> Tensor:
    return torch.argmin(x, axis, keepdim=keep_dims)


@op("matmul")
def matmul(x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


@op("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight, bias)


@op("scaled_dot_product_attention")
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> Tensor:
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return torch.softmax(scores, -1) @ value


@op("quantize")
def quantize(input: Tensor, scale: Any, zero_point: Any, output_dtype: str, axis: int | None) -> Tensor:
    least, most = {"int8": (-128, 127), "uint8": (0, 255)}[output_dtype]
    shift = 0 if zero_point is None else _along(zero_point, input.dim(), axis)
    return torch.clamp(torch.round(input / _along(scale, input.dim(), axis)) + shift, least, most)


@op("dequantize")
def dequantize(input: Tensor, scale: Any, zero_point: Any, axis: int | None) -> Tensor:
    shift = 0 if zero_point is None else _along(zero_point, input.dim(), axis)
    return (input.float() - shift) * _along(scale, input.dim(), axis)


def _along(value: Any, rank: int, axis: int | None) -> Tensor:
    """A scalar, or one number per index of ``axis``, as it broadcasts."""
    found = torch.as_tensor(value).float()
    return (
        found
        if found.dim() == 0 or axis is None
        else found.reshape([-1 if i == axis % rank else 1 for i in range(rank)])
    )
