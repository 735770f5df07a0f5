"""Convolutions, pooling, normalisation and sampling of pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd_targets.coreml.mil.registry import ints, op

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
# torch reflects at the outer pixels' centres where corners are aligned, and at their edges where not: MIL names both
_MODES = {
    (False, "constant"): "zeros", (False, "border"): "border", (False, "symmetric"): "reflection",
    (True, "constant"): "zeros", (True, "border"): "border", (True, "reflection"): "reflection",
}  # fmt: skip


def _padding(pad_type: str, pad: Any, sizes: list[int], kernel: list[int], strides: list[int]) -> list[int]:
    """Before and after each spatial axis, the first axis first. ``kernel`` is the extent, dilation counted."""
    if pad_type == "valid":
        return [0] * (2 * len(sizes))
    if pad_type == "custom":
        return ints(pad)
    padding = []
    for size, extent, stride in zip(sizes, kernel, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        less, more = total // 2, total - total // 2
        padding += [less, more] if pad_type == "same" else [more, less]  # same_lower puts the odd one before
    return padding


def _last_first(padding: list[int]) -> list[int]:
    """MIL's order of axes in torch's, which begins at the last."""
    return [value for axis in range(len(padding) // 2 - 1, -1, -1) for value in padding[2 * axis : 2 * axis + 2]]


@op("conv")
def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, strides: Any, pad_type: str, pad: Any, dilations: Any, groups: int
) -> Tensor:
    stride, dilation = ints(strides), ints(dilations)
    extents = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    padding = _padding(pad_type, pad, list(x.shape[2:]), extents, stride)
    if padding[::2] == padding[1::2]:
        return _CONVOLUTIONS[weight.dim() - 2](x, weight, bias, stride, padding[::2], dilation, groups)
    return _CONVOLUTIONS[weight.dim() - 2](F.pad(x, _last_first(padding)), weight, bias, stride, 0, dilation, groups)


@op("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    strides: Any,
    pad_type: str,
    pad: Any,
    dilations: Any,
    groups: int,
    output_shape: Any,
) -> Tensor:
    """The whole result, of which padding cuts the borders off; ``output_shape`` says how far the last ones reach."""
    stride, dilation = ints(strides), ints(dilations)
    whole = _TRANSPOSED[weight.dim() - 2](x, weight, bias, stride, 0, 0, groups, dilation)
    extents = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    wanted = ints(output_shape)[-len(extents) :]
    if pad_type == "custom":
        padding = ints(pad)
    elif pad_type == "valid":
        padding = [0] * (2 * len(extents))
    else:
        sizes = wanted or [size * s for size, s in zip(x.shape[2:], stride, strict=True)]
        padding = _padding(pad_type, None, sizes, extents, stride)
    for axis in range(len(extents)):
        size = whole.shape[2 + axis]
        start, stop = padding[2 * axis], size - padding[2 * axis + 1]
        if wanted:
            stop = start + wanted[axis]
        if stop > size:  # the program asks for more than the kernel reaches: there is only the bias
            more = [0] * (2 * whole.dim())
            more[2 * (whole.dim() - 3 - axis) + 1] = stop - size
            filled = F.pad(torch.ones_like(whole), more) == 0
            whole = F.pad(whole, more)
            if bias is not None:
                whole = torch.where(filled, bias.reshape([1, -1] + [1] * len(extents)), whole)
        whole = whole.narrow(2 + axis, start, stop - start)
    return whole


@op("max_pool")
def max_pool(x: Tensor, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: bool) -> Tensor:
    kernel = ints(kernel_sizes)
    stride = ints(strides) or [1] * len(kernel)
    padding = _padding(pad_type, pad, list(x.shape[2:]), kernel, stride)
    padded = F.pad(x, _last_first(padding), value=-float("inf"))
    return _MAX_POOLS[len(kernel)](padded, kernel, stride, ceil_mode=ceil_mode)


@op("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: Any,
    strides: Any,
    pad_type: str,
    pad: Any,
    exclude_padding_from_average: bool,
    ceil_mode: bool,
) -> Tensor:
    kernel = ints(kernel_sizes)
    stride = ints(strides) or [1] * len(kernel)
    padding = _last_first(_padding(pad_type, pad, list(x.shape[2:]), kernel, stride))
    pool = _AVERAGE_POOLS[len(kernel)]
    if not any(padding):
        return pool(x, kernel, stride, ceil_mode=ceil_mode)
    mean = pool(F.pad(x, padding), kernel, stride, ceil_mode=ceil_mode)
    if not exclude_padding_from_average:
        return mean
    return mean / pool(F.pad(torch.ones_like(x), padding), kernel, stride, ceil_mode=ceil_mode)


@op("batch_norm")
def batch_norm(
    x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor | None, beta: Tensor | None, epsilon: float
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)


@op("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None, beta: Tensor | None, epsilon: float) -> Tensor:
    return F.instance_norm(x, weight=gamma, bias=beta, eps=epsilon)


@op("layer_norm")
def layer_norm(x: Tensor, axes: Any, gamma: Tensor | None, beta: Tensor | None, epsilon: float) -> Tensor:
    over = [axis % x.dim() for axis in ints(axes)] or list(range(x.dim()))
    variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    scaled = (x - mean) * torch.rsqrt(variance + epsilon)
    shape = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    scaled = scaled if gamma is None else scaled * gamma.reshape(shape)
    return scaled if beta is None else scaled + beta.reshape(shape)


@op("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """``coordinates`` (B, H, W, 2) hold x, y of the place to read at.

    Raises:
        NotImplementedError: a mode that torch has not: another constant than 0, or the other way to reflect.
    """
    if coordinates_mode == "normalized_zero_to_one":
        coordinates = 2 * coordinates - 1
    elif coordinates_mode != "normalized_minus_one_to_one":
        high, wide = x.shape[2:]
        steps = torch.tensor([wide - 1, high - 1] if align_corners else [wide, high], dtype=x.dtype)
        coordinates = 2 * coordinates / steps - 1 if align_corners else (2 * coordinates + 1) / steps - 1
    mode = _MODES.get((align_corners, padding_mode))
    if mode is None or (padding_mode == "constant" and padding_value != 0):
        raise NotImplementedError(
            f"resample with padding_mode {padding_mode}, {padding_value}, corners {align_corners}"
        )
    return F.grid_sample(x, coordinates, mode=sampling_mode, padding_mode=mode, align_corners=align_corners)


@op("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float,
    scale_factor_width: float,
    align_corners: bool,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Raises NotImplementedError for corners that are neither aligned nor half a pixel out: torch has none."""
    if not align_corners and half_pixel_centers is False:
        raise NotImplementedError("upsample_bilinear without aligned corners and without half-pixel centres")
    size = [int(x.shape[2] * scale_factor_height), int(x.shape[3] * scale_factor_width)]
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


@op("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float, scale_factor_width: float) -> Tensor:
    return F.interpolate(x, [int(x.shape[2] * scale_factor_height), int(x.shape[3] * scale_factor_width)])


@op("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


@op("pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)
