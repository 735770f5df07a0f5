"""A bundle as one file: the same bytes for the same bundle, and the same bundle from them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest

import edgekd
from edgekd.bundle import archive as module
from edgekd.bundle.archive import pack, unpack
from edgekd.errors import InputError, MachineError


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def bundle(copy_of, tiny_bundles):
    return copy_of(tiny_bundles["openvino"], "lm-0.5")


def rezipped(archive, out, method=zipfile.ZIP_DEFLATED, change=lambda name, data: data):
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out


def test_what_is_unpacked_is_what_was_packed_and_runs(bundle, tmp_path):
    archive = edgekd.pack(bundle)
    assert archive == bundle.with_name("lm-0.5.zip")
    unpacked = edgekd.unpack(archive, tmp_path / "device" / "lm")
    assert content(unpacked) == content(bundle)
    assert edgekd.verify(unpacked, threads=1).passed


def test_the_same_bundle_gives_the_same_bytes_whenever_and_wherever(bundle, copy_of, tmp_path):
    import os

    first = pack(bundle, tmp_path / "a.zip").read_bytes()
    for path in bundle.iterdir():
        os.utime(path, (0, 2_000_000_000))
        path.chmod(0o600)
    (bundle / "notes.txt").write_text("not of the bundle", encoding="utf-8")
    assert pack(bundle, tmp_path / "b.zip").read_bytes() == first
    assert pack(unpack(tmp_path / "a.zip"), tmp_path / "c.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = archive.namelist()
        assert names == ["manifest.json", *sorted(names[1:])]
        assert "notes.txt" not in names
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_an_archive_that_was_compressed_on_its_way_is_unpacked(bundle, tmp_path):
    smaller = rezipped(pack(bundle), tmp_path / "smaller.zip")
    assert content(unpack(smaller)) == content(bundle)


def test_only_a_sound_bundle_is_packed_and_never_into_itself(bundle, tmp_path):
    with pytest.raises(InputError, match="lies in the bundle"):
        pack(bundle, bundle / "x.zip")
    (bundle / "README.md").write_text("changed", encoding="utf-8")
    with pytest.raises(InputError, match=r"README\.md has changed"):
        pack(bundle, tmp_path / "x.zip")
    assert not list(tmp_path.glob("*.zip"))


def test_existing_output_is_replaced_only_when_asked_and_only_a_bundle(bundle, tmp_path):
    archive = pack(bundle)
    with pytest.raises(InputError, match="exists"):
        pack(bundle)
    assert pack(bundle, overwrite=True) == archive
    with pytest.raises(InputError, match="exists"):
        unpack(archive)
    (bundle / "README.md").write_text("changed", encoding="utf-8")
    assert (unpack(archive, overwrite=True) / "README.md").read_text(encoding="utf-8") != "changed"
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is something else"):
        unpack(archive, other, overwrite=True)
    assert (other / "a.txt").read_text(encoding="utf-8") == "mine"


def test_a_failed_unpacking_leaves_an_older_bundle_as_it_was(bundle, tmp_path):
    archive = pack(bundle)
    before = content(bundle)

    def change(name, data):
        return data[:-1] + b"x" if name == "vectors.npz" else data

    bad = rezipped(archive, tmp_path / "bad.zip", change=change)
    with pytest.raises(InputError, match=r"the sha256 of vectors\.npz") as caught:
        unpack(bad, bundle, overwrite=True)
    assert "edgekd pack" in caught.value.fix
    assert content(bundle) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.zip", "lm-0.5", "lm-0.5.zip"]


def test_a_zip_bomb_stops_at_the_size_that_the_manifest_states(bundle, tmp_path, monkeypatch):
    def change(name, data):
        return bytes(200_000_000) if name == "README.md" else data

    bomb = rezipped(pack(bundle), tmp_path / "bomb.zip", change=change)
    assert bomb.stat().st_size < 5_000_000
    written = []
    extract = module._extract

    def watched(archive, file, entry, target, most):
        try:
            return extract(archive, file, entry, target, most)
        finally:
            written.append((target.stat().st_size, most))

    monkeypatch.setattr(module, "_extract", watched)
    with pytest.raises(InputError, match="is damaged") as caught:
        unpack(bomb, tmp_path / "out")
    assert "README.md has more bytes than" in caught.value.why
    assert all(size <= most for size, most in written)
    assert not (tmp_path / "out").exists()


def test_more_files_or_bytes_than_an_archive_holds_are_refused_before_any_is_written(bundle, tmp_path, monkeypatch):
    archive = pack(bundle)
    for limit, value in (("MOST_FILES", 3), ("MOST_BYTES", 1000)):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, value)
            for act in (lambda: pack(bundle, tmp_path / "x.zip"), lambda: unpack(archive, tmp_path / "x")):
                with pytest.raises(InputError, match=r"too large for an archive|is damaged"):
                    act()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lm-0.5", "lm-0.5.zip"]


def test_a_directory_of_millions_is_not_read_into_memory(tmp_path):
    end = b"PK\5\6" + bytes(4) + (60_000).to_bytes(2, "little") * 2 + (10**7).to_bytes(4, "little") + bytes(6)
    (tmp_path / "a.zip").write_bytes(bytes(10**7) + end)
    with pytest.raises(InputError, match="is damaged") as caught:
        unpack(tmp_path / "a.zip")
    assert "directory is larger" in caught.value.why


def test_without_a_name_for_the_folder_one_is_asked_for(bundle, tmp_path):
    archive = pack(bundle, tmp_path / "bundle.archive")
    with pytest.raises(InputError, match="has no name for its bundle") as caught:
        unpack(archive)
    assert "--out" in caught.value.fix
    assert unpack(archive, tmp_path / "x").is_dir()


def test_a_folder_and_a_missing_file_are_told_from_a_damaged_archive(bundle, tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        unpack(bundle, tmp_path / "x")
    with pytest.raises(InputError, match="there is no archive"):
        unpack(tmp_path / "none.zip")


def test_without_room_nothing_is_left(bundle, tmp_path):
    import resource

    archive = pack(bundle)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(MachineError, match="cannot write"):
            unpack(archive, tmp_path / "out")
        with pytest.raises(MachineError, match="cannot write"):
            pack(bundle, tmp_path / "out.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lm-0.5", "lm-0.5.zip"]


def test_a_device_needs_no_torch_and_no_runtime_for_it(bundle, tmp_path):
    code = f"""
import sys, edgekd
edgekd.unpack(edgekd.pack({str(bundle)!r}), {str(tmp_path / "x")!r})
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {{"torch", "onnx", "onnxruntime", "openvino"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert json.loads((tmp_path / "x" / "manifest.json").read_text(encoding="utf-8"))["name"]
