"""Packages of other people, installed for as long as a test takes, and what was made with them once."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgekd import registry

THIRD_PARTY = Path(__file__).parents[1] / "third_party"


@contextmanager
def installed(site: Path, entry_points: str, folder: Path = THIRD_PARTY) -> Iterator[None]:
    """A distribution in ``site`` with these entry points, its packages in ``folder``; gone afterwards."""
    before, path = set(sys.modules), list(sys.path)
    distribution = site / f"someone{len(list(site.glob('*')))}-1.0.dist-info"
    distribution.mkdir(parents=True)
    name = distribution.name.partition("-")[0]
    (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text(entry_points)
    sys.path[:0] = [str(site), str(folder)]
    importlib.invalidate_caches()
    _forget()
    try:
        yield
    finally:
        sys.path[:] = path
        _forget()
        for module in set(sys.modules) - before:
            if module.partition(".")[0] in {p.name for p in THIRD_PARTY.iterdir()}:
                del sys.modules[module]


def _forget() -> None:
    registry.recipes.cache_clear()
    registry.targets.cache_clear()


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """``install(entry_points, folder)``: for the rest of the test."""
    from contextlib import ExitStack

    with ExitStack() as held:
        yield lambda entry_points, folder=THIRD_PARTY: held.enter_context(
            installed(tmp_path / "site", entry_points, folder)
        )


@pytest.fixture
def line(install: Callable[..., None]) -> str:
    """The name of a recipe from another package."""
    install("[edgekd.recipes]\nline = edgekd_line\n")
    return "line"


@pytest.fixture
def stream(install: Callable[..., None]) -> str:
    """The name of a recipe whose student has state."""
    install("[edgekd.recipes]\nstream = edgekd_stream\n")
    return "stream"


@pytest.fixture
def mirror(install: Callable[..., None]) -> str:
    """The name of a recipe of three inputs, whose bundles hold three graphs."""
    install("[edgekd.recipes]\nmirror = edgekd_mirror\n")
    return "mirror"


@pytest.fixture(scope="session")
def stream_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``stream``. Shared."""
    return _distilled("stream", tmp_path_factory)


@pytest.fixture(scope="session")
def mirror_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``mirror``. Shared."""
    return _distilled("mirror", tmp_path_factory)


def _distilled(recipe: str, folders: pytest.TempPathFactory) -> Path:
    from edgekd.training.distill import distill

    with installed(folders.mktemp("site"), f"[edgekd.recipes]\n{recipe} = edgekd_{recipe}\n"):
        return distill(recipe, folders.mktemp("runs") / recipe, settings=["train.precision=fp32"]).path


@pytest.fixture(scope="session")
def mirror_bundles(mirror_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Target -> its fp32 bundle of ``mirror_run``, with its three graphs. Shared."""
    from edgekd.conversion.export import export

    bundles = {}
    with installed(tmp_path_factory.mktemp("site"), "[edgekd.recipes]\nmirror = edgekd_mirror\n"):
        for result in export(mirror_run, ["onnxruntime", "openvino"], "fp32", tmp_path_factory.mktemp("bundles")):
            assert result.path is not None, result.error
            bundles[result.target] = result.path
    return bundles


@pytest.fixture
def reseal() -> Callable[..., Path]:
    """``reseal(bundle, key=value)``: files listed as they are now, keys of the manifest changed, and sealed."""
    from edgekd.bundle.manifest import Manifest, write_manifest
    from edgekd.storage import sha256_file

    def write(folder: Path, **changes: Any) -> Path:
        data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        del data["$schema"]
        data["files"] = {
            p.relative_to(folder).as_posix(): {"sha256": sha256_file(p), "bytes": p.stat().st_size}
            for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name != "manifest.json"
        }
        write_manifest(folder, Manifest.model_validate(data | changes))
        return folder

    return write
