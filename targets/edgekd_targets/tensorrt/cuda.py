"""CUDA's driver API, as far as a session needs it, from the driver's own library; no package is needed.

Prototypes are those of cuda.h 12.9. TensorRT works in the same primary context of the device.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from edgekd.contracts import Array
from edgekd.errors import MachineError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: work on the default stream does not wait for ours, nor ours for it
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL

_int, _uint, _size, _address = ctypes.c_int, ctypes.c_uint, ctypes.c_size_t, ctypes.c_uint64
_handle = ctypes.c_void_p
_out = ctypes.POINTER
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuInit": (_uint,),
    "cuDriverGetVersion": (_out(_int),),
    "cuGetErrorString": (_int, _out(ctypes.c_char_p)),
    "cuDeviceGetCount": (_out(_int),),
    "cuDeviceGet": (_out(_int), _int),
    "cuDeviceGetName": (ctypes.c_char_p, _int, _int),
    "cuDeviceGetAttribute": (_out(_int), _int, _int),
    "cuDevicePrimaryCtxRetain": (_out(_handle), _int),
    "cuCtxSetCurrent": (_handle,),
    "cuStreamCreate": (_out(_handle), _uint),
    "cuStreamDestroy_v2": (_handle,),
    "cuStreamSynchronize": (_handle,),
    "cuEventCreate": (_out(_handle), _uint),
    "cuEventDestroy_v2": (_handle,),
    "cuEventRecord": (_handle, _handle),
    "cuEventElapsedTime": (_out(ctypes.c_float), _handle, _handle),
    "cuMemAlloc_v2": (_out(_address), _size),
    "cuMemFree_v2": (_address,),
    "cuMemHostAlloc": (_out(_handle), _size, _uint),
    "cuMemFreeHost": (_handle,),
    "cuMemcpyHtoDAsync_v2": (_address, _handle, _size, _handle),
    "cuMemcpyDtoHAsync_v2": (_handle, _address, _size, _handle),
    "cuStreamBeginCapture_v2": (_handle, _int),
    "cuStreamEndCapture": (_handle, _out(_handle)),
    "cuGraphInstantiateWithFlags": (_out(_handle), _handle, ctypes.c_ulonglong),
    "cuGraphLaunch": (_handle, _handle),
    "cuGraphDestroy": (_handle,),
    "cuGraphExecDestroy": (_handle,),
}


@dataclass(frozen=True)
class Device:
    """``capability`` as ``sm_86``; ``driver`` is the newest CUDA that it supports, as ``12.9``."""

    name: str
    capability: str
    driver: str


class Driver:
    """The functions by name; each raises MachineError unless it succeeds.

    Raises:
        MachineError: no driver, one that does not start, or one that is too old for a function.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise MachineError(
                "there is no NVIDIA driver here", f"{LIBRARY} is not found", "run it where nvidia-smi lists a GPU"
            ) from None
        for name, arguments in PROTOTYPES.items():
            try:
                getattr(self._library, name).argtypes = arguments
            except AttributeError:
                raise MachineError("the NVIDIA driver is too old", f"it has no {name}", "install a newer one") from None
        self("cuInit", 0)

    def __call__(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            said = ctypes.c_char_p()
            self._library.cuGetErrorString(code, ctypes.byref(said))
            text = said.value.decode(errors="replace") if said.value else "an unknown error"
            raise MachineError(f"CUDA's {name} failed", f"error {code}: {text}", "nvidia-smi shows driver and GPU")


@lru_cache(maxsize=1)
def driver() -> Driver:
    return Driver()


def first_device() -> Device:
    """The GPU that is used; ``CUDA_VISIBLE_DEVICES`` chooses another.

    Raises:
        MachineError: no driver or no GPU.
    """
    call, count = driver(), _int()
    call("cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise MachineError("CUDA sees no GPU", "the driver is there", "check CUDA_VISIBLE_DEVICES and nvidia-smi")
    device, major, minor, newest = _int(), _int(), _int(), _int()
    name = ctypes.create_string_buffer(256)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDeviceGetName", name, len(name), device)
    call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    call("cuDriverGetVersion", ctypes.byref(newest))
    version = f"{newest.value // 1000}.{newest.value % 1000 // 10}"
    return Device(name.value.decode(errors="replace"), f"sm_{major.value}{minor.value}", version)


@lru_cache(maxsize=1)
def _context() -> int:
    """The device's primary context, retained for the life of the process."""
    context, device = _handle(), _int()
    driver()("cuDeviceGet", ctypes.byref(device), 0)
    driver()("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    return int(context.value or 0)


def enter() -> None:
    """Makes the device's context this thread's: a session may be used by another thread than it was loaded in."""
    driver()("cuCtxSetCurrent", _context())


class Stream:
    """A stream of our own, and two events on it that time what lies between them on the device."""

    def __init__(self) -> None:
        enter()
        handles = [_handle() for _ in range(3)]
        driver()("cuStreamCreate", ctypes.byref(handles[0]), _NON_BLOCKING)
        for event in handles[1:]:
            driver()("cuEventCreate", ctypes.byref(event), 0)
        self.handle, self._start, self._stop = (int(h.value or 0) for h in handles)

    def start(self) -> None:
        driver()("cuEventRecord", self._start, self.handle)

    def stop(self) -> None:
        driver()("cuEventRecord", self._stop, self.handle)

    def synchronize(self) -> None:
        driver()("cuStreamSynchronize", self.handle)

    def elapsed_ms(self) -> float:
        """Between ``start`` and ``stop``, once synchronized; in steps of about 0.5 µs."""
        found = ctypes.c_float()
        driver()("cuEventElapsedTime", ctypes.byref(found), self._start, self._stop)
        return float(found.value)

    def close(self) -> None:
        for event in (self._start, self._stop):
            driver()("cuEventDestroy_v2", event)
        driver()("cuStreamDestroy_v2", self.handle)


class Buffer:
    """Memory on the device and pinned memory of the same size on the host, seen as ``host``."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.size_bytes = max(1, prod(shape) * np.dtype(dtype).itemsize)
        address, pinned = _address(), _handle()
        driver()("cuMemAlloc_v2", ctypes.byref(address), self.size_bytes)
        driver()("cuMemHostAlloc", ctypes.byref(pinned), self.size_bytes, 0)
        self.address, self._pinned = int(address.value), int(pinned.value or 0)
        raw = (ctypes.c_uint8 * self.size_bytes).from_address(self._pinned)
        self.host: Array = np.frombuffer(memoryview(raw), dtype=dtype, count=prod(shape)).reshape(shape)

    def to_device(self, stream: Stream) -> None:
        driver()("cuMemcpyHtoDAsync_v2", self.address, self._pinned, self.host.nbytes, stream.handle)

    def to_host(self, stream: Stream) -> None:
        driver()("cuMemcpyDtoHAsync_v2", self._pinned, self.address, self.host.nbytes, stream.handle)

    def close(self) -> None:
        driver()("cuMemFree_v2", self.address)
        driver()("cuMemFreeHost", self._pinned)


class CudaGraph:
    """What was put on a stream between ``begin`` and ``end``, launched as one."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._executable = stream, 0
        driver()("cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL)

    def end(self) -> None:
        graph, executable = _handle(), _handle()
        driver()("cuStreamEndCapture", self._stream.handle, ctypes.byref(graph))
        try:
            driver()("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
        finally:
            driver()("cuGraphDestroy", graph)
        self._executable = int(executable.value or 0)

    def launch(self) -> None:
        driver()("cuGraphLaunch", self._executable, self._stream.handle)

    def close(self) -> None:
        driver()("cuGraphExecDestroy", self._executable)
