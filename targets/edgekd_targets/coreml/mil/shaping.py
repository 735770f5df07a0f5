"""Operations that move, cut, join or find elements, and constants' making."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd_targets.coreml.mil.registry import ints, op


@op("reshape")
def reshape(x: Tensor, shape: Any) -> Tensor:
    """0 keeps an axis as it is."""
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(ints(shape))])


@op("transpose")
def transpose(x: Tensor, perm: Any) -> Tensor:
    return x.permute(ints(perm))


@op("expand_dims")
def expand_dims(x: Tensor, axes: Any) -> Tensor:
    x = torch.as_tensor(x)
    rank = x.dim() + len(ints(axes))
    for axis in sorted(a % rank for a in ints(axes)):
        x = x.unsqueeze(axis)
    return x


@op("squeeze")
def squeeze(x: Tensor, axes: Any) -> Tensor:
    over = [a % x.dim() for a in ints(axes)] or [a for a, size in enumerate(x.shape) if size == 1]
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in over])


@op("concat")
def concat(values: list[Any], axis: int, interleave: bool) -> Tensor:
    if not interleave:
        return torch.cat([torch.atleast_1d(torch.as_tensor(v)) for v in values], axis)
    return torch.stack(values, axis % values[0].dim() + 1).flatten(axis % values[0].dim(), axis % values[0].dim() + 1)


@op("stack")
def stack(values: list[Any], axis: int) -> Tensor:
    return torch.stack([torch.as_tensor(v) for v in values], axis)


@op("split")
def split(x: Tensor, num_splits: int | None, split_sizes: Any, axis: int) -> tuple[Tensor, ...]:
    sizes: Any = ints(split_sizes) or x.shape[axis] // int(num_splits or 1)
    return torch.split(x, sizes, axis)


@op("tile")
def tile(x: Tensor, reps: Any) -> Tensor:
    return x.repeat(ints(reps))


@op("slice_by_index")
def slice_by_index(
    x: Tensor, begin: Any, end: Any, stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any
) -> Tensor:
    """Negative indices count from the end; a mask takes an axis whole, from its begin or to its end."""
    begins, ends, strides = ints(begin), ints(end), ints(stride) or [1] * x.dim()
    masks = [_mask(mask, x.dim()) for mask in (begin_mask, end_mask, squeeze_mask)]
    for axis, size in enumerate(x.shape):
        if masks[2][axis]:
            x = x.index_select(axis, torch.tensor([begins[axis] % size]))
            continue
        step = strides[axis]
        first = None if masks[0][axis] else begins[axis]
        last = None if masks[1][axis] else ends[axis]
        x = x.index_select(axis, torch.tensor(list(range(size)[first:last:step]), dtype=torch.long))
    return x.reshape([size for axis, size in enumerate(x.shape) if not masks[2][axis]])


def _mask(mask: Any, rank: int) -> list[bool]:
    return [False] * rank if mask is None else [bool(m) for m in mask.tolist()]


@op("slice_update")
def slice_update(
    x: Tensor, update: Tensor, begin: Any, end: Any, stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any
) -> Tensor:
    places = torch.arange(x.numel()).reshape(x.shape)
    chosen = slice_by_index(places, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    flat = x.flatten().clone()
    flat[chosen.flatten()] = update.flatten()
    return flat.reshape(x.shape)


@op("reverse")
def reverse(x: Tensor, axes: Any) -> Tensor:
    return x.flip(ints(axes) or list(range(x.dim())))


@op("pad")
def pad(x: Tensor, pad: Any, mode: str, constant_val: float) -> Tensor:
    """``pad`` holds before and after of the last axes, the first of them first."""
    given = ints(pad)
    order = [value for axis in range(len(given) // 2 - 1, -1, -1) for value in given[2 * axis : 2 * axis + 2]]
    if mode == "constant":
        return F.pad(x, order, value=float(constant_val))
    while len(order) > 2 and order[-2:] == [0, 0]:
        order = order[:-2]  # torch takes no more axes than it pads
    names = {"reflect": "reflect", "replicate": "replicate"}
    while x.dim() < len(order) // 2 + 2:
        return F.pad(x[None], order, mode=names[mode])[0]
    return F.pad(x, order, mode=names[mode])


@op("crop")
def crop(x: Tensor, crop_height: Any, crop_width: Any) -> Tensor:
    (top, bottom), (left, right) = ints(crop_height), ints(crop_width)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@op("gather")
def gather(x: Tensor, indices: Any, axis: int, batch_dims: int = 0, validate_indices: bool | None = None) -> Tensor:
    places = torch.as_tensor(indices).long()
    axis = axis % x.dim()
    places = torch.where(places < 0, places + x.shape[axis], places)
    if batch_dims:
        return torch.stack([gather(a, b, axis - 1, batch_dims - 1) for a, b in zip(x, places, strict=True)])
    found = x.index_select(axis, places.flatten())
    return found.reshape([*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]])


@op("gather_along_axis")
def gather_along_axis(x: Tensor, indices: Tensor, axis: int, validate_indices: bool | None = None) -> Tensor:
    places = torch.where(indices < 0, indices + x.shape[axis], indices)
    return torch.take_along_dim(x, places.long(), axis)


@op("gather_nd")
def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool | None = None) -> Tensor:
    if batch_dims:
        return torch.stack([gather_nd(a, b, batch_dims - 1) for a, b in zip(x, indices, strict=True)])
    return x[tuple(indices.long().movedim(-1, 0))]


@op("scatter_nd")
def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str, validate_indices: bool | None = None
) -> Tensor:
    """Raises NotImplementedError for the modes that neither set nor add."""
    if mode not in ("update", "add"):
        raise NotImplementedError(f"scatter_nd with mode {mode}")
    places = tuple(indices.long().movedim(-1, 0))
    return data.index_put(places, updates, accumulate=mode == "add")


@op("scatter")
def scatter(
    data: Tensor, indices: Tensor, updates: Tensor, axis: int, mode: str, validate_indices: bool | None = None
) -> Tensor:
    """Raises NotImplementedError for the modes that neither set nor add."""
    if mode not in ("update", "add"):
        raise NotImplementedError(f"scatter with mode {mode}")
    changed = data.movedim(axis, 0).clone()
    moved = updates.movedim(tuple(range(axis, axis + indices.dim())), tuple(range(indices.dim())))
    return changed.index_put((indices.long(),), moved, accumulate=mode == "add").movedim(0, axis)


@op("shape")
def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


@op("fill")
def fill(shape: Any, value: Any) -> Tensor:
    return torch.full(ints(shape), value)


@op("fill_like")
def fill_like(ref_tensor: Tensor, value: Any) -> Tensor:
    return torch.full(ref_tensor.shape, value)


@op("band_part")
def band_part(x: Tensor, lower: int, upper: int) -> Tensor:
    x = x if lower < 0 else torch.triu(x, -lower)
    return x if upper < 0 else torch.tril(x, upper)


@op("one_hot")
def one_hot(indices: Tensor, one_hot_vector_size: int, axis: int, on_value: Any, off_value: Any) -> Tensor:
    hot = F.one_hot(indices.long(), int(one_hot_vector_size)).bool()
    return torch.where(hot, torch.as_tensor(on_value), torch.as_tensor(off_value)).movedim(-1, axis)


@op("topk")
def topk(
    x: Tensor, k: int, axis: int, ascending: bool, sort: bool = True, return_indices: bool = True, **_: Any
) -> tuple[Tensor, ...]:
    values, indices = torch.topk(x, k, axis, largest=not ascending)
    return (values, indices) if return_indices else (values,)


@op("argsort")
def argsort(x: Tensor, axis: int, ascending: bool) -> Tensor:
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)
