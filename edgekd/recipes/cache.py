"""A cache of what is slow to make: folders, each made once, whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekd.errors import MachineError
from edgekd.storage import locked


def cache_folder(cache: Path, kind: str, key: Mapping[str, Any]) -> Path:
    """Where the folder of ``kind`` for ``key`` is, or would be: ``KIND-HASH``. ``key`` holds JSON values."""
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:16]
    return cache / f"{kind}-{digest}"


def cached_folder(cache: Path, kind: str, key: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
    """The folder of ``kind`` for ``key``, made first if it is not there: by one process, while others wait for it.

    Args:
        cache: made if missing.
        key: JSON values that decide the content.
        write: fills a temporary folder, which is renamed when it returns.

    Raises:
        MachineError: the cache cannot be written (disk full, no permission).
    """
    folder = cache_folder(cache, kind, key)
    if folder.exists():
        return folder
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")):
            if folder.exists():  # written by the process that this one waited for
                return folder
            shutil.rmtree(temporary, ignore_errors=True)  # a killed process's
            try:
                temporary.mkdir()
                write(temporary)
                os.rename(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise MachineError(
            f"the cache {folder} cannot be written",
            error.strerror or str(error),
            "free space there, or name another folder: --set data.cache=FOLDER",
        ) from error
    return folder
