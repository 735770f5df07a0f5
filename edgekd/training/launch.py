"""Starts the processes of one machine that train together, hears rank 0, and ends all when one ends badly.

Each is ``python -m edgekd.training.rank`` with the environment that torchrun would give it. So it does not
matter how the caller was started: a console script, a module, a script without a main guard, a notebook.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from edgekd.errors import EdgekdError, Exit, MachineError

GRACE_S = 5.0  # to tidy up after Ctrl-C, and to say why they ended


class _RemoteError(Exception):
    """The traceback of another process, shown by --debug."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def launch(count: int, call: Mapping[str, Any], tell: Callable[[str, float], None]) -> None:
    """Runs ``distill(**call)`` in ``count`` processes of this machine.

    Args:
        call: plain JSON data.
        tell: hears what rank 0 says of its progress.

    Raises:
        EdgekdError: what the first rank to fail said.
        MachineError: one was killed.
    """
    port = _free_port()
    said: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    family: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            process = subprocess.Popen(
                [sys.executable, "-m", "edgekd.training.rank"],
                stdin=subprocess.PIPE,  # held open: its end tells them that this process is gone
                stdout=subprocess.PIPE,
                env=_environment(rank, count, port),
                start_new_session=True,  # Ctrl-C comes to them from here, once
            )
            family.append(process)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"call": call, "path": sys.path}).encode() + b"\n")
            process.stdin.flush()
            threading.Thread(target=_listen, args=(rank, process.stdout, said), daemon=True).start()
        _hear(family, said, tell)
    finally:
        _end(family)


def _hear(
    family: list[subprocess.Popen[bytes]],
    said: queue.Queue[tuple[int, dict[str, Any] | None]],
    tell: Callable[[str, float], None],
) -> None:
    """Until all have ended. Raises the error that was first, if it comes in time rather than what followed from it."""
    running, failed, until = set(range(len(family))), dict[int, _Failure](), None
    while running and (until is None or time.monotonic() < until):
        try:
            rank, message = said.get(timeout=0.5)
        except queue.Empty:
            continue
        if message is None:
            running.discard(rank)
            if (code := family[rank].wait()) and rank not in failed:
                failed[rank] = _Failure(_death(rank, code))
        elif "tell" in message:
            tell(*message["tell"])
        else:
            failed[rank] = _failure(message)
        if any(not failure.followed for failure in failed.values()):
            break
        if failed and until is None:
            until = time.monotonic() + GRACE_S
    if failed:
        raise min(failed.values(), key=lambda failure: failure.followed).error


@dataclass(frozen=True)
class _Failure:
    """How a process ended. ``followed``: only because another one did."""

    error: BaseException
    followed: bool = False


def _failure(told: dict[str, Any]) -> _Failure:
    error: BaseException
    if "what" in told:
        error = EdgekdError(told["what"], told["why"], told["fix"])
        error.code = Exit(told["code"])
    else:
        error = RuntimeError(told["bug"])
    error.__cause__ = _RemoteError(told["trace"])
    return _Failure(error, told.get("followed", False))


def _death(rank: int, code: int) -> BaseException:
    if code == Exit.INTERRUPTED:
        return KeyboardInterrupt()
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return MachineError(
        f"process {rank} of the run {how}",
        "as when memory runs out" if code == -signal.SIGKILL else "it said nothing",
        "the others were stopped; --resume goes on from the last finished epoch",
    )


def _listen(rank: int, lines: IO[bytes], said: queue.Queue[tuple[int, dict[str, Any] | None]]) -> None:
    for line in lines:
        said.put((rank, json.loads(line)))
    said.put((rank, None))


def _end(family: list[subprocess.Popen[bytes]]) -> None:
    for process in family:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    until = time.monotonic() + GRACE_S
    for process in family:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    """As torchrun's, on one machine."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC_")}
    return {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        **ours,
        "TORCHELASTIC_RUN_ID": "edgekd",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
