"""Resident memory of this process, each figure by its name. Never virtual size: it does not repeat."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

STATUS = Path("/proc/self/status")
ROLLUP = Path("/proc/self/smaps_rollup")
CLEAR_REFS = Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def forget_high_water() -> str | None:
    """Sets the high-water mark back to what is resident now; the reason where the system cannot.

    Without it, a passing peak while modules were imported would be taken for the model's.
    """
    try:
        CLEAR_REFS.write_text("5", encoding="ascii")  # proc(5): resets the peak resident set size
    except OSError as error:
        return f"the peak of the imports is in it: {error.strerror or error}"
    return None


def high_water_bytes() -> int:
    """The most that was ever resident.

    On Linux from VmHWM: ru_maxrss also counts what the process was before exec, that is its parent's pages.
    """
    high = _kibibytes(STATUS, "VmHWM:")
    if high is not None:
        return high
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def proportional_bytes() -> int | None:
    """PSS: pages shared with other processes counted in part; None where the system does not tell."""
    return _kibibytes(ROLLUP, "Pss:")


def _kibibytes(path: Path, key: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None
