"""What is slow to make and is no table of rows: a folder of a cache, made once, whole or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekd.recipes.rows import store_folder, written
from edgekd.storage import locked


def cached_folder(cache: Path, kind: str, key: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
    """The folder of ``kind`` for ``key``, made first if it is not there: by one process, while others wait for it.

    Args:
        cache: made if missing.
        key: JSON values that decide the content.
        write: fills a temporary folder, which is renamed when it returns.

    Raises:
        MachineError: the cache cannot be written (disk full, no permission).
    """
    folder = store_folder(cache, kind, key)
    if folder.exists():
        return folder
    temporary = folder.with_name(f".{folder.name}.partial")
    with written(folder), locked(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():  # by the process that this one waited for
            return folder
        shutil.rmtree(temporary, ignore_errors=True)  # a killed process's
        try:
            temporary.mkdir()
            write(temporary)
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder
