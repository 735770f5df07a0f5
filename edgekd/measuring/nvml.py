"""What NVIDIA's driver counts for this process, from its own library; no package is needed."""

from __future__ import annotations

import ctypes
import os
import sys

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_SUCCESS = 0
_UNKNOWN = (1 << 64) - 1  # NVML_VALUE_NOT_AVAILABLE
_MOST = 1024  # processes on one device


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t of nvmlDeviceGetComputeRunningProcesses_v3."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def process_bytes() -> int | str:
    """Device memory of this process over all devices; the reason, in words, where the driver does not tell.

    A container's process has another number outside, which is the one that the driver knows: there it is not found.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return "no NVIDIA driver"
    if library.nvmlInit_v2() != _SUCCESS:
        return "NVML does not start: the driver is not loaded"
    try:
        devices = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(devices)) != _SUCCESS:
            return "NVML counts no devices"
        own = [p.used_bytes for i in range(devices.value) for p in _processes(library, i) if p.pid == os.getpid()]
    finally:
        library.nvmlShutdown()
    if not own:
        return "NVML lists no process of this number: it uses no GPU, or a container hides its number"
    if _UNKNOWN in own:
        return "NVML does not count the memory of processes here"
    return sum(own)


def _processes(library: ctypes.CDLL, index: int) -> list[_Process]:
    device = ctypes.c_void_p()
    count, found = ctypes.c_uint(_MOST), (_Process * _MOST)()
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) != _SUCCESS:
        return []
    code = library.nvmlDeviceGetComputeRunningProcesses_v3(device, ctypes.byref(count), found)
    return list(found[: count.value]) if code == _SUCCESS else []
