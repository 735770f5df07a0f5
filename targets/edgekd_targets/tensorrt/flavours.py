"""Which TensorRT: TensorRT-RTX, which builds engines without a GPU, or full TensorRT, which builds on the device."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgekd.errors import InputError, MachineError, nearest


@dataclass(frozen=True)
class Flavour:
    """``ahead_of_time``: its builder needs neither a GPU nor a driver."""

    name: str
    title: str
    module: str
    fix: str
    ahead_of_time: bool


FLAVOURS = {
    "rtx": Flavour("rtx", "TensorRT-RTX", "tensorrt_rtx", 'pip install "edgekd[tensorrt-rtx]"', True),
    "full": Flavour(
        "full",
        "TensorRT",
        "tensorrt",
        'pip install "edgekd[tensorrt]" on the device; a Jetson has it with JetPack',
        False,
    ),
}


def flavour_of(options: Mapping[str, Any]) -> Flavour:
    """The one that a profile's ``[runtime]`` names.

    Raises:
        InputError: it names another, or none.
    """
    name = options.get("flavour")
    if name not in FLAVOURS:
        raise InputError(f"tensorrt has no flavour {name!r}", fix=nearest(str(name), FLAVOURS))
    return FLAVOURS[str(name)]


def library(flavour: Flavour) -> ModuleType:
    """Its Python API.

    Raises:
        MachineError: it is not installed, or does not load.
    """
    try:
        return importlib.import_module(flavour.module)
    except (ImportError, OSError) as error:  # the second: one of its own shared libraries
        raise MachineError(f"{flavour.title} is not installed", str(error), flavour.fix) from None


def logger(trt: ModuleType) -> Any:
    """TensorRT says only to its logger why something failed; this one keeps the errors, in order, in ``errors``."""
    severity = trt.ILogger.Severity

    class Kept(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.said: list[str] = []  # by the last call that was asked about

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.errors.append(message)
            if level != severity.VERBOSE:
                self.said.append(message)

    return Kept()
