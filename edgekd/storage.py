"""Anything written is whole or absent: files and folders are made under a temporary name and renamed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgekd.contracts import Array, Arrays
from edgekd.errors import InputError, MachineError, refused_by_system

DEEPEST = 64  # levels of a JSON or TOML document; ours have at most nine
MOST_ARRAY_BYTES = 2**32  # of one npz, unpacked
# Not for a file's name on some system: Windows reads the first two as a path or a stream, and keeps the rest to itself.
_NOT_IN_NAMES = frozenset('\\:<>"|?*')
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))})

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}(\.[^.]+)?")  # what ``whole_file`` writes to: mkstemp's eight characters


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


def inner_path(name: str) -> str:
    """``name``, where it is a path of a file inside of a folder, on every system alike.

    Raises:
        ValueError: it is absolute or climbs out, or some system reads it as something else than a name.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise ValueError(f"{name!r} leaves the folder")
    if "" in parts or "." in parts or len(name) > 1000 or len(max(parts, key=len).encode("utf-8", "replace")) > 255:
        raise ValueError(f"{name[:100]!r} is no path of a file")
    for part in parts:
        if not part.isprintable() or _NOT_IN_NAMES & set(part) or part[-1] in " .":
            raise ValueError(f"{name!r} is no name on every system")
        if part.partition(".")[0].rstrip().upper() in _DEVICES:
            raise ValueError(f"{name!r} is the name of a device on Windows")
    return name


def inner_file(folder: Path, name: str, listed_by: str, fix: str) -> Path:
    """The file ``name`` of ``folder``, every link followed.

    Args:
        listed_by: who says that it is there: the manifest, the run.

    Raises:
        InputError: it is missing, no plain file, or lies outside of the folder, be it by a link.
    """
    file = folder / inner_path(name)
    try:
        found = file.resolve(strict=True)
        inside = found.is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links is a RuntimeError before Python 3.13
        raise InputError(f"{file} is missing", f"the {listed_by} lists it", fix) from None
    if not inside:
        raise InputError(f"{file} leaves its folder", f"it is a link to {found}", fix)
    if not found.is_file():
        raise InputError(f"{file} is missing", f"the {listed_by} lists it, and this is no plain file", fix)
    return found


def refuse_existing(path: Path, overwrite: bool, other: str = "", marker: str = "") -> None:
    """Refuses, before any work is done, an output that cannot be written or must not be replaced.

    Args:
        other: what else may be done about an existing output.
        marker: the file by which a folder is known as what is written here (``run.json``); empty: a file is written.

    Raises:
        InputError: ``path`` exists and ``overwrite`` is False; it is something else than what is written here;
            a file stands where one of its folders must be.
    """
    for above in path.parents:
        if above.exists() and not above.is_dir():
            raise InputError(f"cannot write {path}", f"{above} is a file", "choose another --out")
    if not path.exists() or (marker and _is_empty(path)):
        return
    if marker and not (path / marker).is_file():
        why = f"it has no {marker}, so it is not replaced, with or without --overwrite"
        raise InputError(f"{path} exists and is something else", why, "choose another --out")
    if not marker and path.is_dir():
        raise InputError(f"{path} is a folder", "a file is written here", "choose another --out")
    if not overwrite:
        fix = "--overwrite replaces it" + (f", {other}" if other else "")
        raise InputError(f"{path} exists", "existing output is never replaced unasked", fix)


def _is_empty(path: Path) -> bool:
    """A folder with nothing in it, or only with what a killed process left of a file."""
    return path.is_dir() and all(_TEMPORARY.fullmatch(inside.name) for inside in path.iterdir())


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
    if path.exists() and not _is_empty(path) and not (overwrite and path.is_dir()):
        raise InputError(f"{path} exists", "existing output is never replaced unasked", "--overwrite replaces a folder")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o777 & ~umask)
            replace_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Renames ``new`` to ``path``; a folder that was there is removed afterwards, or put back if that fails."""
    path = path.resolve()
    old = _aside(path)
    try:
        if path.exists():
            path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    finally:
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def discard_folder(path: Path) -> None:
    """Removes a folder: there in whole, or gone."""
    if path.exists():
        path = path.resolve()
        path.rename(_aside(path))
        shutil.rmtree(_aside(path))


def sweep_discarded(path: Path) -> None:
    """Finishes the removal of what was at ``path`` and was moved aside by a process that was killed then."""
    path = path.resolve()
    for old in path.parent.glob(f".{path.name}.old-*"):
        shutil.rmtree(old, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old-{os.getpid()}")


def sweep(folder: Path) -> None:
    """Removes what a killed process left of files that were being written to ``folder`` or below it, and no other."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock file ``path``, which the operating system lets go of however this process ends.

    Args:
        wait: until it is free; otherwise False is yielded where another process holds it.
    """
    from filelock import FileLock, Timeout  # of torch's dependencies; a device needs no lock

    lock = FileLock(path, timeout=-1 if wait else 0)
    with _explained(path), suppress(Timeout):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    if not lock.is_locked:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # while it is held, so that nobody takes a file that is gone; Windows keeps it
            path.unlink(missing_ok=True)
        lock.release()


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1) + "\n")


def read_text(path: Path) -> str:
    """The file's text, line endings as they are."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}", error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged", f"not valid UTF-8: {error}") from None


def read_json(path: Path) -> Any:
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path) -> Any:
    """``path`` is where ``text`` was read from."""
    try:
        data = json.loads(text, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged", f"not valid JSON: {error}") from None
    if too_deep(data):
        raise InputError(f"{path} is damaged", f"it is nested more than {DEEPEST} levels deep")
    if "\\u" in text:  # an escape may stand for half a character, which nothing can print or write again
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{path} is damaged", f"it holds half a character: {error.reason}") from None
    return data


def _whole_number(digits: str) -> int:
    """Beyond 64 bits, counts and sizes are damage, and neither numpy nor a float takes them."""
    if len(digits) > 20 or not -(2**63) <= (number := int(digits)) < 2**64:
        raise ValueError(f"{digits[:30]} has more than 64 bits")
    return number


def too_deep(data: Any) -> bool:
    """Whether lists and mappings lie in each other more than ``DEEPEST`` levels; whatever walks them then may."""
    level = [data]
    for _ in range(DEEPEST):
        nested = [item for item in level if isinstance(item, (dict, list))]
        level = [inner for item in nested for inner in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return any(isinstance(item, (dict, list)) for item in level)


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Compressed npz. Raises TypeError for arrays of objects, which numpy would pickle."""
    objects = sorted(name for name, value in arrays.items() if np.asarray(value).dtype.hasobject)
    if objects:
        raise TypeError(f"{', '.join(objects)}: objects are not written, only arrays of numbers and text")
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, Array]:
    """Plain arrays of numbers or text; never a pickled object, nor more memory than the file says and has.

    Raises:
        InputError: missing, damaged, or something else in it than one array per name.
    """
    with _arrays_explained(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        twice = [name for name, n in Counter(member.filename for member in members).items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]} is in it twice")
        if sum(member.file_size for member in members) > MOST_ARRAY_BYTES:
            raise ValueError(f"its arrays have more than {MOST_ARRAY_BYTES / 2**30:g} GiB")
        arrays = {}
        for member in members:
            with archive.open(member) as stream:
                arrays[member.filename.removesuffix(".npy")] = _read_npy(stream, member.file_size)
        return arrays


def read_array(path: Path) -> Array:
    """One ``.npy``, as strictly as ``read_arrays``."""
    with _arrays_explained(path), path.open("rb") as stream:
        return _read_npy(stream, path.stat().st_size)


def _read_npy(stream: IO[bytes], size: int) -> Array:
    """An array from ``size`` bytes in numpy's format, whose header must say just that size."""
    npy: Any = np.lib.format  # it has no types
    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(stream)
    if version not in headers:
        raise ValueError(f"numpy's format {version} holds no plain array")
    shape, _, dtype = headers[version](stream)
    if dtype.kind not in "biufcSU":
        raise ValueError(f"an array of {dtype}")
    if any(axis < 0 for axis in shape) or math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"{shape} of {dtype} is another size than its {size} bytes")
    stream.seek(0)
    array: Array = npy.read_array(stream, allow_pickle=False)
    return array


@contextmanager
def _arrays_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise MachineError(f"there is too little memory for {path}") from None
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
        told = refused_by_system(error, path)
        if told is None:
            raise
        raise told from None
