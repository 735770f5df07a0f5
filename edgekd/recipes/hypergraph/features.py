"""Feature rows, dense or sparse, and how one becomes the student's input. Numpy only: it runs on the device too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.contracts import Arrays
from edgekd.errors import InputError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

CSR = ("x_data", "x_indices", "x_indptr", "x_shape")  # the arrays of sparse features in an npz


def normalized(rows: Floats, kind: str) -> Floats:
    """(n, F) rows, each divided by the sum of its absolute values (``l1``); a row of zeros stays one."""
    if kind == "none":
        return rows
    sums = np.abs(rows).sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(rows / np.where(sums > 0, sums, 1.0), np.float32)


@dataclass(frozen=True)
class Features:
    """V rows of F numbers: ``values`` (V, F), or by rows: values (entries,), columns, offsets (V + 1,)."""

    width: int
    values: Floats
    columns: Ints | None = None
    offsets: Ints | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def sparse(self) -> bool:
        return self.offsets is not None

    def arrays(self) -> dict[str, NDArray]:
        named = {"values": self.values, "columns": self.columns, "offsets": self.offsets}
        return {name: value for name, value in named.items() if value is not None}

    def take(self, rows: Ints) -> Features:
        if self.offsets is None or self.columns is None:
            return Features(self.width, self.values[rows])
        sizes = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        places = np.repeat(self.offsets[:-1][rows] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Features(self.width, self.values[places], self.columns[places], offsets)

    def fingerprints(self) -> NDArray[Any]:
        """(V,) something to compare per row: equal rows have equal ones, others practically never."""
        if self.offsets is None or self.columns is None:
            return np.ascontiguousarray(self.values).view(np.dtype((np.void, 4 * self.width)))[:, 0]
        factors = np.random.default_rng(0xF1).normal(size=self.width)
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        sums = np.bincount(rows, self.values * factors[self.columns], minlength=len(self))
        return np.asarray(sums, np.float64)

    def dense(self) -> Floats:
        """(V, F): only for as many rows as fit into memory."""
        if self.offsets is None or self.columns is None:
            return self.values
        filled = np.zeros((len(self), self.width), np.float32)
        np.add.at(filled, (np.repeat(np.arange(len(self)), np.diff(self.offsets)), self.columns), self.values)
        return filled

    def normalized(self, kind: str) -> Features:
        """As ``normalized``, row by row."""
        if kind == "none" or self.offsets is None:
            return Features(self.width, normalized(self.values, kind), self.columns, self.offsets)
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        sums = np.bincount(rows, np.abs(self.values), minlength=len(self))
        scale = 1.0 / np.where(sums > 0, sums, 1.0)
        return Features(self.width, (self.values * scale[rows]).astype(np.float32), self.columns, self.offsets)


def from_arrays(arrays: Mapping[str, Any], origin: str) -> Features:
    """From an npz: ``x`` (V, F), or the CSR arrays ``x_data``, ``x_indices``, ``x_indptr``, ``x_shape``.

    Raises:
        InputError: neither is there, they do not belong together, or a number is NaN or infinite.
    """
    if "x" in arrays:
        x = np.asarray(arrays["x"])
        if x.ndim != 2 or not np.issubdtype(x.dtype, np.number) or 0 in x.shape:
            raise InputError(f"{origin}: x is {x.dtype} {list(x.shape)}", "it must be numbers (rows, features)")
        return checked(Features(x.shape[1], np.ascontiguousarray(x, np.float32)), origin)
    missing = [name for name in CSR if name not in arrays]
    if missing:
        raise InputError(
            f"{origin} has no features", f"it has {', '.join(sorted(arrays)) or 'nothing'}", "x, or " + ", ".join(CSR)
        )
    data, columns, offsets, shape = (np.asarray(arrays[name]) for name in CSR)
    if shape.shape != (2,) or any(a.ndim != 1 for a in (data, columns, offsets)):
        raise InputError(f"{origin}: the sparse features have other dimensions than a CSR matrix has")
    height, width = (int(n) for n in shape)
    ordered = len(offsets) == height + 1 and offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())
    if not ordered or offsets[-1] != len(columns) or len(columns) != len(data) or height < 1 or width < 1:
        raise InputError(f"{origin}: x_indptr, x_indices and x_data do not fit x_shape", f"{height} x {width}")
    if len(columns) and (columns.min() < 0 or columns.max() >= width):
        raise InputError(f"{origin}: x_indices holds a column outside 0..{width - 1}", "the features are damaged")
    values = data.astype(np.float32)
    return checked(Features(width, values, columns.astype(np.int64), offsets.astype(np.int64)), origin)


def checked(features: Features, origin: str) -> Features:
    """Raises InputError, naming the row, for a number that is NaN or infinite."""
    bad = ~np.isfinite(features.values)
    if not bad.any():
        return features
    if features.offsets is None:
        rows = np.flatnonzero(bad.any(axis=1))
    else:
        rows = np.unique(np.searchsorted(features.offsets, np.flatnonzero(bad), side="right") - 1)
    raise InputError(
        f"{origin}: row {rows[0]} has a feature that is NaN or infinite",
        f"{len(rows)} of {len(features)} rows have one",
        "fill or leave out what is missing before it comes here",
    )


def width_refused(width: int, wanted: int, origin: str) -> InputError:
    return InputError(f"{origin} has {width} features a row", f"the model takes {wanted}", "give the columns it learnt")


def feature_row(raw: Arrays) -> Floats:
    """The raw item's row (F,) float32.

    Raises:
        InputError: no ``features``, or no plain row of finite numbers.
    """
    if "features" not in raw:
        raise InputError(f"the raw item has {sorted(raw)}", "it must have features")
    row = np.asarray(raw["features"])
    if row.ndim != 1 or not np.issubdtype(row.dtype, np.number):
        raise InputError(f"features is {row.dtype} {list(row.shape)}", "it must be one row of numbers")
    row = row.astype(np.float32)
    if not np.isfinite(row).all():
        raise InputError("a feature is NaN or infinite", "the row has no meaning so", "fill what is missing")
    return row
