"""The command line in this process, and what must hold whatever a user gives it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekd.cli.main import run
from edgekd.storage import sha256_file


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[str]:
        """Each message from ``error:`` to the next one; progress lines are none."""
        lines = [line for line in self.err.splitlines() if not re.match(r"\[ *\d+%\]", line)]
        return [part.strip() for part in re.split(r"^(?=error: )", "\n".join(lines), flags=re.M) if part.strip()]

    def says(self, code: int, *parts: str) -> None:
        """One message that holds every part, the code, and no traceback."""
        assert self.code == code, self.err
        assert len(self.messages) == 1, self.err
        message = self.messages[0]
        assert message.startswith("error: "), self.err
        assert "Traceback" not in self.err
        assert "a bug in edgekd" not in message
        assert "why: " in message or "fix: " in message, f"neither reason nor remedy: {message}"
        for part in parts:
            assert part in message, f"{part!r} is not in:\n{message}"


@pytest.fixture
def edgekd(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """``edgekd(*arguments)``: runs the command line in this process; captures file descriptors, so native code too."""

    def call(*arguments: object) -> Ended:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return call


@dataclass(frozen=True)
class Benched:
    """One ``bench --json`` of a sound bundle and a broken one."""

    code: int
    document: Any
    folder: Path
    err: str


@pytest.fixture(scope="session")
def benched(tiny_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Benched:
    """Shared: a test that changes its measurement copies it."""
    broken = Path(shutil.copytree(tiny_bundles["openvino"], tmp_path_factory.mktemp("broken") / "broken"))
    (broken / "model.bin").unlink()
    folder = tmp_path_factory.mktemp("bench") / "measurements"
    out, err = io.StringIO(), io.StringIO()
    contenders = [str(broken), str(tiny_bundles["onnxruntime"])]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["bench", *contenders, "--length", "quick", "--out", str(folder), "--json"])
    return Benched(code, json.loads(out.getvalue()), folder, err.getvalue())


@pytest.fixture
def edit_json() -> Callable[..., None]:
    """``edit_json(path, change)``: what a hand with an editor would do."""

    def edit(path: Path, change: Callable[[Any], Any]) -> None:
        data = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(change(data)), encoding="utf-8")

    return edit


@pytest.fixture
def forge(edit_json: Callable[..., None]) -> Callable[[Path, str], None]:
    """``forge(run, name)``: gives a changed file of a run its new sha256, as someone with bad intentions would."""

    def relist(folder: Path, name: str) -> None:
        def change(record: dict[str, Any]) -> dict[str, Any]:
            record["files"][name] = sha256_file(folder / name)
            return record

        edit_json(folder / "run.json", change)

    return relist


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, str]]:
    """``snapshot(folder)``: every file below it, hidden ones too, with its sha256; folders with an empty one."""

    def take(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): sha256_file(path) if path.is_file() else ""
            for path in sorted(folder.rglob("*"))
        }

    return take


@pytest.fixture
def file_size_limit() -> Callable[[int], Any]:
    """``with file_size_limit(bytes):`` no file may grow beyond it. Python ignores SIGXFSZ, so a write raises EFBIG."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``python(*arguments, without=[...], cwd=...)``: a fresh interpreter in which some packages cannot be imported."""

    def call(
        *arguments: object, without: tuple[str, ...] = (), cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=cwd,
            env=os.environ | blocked(without, cwd),
        )

    def blocked(packages: tuple[str, ...], folder: Path | None) -> dict[str, str]:
        if not packages:
            return {}
        assert folder is not None
        site = folder / "site"
        site.mkdir(exist_ok=True)
        lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in packages)]
        (site / "sitecustomize.py").write_text("\n".join(lines), encoding="utf-8")
        return {"PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))}

    return call


@pytest.fixture
def picture() -> Callable[[Path], Path]:
    """``picture(path)``: a small picture of noise."""

    def make(path: Path, side: int = 48) -> Path:
        import numpy as np
        from PIL import Image

        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return make
