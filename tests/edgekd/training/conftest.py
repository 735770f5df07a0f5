"""Ways to stop a run in the middle, and to read what it logged."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest


class StoppedError(Exception):
    """Raised in the middle of training, where a power cut would be."""


@pytest.fixture(scope="session")
def stop_at() -> Callable[[str, type[BaseException]], Callable[[str, float], None]]:
    """``stop_at("student: epoch 2")``: a progress callback that raises there."""

    def make(where: str, error: type[BaseException] = StoppedError) -> Callable[[str, float], None]:
        def tell(what: str, share: float) -> None:
            if what.startswith(where):
                raise error

        return tell

    return make


@pytest.fixture(scope="session")
def stopped() -> type[Exception]:
    return StoppedError


@pytest.fixture(scope="session")
def curves() -> Callable[..., list[tuple[str, ...]]]:
    """``curves(stage folder)``: the rows of metrics.csv that a clock has no part in."""

    def read(folder: Path, timed: bool = False) -> list[tuple[str, ...]]:
        with (folder / "metrics.csv").open(newline="") as file:
            rows = [tuple(row) for row in csv.reader(file)][1:]
        return [row for row in rows if timed or row[2] != "images_per_second"]

    return read
