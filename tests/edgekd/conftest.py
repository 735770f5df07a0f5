"""Packages of other people, installed for as long as a test takes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekd import registry

THIRD_PARTY = Path(__file__).parents[1] / "third_party"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """``install(entry_points, folder)``: a distribution with these entry points, its packages in ``folder``."""
    before = set(sys.modules)

    def put(entry_points: str, folder: Path = THIRD_PARTY) -> None:
        made = tmp_path / "site"
        distribution = made / f"someone{len(list(made.glob('*')))}-1.0.dist-info"
        distribution.mkdir(parents=True)
        name = distribution.name.partition("-")[0]
        (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (distribution / "entry_points.txt").write_text(entry_points)
        for path in (made, folder):
            monkeypatch.syspath_prepend(str(path))
        importlib.invalidate_caches()
        forget()

    def forget() -> None:
        registry.recipes.cache_clear()
        registry.targets.cache_clear()

    yield put
    forget()
    for module in set(sys.modules) - before:
        if module.partition(".")[0] in {p.name for p in THIRD_PARTY.iterdir()}:
            del sys.modules[module]


@pytest.fixture
def line(install: Callable[..., None]) -> str:
    """The name of a recipe from another package."""
    install("[edgekd.recipes]\nline = edgekd_line\n")
    return "line"
