"""Keeping Ctrl-C safe beside OpenVINO.

Loading a device plugin leaves its thread with another alternate signal stack, and unloading it unmaps that stack
(seen with OpenVINO 2026.4.1 on Linux). Python's handlers run on it, so the next signal, Ctrl-C above all, would end
the process with a segmentation fault instead of KeyboardInterrupt.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Gives this thread the alternate signal stack back that it had before the block."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
