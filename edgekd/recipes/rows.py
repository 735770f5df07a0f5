"""Samples that are slow to make, on disk: rows of fixed shapes, made once, by one or several processes, and mapped.

A store is a folder ``KIND-HASH`` of a cache: ``NAME.bin`` for each field (raw bytes, mapped when read, so that a large
set needs no memory of its own) and ``meta.json``. It grows under a temporary name, chunk by chunk: what a killed
process has made is kept. When all is there it is renamed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.contracts import Array, Arrays
from edgekd.errors import EdgekdError, InputError, MachineError
from edgekd.storage import locked, read_json, write_json

CHUNK = 16  # rows that are made between two marks on disk

Fields = Mapping[str, tuple[tuple[int, ...], str]]  # name -> shape of a row, dtype


def store_folder(cache: Path, kind: str, key: Mapping[str, Any]) -> Path:
    """Where the store of ``kind`` for ``key`` is, or would be; ``key`` holds what decides the content."""
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:16]
    return cache / f"{kind}-{digest}"


def stored_rows(
    folder: Path, fields: Fields, count: int, make: Callable[[int], Arrays], progress: Callable[[float], None]
) -> dict[str, Array]:
    """The store, its missing rows made first: name -> (count, ...), read-only.

    Args:
        folder: as ``store_folder`` gives it.
        make: row number -> its arrays, a pure function.
        progress: called with the share that is there, 0..1.

    Raises:
        MachineError: the cache cannot be written (disk full, no permission).
        InputError: the store was changed.
    """
    if not folder.exists():
        with written(folder), locked(folder.with_name(f".{folder.name}.lock")):
            if not folder.exists():  # not made by the process that this one waited for
                _make(folder, fields, count, make, progress, (0, 1))
                os.rename(_partial(folder), folder)
    return _open(folder, fields, count)


def make_rows(
    folder: Path, fields: Fields, count: int, make: Callable[[int], Arrays], progress: Callable[[float], None],
    share: tuple[int, int],
) -> None:  # fmt: skip
    """One of several processes' part of the work: (which, of how many). ``stored_rows`` makes the rest.

    Raises:
        MachineError: the cache cannot be written.
    """
    if not folder.exists():
        with written(folder):
            _make(folder, fields, count, make, progress, share)


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def _make(
    folder: Path, fields: Fields, count: int, make: Callable[[int], Arrays], progress: Callable[[float], None],
    share: tuple[int, int],
) -> None:  # fmt: skip
    temporary = _partial(folder)
    done = temporary / "done"
    with locked(folder.with_name(f".{folder.name}.begin")):
        done.mkdir(parents=True, exist_ok=True)
        for name in fields:
            (temporary / f"{name}.bin").touch()
    write_json(temporary / "meta.json", {"count": count, "fields": {n: [list(s), d] for n, (s, d) in fields.items()}})
    chunks = range(share[0], math.ceil(count / CHUNK), share[1])
    for k, chunk in enumerate(chunks):
        mark = done / str(chunk)
        if not mark.exists():
            first = chunk * CHUNK
            rows = [make(index) for index in range(first, min(count, first + CHUNK))]
            for name, (shape, dtype) in fields.items():
                block = np.stack([np.asarray(row[name], dtype) for row in rows])
                if block.shape[1:] != shape:
                    raise ValueError(f"{name} is {block.shape[1:]}, not {shape}")
                with (temporary / f"{name}.bin").open("r+b") as file:
                    file.seek(first * math.prod(shape) * np.dtype(dtype).itemsize)
                    file.write(block.tobytes())
            with suppress(FileNotFoundError):  # another process made the same and was done first
                mark.touch()
        progress((k + 1) / len(chunks))
    if share == (0, 1):
        shutil.rmtree(done)


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """The cache's folder is there; what the system refuses is a MachineError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise MachineError(
            f"the cache {folder} cannot be written",
            error.strerror or str(error),
            "free space there, or name another folder: --set data.cache=FOLDER",
        ) from error


def _open(folder: Path, fields: Fields, count: int) -> dict[str, Array]:
    try:
        about = read_json(folder / "meta.json")
        if about != {"count": count, "fields": {n: [list(s), d] for n, (s, d) in fields.items()}}:
            raise ValueError("it holds other rows than its name says")
        found: dict[str, Array] = {}
        for name, (shape, dtype) in fields.items():
            path, whole = folder / f"{name}.bin", (count, *shape)
            if path.stat().st_size != math.prod(whole) * np.dtype(dtype).itemsize:
                raise ValueError(f"{name}.bin has another size than meta.json says")
            found[name] = np.memmap(path, dtype, mode="r", shape=whole)
        return found
    except (OSError, ValueError, EdgekdError) as error:
        raise InputError(f"the cache {folder} was changed", str(error), f"delete {folder}") from error


def fingerprint(arrays: Mapping[str, NDArray]) -> str:
    """sha256 over all rows, read a part at a time."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        for first in range(0, len(array), 256):
            digest.update(np.ascontiguousarray(array[first : first + 256]).data)
    return digest.hexdigest()
