"""Folders, pictures and videos that cannot be used: named, exit 2, no run, no overlay, no half cache."""

from __future__ import annotations

import sys

import numpy as np
import pytest


@pytest.fixture
def distil_pictures(edgekd, tmp_path, monkeypatch):
    """``distil_pictures(source)`` with a black box that needs no model file."""
    (tmp_path / "own_teacher.py").write_text(
        "import numpy as np\ndef label(picture, box):\n    return np.zeros((68, 2), np.float32)\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_teacher", raising=False)

    def call(*sources: object, teacher: str = "own_teacher:label"):
        data = [part for source in sources for part in ("--data", str(source))]
        out = tmp_path / "runs" / "x"
        ended = edgekd("distill", "landmarks", "--preset", "pictures", *data, "--teacher", teacher, "--out", out)
        assert not out.exists()
        hidden = [path for path in tmp_path.glob("runs/cache/**/*") if path.name.startswith(".")]
        # Whole pieces of what was labelled so far are kept: the next try goes on from them.
        assert all(path.suffix == ".pieces" for path in hidden), "a half-written cache was left behind"
        return ended

    return call


def test_missing_folder_is_named(distil_pictures, tmp_path):
    distil_pictures(f"images:{tmp_path / 'none'}").says(2, str(tmp_path / "none"), "does not exist")


def test_empty_folder_and_folder_without_pictures_are_named(distil_pictures, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    distil_pictures(f"images:{folder}").says(2, f"no picture in {folder}")
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    distil_pictures(f"images:{folder}").says(2, f"no picture in {folder}", "of its 1 files none")


@pytest.mark.parametrize("content", [b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n broken off"])
def test_picture_that_is_none_is_named_among_good_ones(distil_pictures, picture, tmp_path, content):
    picture(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_bytes(content)
    distil_pictures(f"images:{tmp_path / 'photos'}").says(2, str(tmp_path / "photos" / "b.png"))


def test_picture_that_breaks_off_is_named(distil_pictures, picture, tmp_path):
    whole = picture(tmp_path / "photos" / "a.png")
    whole.write_bytes(whole.read_bytes()[:-2000])
    distil_pictures(f"images:{tmp_path / 'photos'}").says(2, str(whole))


def test_pictures_without_a_face_are_told_from_missing_ones(distil_pictures, picture, tmp_path):
    picture(tmp_path / "photos" / "a.png")
    distil_pictures(f"images:{tmp_path / 'photos'}").says(2, "no face in", "1 pictures")


def test_video_that_is_none_is_named(distil_pictures, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    distil_pictures(f"video:{tmp_path / 'a.mp4'}").says(2, "a.mp4")
    distil_pictures(f"video:{tmp_path}").says(2, "is a folder")


@pytest.mark.parametrize("source", ["pictures:x", "images", "images:", ""])
def test_data_that_is_no_source_is_quoted(distil_pictures, source):
    distil_pictures(source).says(2, repr(source))


def test_drawn_and_real_sources_are_not_mixed(distil_pictures, tmp_path):
    distil_pictures("drawn", f"images:{tmp_path}").says(2, "mixes")


@pytest.mark.parametrize(
    ("teacher", "part"),
    [
        ("dlib86", "no teacher 'dlib86'"),
        ("own_teacher:lable", "lable"),
        ("no_such_module:label", "no_such_module"),
        ('own"teacher:x', 'own"teacher'),
        ("", "no teacher"),
    ],
)
def test_teacher_that_is_none_is_quoted(distil_pictures, picture, tmp_path, teacher, part):
    picture(tmp_path / "photos" / "a.png")
    distil_pictures(f"images:{tmp_path / 'photos'}", teacher=teacher).says(2, part)


@pytest.mark.parametrize(
    "settings",
    [
        ["data.train=1", "train.batch_size=2"],
        ["data.train=17", "data.val=1", "data.test=1"],
        ["seed=-1"],
        ["seed=123456789012345678901234567890"],
        ["data.label_noise=1e300"],
        ["train.learning_rate=1e30"],
    ],
)
def test_extreme_but_valid_settings_train_or_are_refused_in_words(edgekd, tiny_config, tmp_path, settings):
    flags = [part for setting in settings for part in ("--set", setting)]
    ended = edgekd("distill", "landmarks", "--config", tiny_config, *flags, "--out", tmp_path / "runs" / "x")
    if ended.code:
        assert ended.code in (2, 3)
        ended.says(ended.code)


@pytest.mark.parametrize("content", [b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n broken off"])
@pytest.mark.parametrize("folder", [False, True])
def test_predict_names_what_is_no_picture_and_draws_nothing(edgekd, tiny_bundles, picture, tmp_path, content, folder):
    picture(tmp_path / "photos" / "a.png")
    broken = tmp_path / "photos" / "b.png"
    broken.write_bytes(content)
    out = tmp_path / ("overlays" if folder else "overlay.png")
    source = broken.parent if folder else broken
    edgekd("predict", tiny_bundles["onnxruntime"], source, "--out", out).says(2, str(broken))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("inputs", "parts"),
    [
        (["none.png"], ("none.png", "does not exist")),
        (["imag=a.png"], ("imag", "image=PATH")),
        (["a.png", "a.png"], ("given twice",)),
        (["a.png", "box=1,2,3"], ("box=1,2,3",)),
        (["a.png", "box=1,2,3,nan"], ("box",)),
        (["a.png", "box=100,100,200,200"], ("outside",)),
        (["empty"], ("no picture in",)),
        (["no.mp4"], ("no.mp4",)),
    ],
)
def test_predict_names_inputs_that_cannot_be_used(edgekd, tiny_bundles, picture, tmp_path, monkeypatch, inputs, parts):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.mp4").write_bytes(b"no video")
    before = sorted(tmp_path.iterdir())
    for out in ([], ["--out", "overlay.png"]):
        edgekd("predict", tiny_bundles["onnxruntime"], *inputs, *out).says(2, *parts)
    assert sorted(tmp_path.iterdir()) == before


def test_predict_refuses_an_output_that_does_not_suit(edgekd, tiny_bundles, picture, tmp_path):
    bundle, photos = tiny_bundles["onnxruntime"], picture(tmp_path / "photos" / "a.png").parent
    picture(photos / "b.png")
    edgekd("predict", bundle, photos, "--out", tmp_path / "x.png").says(2, "2 pictures do not fit")
    edgekd("predict", bundle, photos, "--out", tmp_path / "x.txt").says(2, "no picture, video or table")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_predict_takes_a_picture_whose_name_has_an_equals_sign(edgekd, tiny_bundles, picture, tmp_path):
    photo = picture(tmp_path / "a=b.png")
    assert edgekd("predict", tiny_bundles["onnxruntime"], f"image={photo}").code == 0


def test_inspect_names_what_is_no_onnx(edgekd, tmp_path):
    file = tmp_path / "x.onnx"
    file.write_bytes(np.random.default_rng(0).bytes(2000))
    edgekd("inspect", file).says(2, "x.onnx is no valid ONNX")
    file.write_bytes(b"")
    edgekd("inspect", file).says(2, "x.onnx is no valid ONNX")
    other = tmp_path / "x.txt"
    other.write_text("x", encoding="utf-8")
    edgekd("inspect", other).says(2, "x.txt")
