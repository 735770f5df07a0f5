"""One kind of error for everything a user can put right: what is wrong, why, and what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every verb. With several targets the worst (highest) code is returned."""

    OK = 0
    BUG = 1
    INPUT = 2
    GATE = 3
    MACHINE = 4
    INTERRUPTED = 130


LONGEST = 1000  # characters of one part of a message


class EdgekdError(Exception):
    """An error with a remedy.

    Words in it may come from a file that somebody else made, so they are shown and never obeyed: what cannot
    be printed (line breaks, terminal escapes) is written out, and what is very long is cut.

    Args:
        what: what is wrong, in one clause that names the file, key or value.
        why: the reason, as far as it is known.
        fix: what the user does next; a command line where there is one.
    """

    code: Exit = Exit.INPUT

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = _shown(what), _shown(why), _shown(fix)
        super().__init__(self.what, self.why, self.fix)

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


def _shown(text: str) -> str:
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ..."
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


class InputError(EdgekdError):
    """The user's input (file, folder, key, value) cannot be used. Exit 2."""


class GateError(EdgekdError):
    """An arrow lost more than it may. Exit 3."""

    code = Exit.GATE


class MachineError(EdgekdError):
    """This machine cannot do it: no runtime, no driver, no disk. Exit 4."""

    code = Exit.MACHINE


class StoppedError(EdgekdError):
    """Ctrl-C, where there is something to say about going on. Exit 130."""

    code = Exit.INTERRUPTED


_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
_TOO_MUCH = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def refused_by_system(error: OSError, path: object = None) -> EdgekdError | None:
    """What the operating system refused, in our words; None where nobody but us can put it right."""
    named = path if path is not None else error.filename or "an output or temporary file"
    reason = error.strerror or str(error)
    if error.errno in _NO_ROOM:
        fix = "make room (df -h, ulimit -f, quota) there and in the temporary folder, or write somewhere else"
        return MachineError(f"cannot write {named}", f"{reason}; nothing was left behind", fix)
    if error.errno in _IN_THE_WAY:
        return InputError(f"cannot write {named}", f"{error.filename or named} is in the way", "choose another --out")
    if error.errno in _NOT_ALLOWED:
        return InputError(f"cannot use {named}", reason)
    if error.errno in _TOO_MUCH:
        return MachineError(f"cannot go on with {named}", reason)
    return None


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean "x"?`` for the nearest of ``known``, or the list of what there is."""
    known = sorted(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if match:
        return f'did you mean "{match[0]}"?'
    return "there are: " + ", ".join(known) if known else "there are none"
