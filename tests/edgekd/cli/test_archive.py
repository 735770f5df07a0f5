"""``pack`` and ``unpack`` on the command line, and what the other verbs say to an archive."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def archive(edgekd, tiny_bundles, tmp_path):
    path = tmp_path / "lm.zip"
    assert edgekd("pack", tiny_bundles["onnxruntime"], "--out", path).code == 0
    return path


@pytest.mark.parametrize("verb", ["verify", "eval", "inspect", "predict", "bench", "report"])
def test_every_verb_says_how_an_archive_becomes_a_bundle(edgekd, archive, picture, tmp_path, verb):
    photo = picture(tmp_path / "photo.png")
    more = {
        "predict": [photo],
        "bench": ["--length", "quick", "--out", tmp_path / "m"],
        "report": ["--out", tmp_path / "r"],
    }
    edgekd(verb, archive, *more.get(verb, [])).says(2, f"{archive} is an archive", f"edgekd unpack {archive}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lm.zip", "photo.png"]


def test_the_line_that_is_said_works(edgekd, archive):
    ended = edgekd("unpack", archive)
    assert ended.code == 0
    assert f"edgekd verify {archive.with_suffix('')}" in ended.out
    assert edgekd("verify", archive.with_suffix(""), "--threads", 1).code == 0


def test_another_file_is_not_called_an_archive(edgekd, picture, tmp_path):
    edgekd("verify", picture(tmp_path / "a.png")).says(2, "is a file", "a bundle is a folder")


def test_as_json(edgekd, tiny_bundles, tmp_path):
    packed = edgekd("pack", tiny_bundles["openvino"], "--out", tmp_path / "a.zip", "--json")
    found = json.loads(packed.out)
    assert found["bytes"] == (tmp_path / "a.zip").stat().st_size
    assert len(found["sha256"]) == 64
    unpacked = edgekd("unpack", tmp_path / "a.zip", "--json")
    assert json.loads(unpacked.out) == {"bundle": str(tmp_path / "a")}
    edgekd("unpack", tmp_path / "a.zip").says(2, "exists", "--overwrite")
    edgekd("pack", tiny_bundles["openvino"], "--out", tmp_path / "a.zip").says(2, "exists", "--overwrite")
