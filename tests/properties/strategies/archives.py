"""Zip archives of a bundle with something wrong: a hostile name, a link, too many bytes, a lie about any of it."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

HOSTILE_NAMES = (
    "../canary",
    "/tmp/edgekd-canary",
    "a/../../../canary",
    "..",
    "C:\\canary",
    "C:canary",
    "..\\canary",
    "\\\\host\\share\\canary",
    "//host/share/canary",
    "./README.md",
    "a//b",
    "folder/",
    "README.md/inner",
    "readme.MD",
    "Manifest.json",
    "manifest.json/x",
    "NUL",
    "con.txt",
    "stream:name",
    "trailing.",
    "trailing ",
    "new\nline",
    "\x1b[31mred",
    "nul\0.txt",
    "e\u0301.txt",
    "a" * 300,
    "stranger.txt",
)


@dataclass
class Member:
    """One member, which need not be what it says."""

    name: str
    content: bytes
    compress: int = zipfile.ZIP_STORED
    mode: int = stat.S_IFREG | 0o644
    flags: int = 0


@dataclass
class Archive:
    members: list[Member] = field(default_factory=list)

    def __bytes__(self) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for member in self.members:
                entry = zipfile.ZipInfo("x")
                entry.filename = entry.orig_filename = member.name  # the constructor would mend it
                entry.external_attr = member.mode << 16
                entry.create_system = 3
                archive.writestr(entry, member.content, member.compress)
                entry.flag_bits |= member.flags
        return file.getvalue()

    def member(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)


def archive_of(files: dict[str, bytes]) -> Archive:
    return Archive([Member(name, content) for name, content in files.items()])


def _hostile_name(draw: st.DrawFn, archive: Archive) -> None:
    archive.members.append(Member(draw(st.sampled_from(HOSTILE_NAMES)), b"hostile"))


def _renamed(draw: st.DrawFn, archive: Archive) -> None:
    draw(st.sampled_from(archive.members)).name = draw(st.sampled_from(HOSTILE_NAMES))


def _link(draw: st.DrawFn, archive: Archive) -> None:
    member = draw(st.sampled_from(archive.members))
    member.mode = draw(st.sampled_from([stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFCHR])) | 0o777
    if draw(st.booleans()):
        member.content = b"../canary"


def _twice(draw: st.DrawFn, archive: Archive) -> None:
    member = draw(st.sampled_from(archive.members))
    archive.members.append(Member(member.name, draw(st.sampled_from([member.content, b"another"]))))


def _missing(draw: st.DrawFn, archive: Archive) -> None:
    archive.members.remove(draw(st.sampled_from(archive.members)))


def _longer(draw: st.DrawFn, archive: Archive) -> None:
    member = draw(st.sampled_from(archive.members))
    member.content += bytes(draw(st.sampled_from([1, 1000, 20_000_000])))
    member.compress = zipfile.ZIP_DEFLATED


def _other_content(draw: st.DrawFn, archive: Archive) -> None:
    member = draw(st.sampled_from(archive.members))
    changed = bytearray(member.content)
    changed[draw(st.integers(0, len(changed) - 1))] ^= 1
    member.content = bytes(changed)


def _encrypted(draw: st.DrawFn, archive: Archive) -> None:
    draw(st.sampled_from(archive.members)).flags = 1


def _other_method(draw: st.DrawFn, archive: Archive) -> None:
    draw(st.sampled_from(archive.members)).compress = draw(st.sampled_from([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))


def _many(draw: st.DrawFn, archive: Archive) -> None:
    archive.members += [Member(f"{number}.txt", b"") for number in range(draw(st.sampled_from([1000, 5000])))]


ATTACKS: tuple[Callable[[st.DrawFn, Archive], None], ...] = (
    _hostile_name,
    _renamed,
    _link,
    _twice,
    _missing,
    _longer,
    _other_content,
    _encrypted,
    _other_method,
    _many,
)


@st.composite
def hostile(draw: st.DrawFn, files: dict[str, bytes]) -> bytes:
    """``files`` as an archive, attacked once or twice."""
    archive = archive_of(files)
    for attack in draw(st.lists(st.sampled_from(ATTACKS), min_size=1, max_size=2)):
        attack(draw, archive)
    return bytes(archive)
