"""What may come of loading a file: a value, or one message. And what may not: code, connections, other files."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekd.errors import EdgekdError, Exit

LONGEST_MESSAGE = 5000
_NEVER = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "ctypes.dlopen")
_CHANGES = ("os.remove", "os.rename", "os.symlink", "os.link", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate")

_seen: list[tuple[str, tuple[Any, ...]]] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and (event == "open" or event in _NEVER or event in _CHANGES):
        _seen.append((event, arguments))


sys.addaudithook(_listen)


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def loaded(load: Callable[[], Any]) -> Any:
    """What ``load`` gives, or the error that it raises, which must be one of ours and fit for a terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be a second message
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            return load()
        except EdgekdError as caught:
            error = caught
    text = str(error)
    assert error.what
    assert error.code in (Exit.INPUT, Exit.GATE, Exit.MACHINE)
    assert len(text) < LONGEST_MESSAGE
    assert all(line.isprintable() for line in text.splitlines())
    assert len(text.splitlines()) == 1 + bool(error.why) + bool(error.fix)
    text.encode("utf-8")
    return error


@contextmanager
def only_within(*folders: Path) -> Iterator[None]:
    """No file that Python opens or changes lies elsewhere, but for its own modules; no program, no connection."""
    global _seen
    _seen = []
    try:
        yield
        seen = _seen
    finally:
        _seen = None
    allowed = [folder.resolve() for folder in (*folders, *map(Path, sys.path), Path(sys.prefix), Path(sys.base_prefix))]
    for event, arguments in seen:
        assert event not in _NEVER, (event, arguments)
        path = arguments[0]
        if isinstance(path, (str, bytes, os.PathLike)):
            found = Path(os.path.abspath(os.fsdecode(path)))
            assert any(found.is_relative_to(folder) for folder in allowed), (event, arguments)
