"""coremltools, imported and called without what it prints: what it cannot load on Linux, its bars, torch's version."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from edgekd.errors import MachineError

FIX = 'pip install "edgekd[coreml]"'


def coremltools() -> Any:
    """The package.

    Raises:
        MachineError: it is not installed.
    """
    with quiet():
        try:
            import coremltools
        except ImportError as error:
            raise MachineError("coremltools is not installed", str(error), FIX) from None
    return coremltools


@contextmanager
def quiet() -> Iterator[None]:
    """edgekd shows progress in one place, and errors as exceptions."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            open(os.devnull, "w") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
