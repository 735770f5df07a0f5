"""Tables of named columns from CSV or Parquet. Numpy only; Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError, MachineError

Column = NDArray  # of text or of numbers


def read_table(path: Path) -> dict[str, Column]:
    """Columns by name, in order. A CSV whose first line is all numbers has no header: columns are ``0``, ``1``, ...

    Raises:
        InputError: not there, empty, ragged, or a name twice.
        MachineError: Parquet, and pyarrow is not installed.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.suffix.lower() in (".parquet", ".pq"):
        return _parquet(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file", str(error)) from None
    if not lines:
        raise InputError(f"{path} is empty", "a table has a line per row")
    header = [str(k) for k in range(len(lines[0]))] if all(map(_is_number, lines[0])) else lines[0]
    rows = lines if header is not lines[0] else lines[1:]
    ragged = next((k for k, row in enumerate(rows) if len(row) != len(header)), None)
    if ragged is not None:
        raise InputError(f"{path}: row {ragged} has {len(rows[ragged])} cells", f"the first line has {len(header)}")
    names = [name.strip() for name in header]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: the column {twice[0]!r} is there twice", fix="give every column a name of its own")
    if not rows:
        raise InputError(f"{path} has a header and no row")
    return {name: np.array(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}


def has_header(columns: dict[str, Column]) -> bool:
    return list(columns) != [str(k) for k in range(len(columns))]


def numbers(columns: dict[str, Column], names: list[str], origin: str) -> NDArray[np.float32]:
    """(rows, len(names)) float32; an empty cell is NaN.

    Raises:
        InputError: a cell that is no number.
    """
    filled = np.empty((len(next(iter(columns.values()))), len(names)), np.float32)
    for k, name in enumerate(names):
        column = columns[name]
        try:
            if column.dtype.kind in "US":
                column = np.where(np.char.strip(column) == "", "nan", column)
            filled[:, k] = column.astype(np.float64)
        except (ValueError, TypeError):
            wrong = next(k for k, cell in enumerate(column) if not _is_number(str(cell)))
            raise InputError(
                f"{origin}: column {name!r}, row {wrong}: {str(column[wrong])!r} is no number",
                "every column but id and label is a feature",
            ) from None
    return filled


def _parquet(path: Path) -> dict[str, Column]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MachineError("pyarrow is not installed", f"{path} is Parquet: {error}", "pip install pyarrow") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file", str(error).splitlines()[0]) from None
    if not table.num_rows:
        raise InputError(f"{path} has no row")
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
