"""Archives that somebody else may have made: the bundle that was packed, or nothing at all."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.archives import ATTACKS, HOSTILE_NAMES, Member, archive_of, hostile
from strategies.documents import broken
from strategies.outcome import loaded, only_within

from edgekd.bundle.archive import pack, unpack
from edgekd.bundle.manifest import FileFacts, read_manifest, write_manifest
from edgekd.cli.main import run as edgekd
from edgekd.errors import EdgekdError
from edgekd.storage import sha256_file


@pytest.fixture(scope="module")
def small(tiny_bundles, tmp_path_factory):
    """A bundle whose files are cut short, so that a thousand archives of it take no time; no archive looks inside."""
    source, folder = tiny_bundles["openvino"], tmp_path_factory.mktemp("small") / "bundle"
    folder.mkdir()
    manifest, facts = read_manifest(source), {}
    for name in manifest.files:
        (folder / name).write_bytes((source / name).read_bytes()[:500])
        facts[name] = FileFacts(sha256=sha256_file(folder / name), bytes=(folder / name).stat().st_size)
    write_manifest(folder, manifest.model_copy(update={"files": facts}))
    return folder


@pytest.fixture(scope="module")
def files(small):
    paths = [small / "manifest.json", *sorted(p for p in small.iterdir() if p.name != "manifest.json")]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(autouse=True)
def _duplicates_are_wanted():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Duplicate name")
        yield


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder, archive):
    file = folder / "b.zip"
    file.write_bytes(archive)
    with only_within(folder):
        error = loaded(lambda: unpack(file))
    assert isinstance(error, EdgekdError)
    assert [path.name for path in folder.iterdir()] == ["b.zip"]
    return error


@given(data=st.data())
def test_an_attacked_archive_leaves_nothing(data, folder, files):
    refused(folder, data.draw(hostile(files)))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__.strip("_"))
def test_every_kind_of_attack_is_refused(attack, folder, files):
    @given(data=st.data())
    def attacked(data):
        archive = archive_of(files)
        attack(data.draw, archive)
        refused(folder, bytes(archive))

    attacked()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_every_hostile_name_is_refused(name, folder, files):
    archive = archive_of(files)
    archive.members.insert(0, Member(name, b"hostile"))
    refused(folder, bytes(archive))


@given(data=st.data())
def test_a_broken_archive_is_the_bundle_or_nothing(data, folder, small, files):
    file = folder / "b.zip"
    whole = pack(small, file, overwrite=True).read_bytes()
    file.write_bytes(data.draw(broken(whole)))
    with only_within(folder):
        result = loaded(lambda: unpack(file, overwrite=True))
    if isinstance(result, EdgekdError):
        assert "b" not in [path.name for path in folder.iterdir()] or content(folder / "b") == files
    else:
        assert content(folder / "b") == files


@given(noise=st.binary(max_size=300))
def test_any_bytes_are_no_archive(noise, folder):
    refused(folder, noise)
    refused(folder, noise + b"PK\5\6" + bytes(18))


def test_the_command_line_refuses_an_attack_with_one_message(folder, files, capfd):
    archive = archive_of(files)
    archive.members.append(Member("../canary", b"hostile"))
    (folder / "b.zip").write_bytes(bytes(archive))
    assert edgekd(["unpack", str(folder / "b.zip")]) == 2
    err = capfd.readouterr().err
    assert err.count("error: ") == 1
    assert "leaves the folder" in err
