"""How many threads a session may use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from edgekd.errors import InputError


def thread_count(options: Mapping[str, Any]) -> int:
    """The profile's ``threads``; 0 or absent means every CPU this process may run on."""
    asked = options.get("threads") or 0
    if not isinstance(asked, int) or asked < 0:
        raise InputError(
            f"threads = {asked!r} cannot be used", "it is a number of threads; 0 is every CPU", "threads = 0"
        )
    if asked > 0:
        return asked
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
