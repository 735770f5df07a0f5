"""Anything written is whole or absent: files and folders are made under a temporary name and renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.contracts import Array, Arrays
from edgekd.errors import InputError, MachineError


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        if hasattr(hashlib, "file_digest"):
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def sha256_arrays(arrays: Arrays) -> str:
    """Over names, shapes, types and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{value.dtype.str}{value.shape}".encode())
        digest.update(value.data)
    return digest.hexdigest()


def refuse_existing(path: Path, overwrite: bool, other: str = "") -> None:
    """An existing output is refused unless ``overwrite``."""
    if path.exists() and not overwrite:
        fix = "--overwrite replaces it" + (f", {other}" if other else "")
        raise InputError(f"{path} exists", "existing output is never replaced unasked", fix)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; renamed over it when the block succeeds, removed when not."""
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary folder beside ``path``; renamed to it when the block succeeds, removed when not."""
    refuse_existing(path, overwrite)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o777 & ~umask)
            old = None
            if path.exists():
                old = path.with_name(f".{path.name}.old-{os.getpid()}")
                path.rename(old)
            try:
                temporary.rename(path)
            except OSError:
                if old is not None:
                    old.rename(path)
                raise
            if old is not None:
                shutil.rmtree(old)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}", error.strerror or str(error)) from None
    except ValueError as error:
        raise InputError(f"{path} is damaged", f"not valid JSON: {error}") from None


def write_arrays(path: Path, arrays: Arrays) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, Array]:
    """Plain arrays only: a pickled object in the file is refused."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise InputError(f"cannot read {path}", error.strerror or str(error)) from None
    except Exception as error:  # zipfile, zlib and numpy each raise their own on a damaged file
        raise InputError(f"{path} is damaged or holds objects, not arrays", str(error)) from None


def section(arrays: Arrays, prefix: str) -> dict[str, Array]:
    """The arrays named ``prefix/NAME``, by NAME."""
    return {k[len(prefix) + 1 :]: v for k, v in arrays.items() if k.startswith(prefix + "/")}


def row(arrays: Arrays, index: int) -> dict[str, Array]:
    return {name: value[index] for name, value in arrays.items()}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """An operating system's refusal to write, in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise InputError(f"cannot write {path}", f"{error.filename} is in the way") from None
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise MachineError(f"cannot write {path}", f"{error.strerror}; nothing was left behind") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f"cannot write {path}", error.strerror or "not permitted") from None
        raise
