"""A constant sparse matrix times a dense one, forward and backward, without a Python loop.

On a CPU ``embedding_bag`` is the fastest such product that PyTorch has (faster than its CSR kernel and ten times
faster than ``index_add``), but its own backward is not. So the transpose is kept beside the matrix, and the backward
pass is a product of the same kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F


class SparseRows:
    """A sparse matrix (rows, columns) by rows; ``matrix @ dense`` is differentiable in ``dense``.

    Args:
        offsets: (rows + 1,) int64; row r holds the entries ``offsets[r]:offsets[r + 1]``.
        columns: (entries,) int64.
        values: (entries,) float32, or None where all are 1.
        width: number of columns.
    """

    def __init__(self, offsets: torch.Tensor, columns: torch.Tensor, values: torch.Tensor | None, width: int) -> None:
        self.offsets, self.columns, self.values, self.width = offsets, columns, values, width
        self._mirror: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def from_numpy(cls, offsets: NDArray, columns: NDArray, values: NDArray | None, width: int) -> SparseRows:
        weights = None if values is None else torch.from_numpy(np.ascontiguousarray(values, np.float32))
        starts, places = (torch.from_numpy(np.ascontiguousarray(a, np.int64)) for a in (offsets, columns))
        return cls(starts, places, weights, width)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.offsets) - 1, self.width

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def T(self) -> SparseRows:  # noqa: N802 as in torch
        offsets, columns, order = self._transposed()
        turned = SparseRows(offsets, columns, None if self.values is None else self.values[order], len(self))
        turned._mirror = (self.offsets, self.columns, torch.argsort(order))
        return turned

    def with_values(self, values: torch.Tensor) -> SparseRows:
        """The same places, other values (a dropout's, say)."""
        changed = SparseRows(self.offsets, self.columns, values, self.width)
        changed._mirror = self._transposed()
        return changed

    def to(self, device: Any) -> SparseRows:
        moved = SparseRows(self.offsets.to(device), self.columns.to(device), None, self.width)
        moved.values = None if self.values is None else self.values.to(device)
        if self._mirror is not None:
            first, second, third = (part.to(device) for part in self._mirror)
            moved._mirror = (first, second, third)
        return moved

    def row_sums(self) -> torch.Tensor:
        """(rows,) sums of the values; without values, the number of entries."""
        if self.values is None:
            return self.offsets.diff().float()
        return self @ torch.ones(self.width, device=self.offsets.device)

    def __matmul__(self, dense: torch.Tensor) -> torch.Tensor:
        """(columns, k) -> (rows, k), or (columns,) -> (rows,)."""
        if dense.dim() == 1:
            return (self @ dense[:, None])[:, 0]
        product: torch.Tensor = _Product.apply(dense, self)
        return product

    def _transposed(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if self._mirror is None:
            order = torch.argsort(self.columns, stable=True)
            rows = torch.repeat_interleave(torch.arange(len(self), device=self.offsets.device), self.offsets.diff())
            counts = torch.bincount(self.columns, minlength=self.width)
            self._mirror = (F.pad(counts.cumsum(0), (1, 0)), rows[order], order)
        return self._mirror


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: torch.Tensor, rows: SparseRows) -> torch.Tensor:
        ctx.rows = rows
        return _sums(dense, rows.offsets, rows.columns, rows.values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None
        rows: SparseRows = ctx.rows
        offsets, columns, order = rows._transposed()
        values = None if rows.values is None else rows.values[order]
        return _sums(gradients[0], offsets, columns, values), None


def _sums(
    dense: torch.Tensor, offsets: torch.Tensor, columns: torch.Tensor, values: torch.Tensor | None
) -> torch.Tensor:
    if not len(columns):
        return dense.new_zeros(len(offsets) - 1, dense.shape[1])
    return F.embedding_bag(
        columns,
        dense.contiguous(),
        offsets,
        mode="sum",
        per_sample_weights=None if values is None else values.to(dense.dtype),
        include_last_offset=True,
    )
