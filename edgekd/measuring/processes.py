"""Starting a worker process, waiting for it, and leaving nothing of it behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

import edgekd
from edgekd.errors import Exit
from edgekd.measuring.worker import WorkerError, WorkerResult, WorkerSpec


def run_worker(spec: WorkerSpec) -> WorkerResult:
    """Runs the spec in a fresh process. What it printed on stderr is used only where it died without a word.

    Whatever interrupts the wait, KeyboardInterrupt among it, first ends the worker and its children.
    """
    spec = spec.model_copy(update={"spawned_ns": time.monotonic_ns()})
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekd.measuring.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # runtimes greet there
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=_environment(),
    )
    try:
        _, stderr = process.communicate(spec.model_dump_json())
    except BaseException:
        _end(process)
        raise
    written = Path(spec.result)
    if written.exists():
        result = WorkerResult.model_validate_json(written.read_text(encoding="utf-8"))
        written.unlink()
        return result
    return WorkerResult(error=_death(spec, process.returncode, stderr))


def _death(spec: WorkerSpec, code: int, stderr: str) -> WorkerError:
    last = stderr.strip().splitlines()[-1] if stderr.strip() else ""
    if code < 0:
        name = signal.Signals(-code).name
        why = f"its process was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
    else:
        why = f"its process left with code {code} and no result"
    return WorkerError(
        what=f"{spec.path} could not be measured",
        why=f"{why}: {last}" if last else why,
        fix="run it once with `edgekd verify` to see what the runtime says",
        code=int(Exit.MACHINE),
        trace=stderr,
    )


def _environment() -> dict[str, str]:
    """This process's, with edgekd's own folder on the path where it runs from a checkout."""
    environment = dict(os.environ)
    home = Path(edgekd.__file__).resolve().parent.parent
    if home.name not in ("site-packages", "dist-packages"):
        paths = [str(home), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


def _end(process: subprocess.Popen[str]) -> None:
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    for child in family:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
