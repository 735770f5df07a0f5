"""One tiny run and its bundles, made once by the command line's own functions, for every test that walks the road."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before numpy or torch is imported, here and in every subprocess: a pool of threads spins badly on busy cores.
os.environ["OMP_NUM_THREADS"] = "1"

CONFIG = """\
[data]
train = 48
val = 8
test = 12
cache = "{cache}"

[student]
input_size = 32
width = 0.25

[teacher]
use = "none"

[train]
epochs = 1
batch_size = 16
precision = "fp32"
"""
"""A landmarks student of seconds: drawn faces (kept in ``cache``), 32-pixel input, no teachers, one epoch."""


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Each test begins and ends with one: the torch target sets its own number for the whole process."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TOML that ``tiny_run`` was distilled with; its faces are drawn once for all who use it."""
    folder = tmp_path_factory.mktemp("config")
    path = folder / "tiny.toml"
    path.write_text(CONFIG.format(cache=(folder / "faces").as_posix()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run. Shared: a test that changes it takes ``copy_of(tiny_run)``."""
    from edgekd.training.distill import distill

    return distill("landmarks", tmp_path_factory.mktemp("runs") / "tiny", config_file=tiny_config).path


@pytest.fixture(scope="session")
def tiny_bundles(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Target -> its fp32 bundle of ``tiny_run``. Shared, as ``tiny_run`` is."""
    from edgekd.conversion.export import export

    out = tmp_path_factory.mktemp("bundles")
    bundles = {}
    for result in export(tiny_run, ["onnxruntime", "openvino"], "fp32", out):
        if result.error is not None:
            raise result.error
        assert result.path is not None
        bundles[result.target] = result.path
    return bundles


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[..., Path]:
    """``copy_of(path, name="")``: a private copy of a run or bundle, to be changed at will."""

    def copy(path: Path, name: str = "") -> Path:
        return Path(shutil.copytree(path, tmp_path / (name or path.name)))

    return copy
