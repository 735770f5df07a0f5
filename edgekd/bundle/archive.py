"""``pack`` and ``unpack``: a bundle travels as one file, and arrives as it was sent or not at all."""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from edgekd.bundle.manifest import NAME, Manifest, read_manifest, same_name
from edgekd.bundle.open import open as open_bundle
from edgekd.errors import InputError, refused_by_system
from edgekd.storage import inner_path, refuse_existing, whole_file, whole_folder

MOST_FILES = 1000
MOST_BYTES = 2**32 - 2**24  # of all files: beyond, a zip needs records of another form, and no device takes it
MOST_MANIFEST_BYTES = 2**24
# The record that ends every zip without a comment: 22 bytes, of which 8:16 count and measure the directory.
_END, _END_BYTES = b"PK\5\6", 22
_END_OF_LARGE, _LARGE_BYTES = b"PK\6\7", 20  # what stands before it in a zip of the larger form
_DIRECTORY_BYTES_PER_FILE = 2**11  # a name is 1000 characters at most
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20
_SEND_AGAIN = "send it again, or make it again: edgekd pack BUNDLE"


def pack(path: str | Path, out: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Writes a sound bundle as one zip: manifest first, then its files by name, stored, without times or owners.

    So the same bundle gives the same bytes, on every system and with every zlib. What the manifest does not
    list stays behind.

    Args:
        path: the bundle's folder.
        out: the archive; the folder's name with ``.zip``, beside it, if left out.

    Returns:
        The archive's path.

    Raises:
        InputError: no bundle or a damaged one, an archive that exists, or more than an archive holds.
    """
    bundle = open_bundle(path)
    folder = bundle.path.resolve()
    archive = Path(out) if out is not None else folder.with_name(f"{folder.name}.zip")
    if archive.resolve().is_relative_to(folder):
        raise InputError(f"{archive} lies in the bundle", "a bundle is never changed", "choose another --out")
    refuse_existing(archive, overwrite)
    _check_limits(bundle.manifest, folder)
    wanted = {NAME: bundle.sha256, **{name: facts.sha256 for name, facts in sorted(bundle.manifest.files.items())}}
    with whole_file(archive) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=False) as file:
        for name, sha256 in wanted.items():
            if _add(file, name, folder / name) != sha256:
                raise InputError(
                    f"{folder / name} changed while it was packed", "its sha256 is another now", "try again"
                )
    return archive


def unpack(path: str | Path, out: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Writes the bundle that an archive holds, after checking every byte of it.

    Nothing is written outside of a new folder, and no more than the manifest says; the folder appears when all
    is checked.

    Args:
        path: what ``pack`` wrote; its files may have been compressed since.
        out: the bundle's folder; the archive's name without ``.zip``, beside it, if left out.

    Returns:
        The bundle's path.

    Raises:
        InputError: no archive of a bundle, a damaged one, or one that is made to harm; an output that exists.
        MachineError: no room for it.
    """
    archive = Path(path)
    folder = Path(out) if out is not None else _beside(archive)
    refuse_existing(folder, overwrite, marker=NAME)
    _check_form(archive)
    try:
        with zipfile.ZipFile(archive) as file, whole_folder(folder, overwrite) as temporary:
            members = _members(archive, file)
            _extract(archive, file, members.pop(NAME), temporary / NAME, MOST_MANIFEST_BYTES)
            manifest = _manifest(archive, temporary)
            _check_limits(manifest, archive)
            if strangers := sorted(members.keys() ^ manifest.files.keys()):
                word = "lacks" if strangers[0] in manifest.files else "holds more than its bundle:"
                raise _damaged(archive, f"{word} {strangers[0]}")
            for name, facts in manifest.files.items():
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if _extract(archive, file, members[name], target, facts.bytes) != facts.sha256:
                    raise _damaged(archive, f"the sha256 of {name} is not the manifest's")
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise _damaged(archive, str(error)) from None
    except OSError as error:  # of reading: whole_folder says those of writing
        raise refused_by_system(error, archive) or _damaged(archive, str(error)) from None
    return folder


def _add(archive: zipfile.ZipFile, name: str, source: Path) -> str:
    """Stores one file, and returns the sha256 of what was stored."""
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.create_system = 3  # Unix, also where it is written on another system
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.file_size = source.stat().st_size
    digest = hashlib.sha256()
    with source.open("rb") as content, archive.open(entry, "w") as packed:
        while block := content.read(_BLOCK):
            digest.update(block)
            packed.write(block)
    return digest.hexdigest()


def _check_limits(manifest: Manifest, path: Path) -> None:
    total = sum(facts.bytes for facts in manifest.files.values())
    if len(manifest.files) >= MOST_FILES or total > MOST_BYTES:
        why = (
            f"it has {len(manifest.files)} files of {total:,} bytes, an archive at most {MOST_FILES} and {MOST_BYTES:,}"
        )
        raise InputError(f"{path} is too large for an archive", why, "copy the bundle's folder instead")


def _beside(archive: Path) -> Path:
    if archive.suffix.lower() != ".zip":
        raise InputError(f"{archive} has no name for its bundle", "it does not end in .zip", "--out FOLDER")
    return archive.with_name(archive.name[: -len(".zip")])


def _check_form(archive: Path) -> None:
    """Before anything is read into memory: a zip with a directory of no more than our files need.

    Raises:
        InputError: it is something else.
    """
    if archive.is_dir():
        raise InputError(f"{archive} is a folder", "an archive of a bundle is one file", f"edgekd verify {archive}")
    if not archive.is_file():
        raise InputError(f"there is no archive {archive}", fix="edgekd pack BUNDLE makes one")
    with archive.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LARGE_BYTES - _END_BYTES))
        tail = file.read()
    end, before = tail[-_END_BYTES:], tail[:-_END_BYTES][-_LARGE_BYTES:]
    if not end.startswith(_END) or len(end) < _END_BYTES or end[-2:] != b"\0\0":
        raise InputError(f"{archive} is no archive of a bundle", "it does not end as a zip does", _SEND_AGAIN)
    count, directory = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if before.startswith(_END_OF_LARGE) or count > MOST_FILES or directory > count * _DIRECTORY_BYTES_PER_FILE:
        raise _damaged(archive, f"its directory is larger than one of {MOST_FILES} files may be")


def _members(archive: Path, file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Every member by name, each of which may be written into an empty folder on every system."""
    members: dict[str, zipfile.ZipInfo] = {}
    taken: dict[str, str] = {}
    for entry in file.infolist():
        name = inner_path(entry.orig_filename)
        if entry.filename != name:
            raise _damaged(archive, f"{name!r} is read as {entry.filename!r}")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise _damaged(archive, f"{name} is a link or another special file")
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _damaged(archive, f"{name} is encrypted or packed in a way that is not used here")
        if (other := taken.setdefault(same_name(name), name)) != name or name in members:
            raise _damaged(archive, f"{name} and {other} are one file on some systems")
        members[name] = entry
    for name in members:
        if any(same_name(str(above)) in taken for above in PurePosixPath(name).parents):
            raise _damaged(archive, f"{name} lies in another file")
    if NAME not in members:
        raise InputError(f"{archive} is no archive of a bundle", f"it has no {NAME}", "edgekd pack BUNDLE makes one")
    return members


def _extract(archive: Path, file: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, most: int) -> str:
    """Writes one member, stopping as soon as it has more bytes than it may; returns its sha256."""
    digest, written = hashlib.sha256(), 0
    with file.open(entry) as packed, target.open("xb") as content:
        while block := packed.read(_BLOCK):
            written += len(block)
            if written > most:
                raise _damaged(archive, f"{entry.filename} has more bytes than the {most:,} that it may")
            digest.update(block)
            content.write(block)
    return digest.hexdigest()


def _manifest(archive: Path, folder: Path) -> Manifest:
    """The unpacked manifest; what is wrong with it is said of the archive, since the folder will be gone."""
    try:
        return read_manifest(folder)
    except InputError as error:
        raise InputError(error.what.replace(str(folder), str(archive)), error.why, error.fix) from None


def _damaged(archive: Path, why: str) -> InputError:
    return InputError(f"{archive} is damaged or no archive of a bundle", why, _SEND_AGAIN)
