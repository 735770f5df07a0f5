"""Outputs: never replaced unasked, replaced whole when asked, whole or absent when the disk says no."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch, picture):
    """An empty working folder with a photo beside it."""
    picture(tmp_path / "photos" / "a.png", side=160)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def writing(home, tiny_config, tiny_run, tiny_bundles):
    """Verb -> its command line up to ``--out``, and an output's name that suits it."""
    bundle, photos = tiny_bundles["onnxruntime"], home.parent / "photos"
    return {
        "distill": (["distill", "landmarks", "--config", tiny_config], "lm"),
        "export": (["export", tiny_run, "--target", "onnxruntime", "--precision", "fp32"], "bundles"),
        "predict": (["predict", bundle, photos / "a.png"], "overlay.png"),
        "predict folder": (["predict", bundle, photos], "overlays"),
        "predict video": (["predict", bundle, photos], "overlay.mp4"),
        "report": (["report", tiny_run, bundle], "report.html"),
    }


WRITING = ["distill", "export", "predict", "predict folder", "predict video", "report"]
MARKERS = {"distill": "run.json", "export": "manifest.json"}


def _place(verb, home, out):
    """Where the verb really puts its output."""
    return home / out / "tiny-onnxruntime" if verb == "export" else home / out


@pytest.mark.parametrize("verb", WRITING)
def test_existing_output_is_refused_without_overwrite_and_replaced_whole_with_it(
    edgekd, writing, home, snapshot, tiny_run, tiny_bundles, verb
):
    arguments, out = writing[verb]
    place = _place(verb, home, out)
    if verb in MARKERS:
        shutil.copytree(tiny_run if verb == "distill" else tiny_bundles["onnxruntime"], place)
        (place / "stale.txt").write_text("of the old one", encoding="utf-8")
    elif verb == "predict folder":
        place.mkdir()
        (place / "00007-stale.txt.png").write_bytes(b"of the old one")
    else:
        place.write_bytes(b"of the old one")
    before = snapshot(home)
    edgekd(*arguments, "--out", home / out).says(2, f"{place} exists", "--overwrite replaces it")
    assert snapshot(home) == before

    ended = edgekd(*arguments, "--out", home / out, "--overwrite")
    assert ended.code == 0, ended.err
    after = snapshot(home)
    assert not [name for name in after if "stale" in name]
    assert not [name for name in after if name.startswith(".") or "/." in name]
    assert after != before


@pytest.mark.parametrize("verb", WRITING)
def test_overwrite_never_replaces_something_else(edgekd, writing, home, snapshot, verb):
    arguments, out = writing[verb]
    place = _place(verb, home, out)
    place.mkdir(parents=True)
    (place / "thesis.tex").write_text("years of work", encoding="utf-8")
    before = snapshot(home)
    for more in ([], ["--overwrite"]):
        edgekd(*arguments, "--out", home / out, *more).says(2, str(place), "choose another --out")
    assert snapshot(home) == before


@pytest.mark.parametrize("verb", ["distill", "export"])
def test_overwrite_never_replaces_a_file_by_a_folder(edgekd, writing, home, snapshot, verb):
    arguments, out = writing[verb]
    place = _place(verb, home, out)
    place.parent.mkdir(exist_ok=True)
    place.write_text("years of work", encoding="utf-8")
    before = snapshot(home)
    edgekd(*arguments, "--out", home / out, "--overwrite").says(2, str(place))
    assert snapshot(home) == before


@pytest.mark.parametrize("verb", WRITING)
def test_output_beneath_a_file_is_refused_before_any_work(edgekd, writing, home, snapshot, verb):
    arguments, out = writing[verb]
    (home / "file").write_text("x", encoding="utf-8")
    before = snapshot(home)
    ended = edgekd(*arguments, "--out", home / "file" / "deeper" / out)
    ended.says(2, "cannot write", f"{home / 'file'} is a file")
    assert "building" not in ended.err
    assert "epoch" not in ended.err
    assert snapshot(home) == before


def test_bench_output_beneath_a_file_is_refused_before_measuring(edgekd, home, tiny_bundles):
    (home / "file").write_text("x", encoding="utf-8")
    out = home / "file" / "m"
    ended = edgekd("bench", tiny_bundles["onnxruntime"], "--length", "quick", "--out", out)
    ended.says(2, "cannot write", "is a file")
    assert "latency" not in ended.err


def test_overlay_never_replaces_the_picture_it_was_made_from(edgekd, home, tiny_bundles, snapshot):
    bundle, photos = tiny_bundles["onnxruntime"], home.parent / "photos"
    before = snapshot(photos)
    for source, out in ((photos / "a.png", photos / "a.png"), (photos, photos)):
        edgekd("predict", bundle, source, "--out", out, "--overwrite").says(2, "is the input")
    assert snapshot(photos) == before


def test_overwrite_that_fails_leaves_the_old_run(edgekd, copy_of, tiny_run, tiny_config, snapshot):
    run = copy_of(tiny_run)
    before = snapshot(run.parent)
    base = ["distill", "landmarks", "--config", tiny_config, "--out", run, "--overwrite"]
    edgekd(*base, "--set", "data.train=0").says(2, "data.train")
    edgekd(*base, "--control").says(2, "--control")
    edgekd(*base, "--set", "student.init=none.safetensors").says(2, "none.safetensors")
    assert snapshot(run.parent) == before
    edgekd(*base, "--set", "train.learning_rate=1e30").says(3, "diverged")
    assert {k: v for k, v in snapshot(run.parent).items() if k.startswith("tiny")} == before


def test_overwrite_that_fails_leaves_the_old_bundle(edgekd, copy_of, forge, tiny_run, tiny_bundles, snapshot, tmp_path):
    """The new student is not what was trained: its gate fails."""
    import numpy as np

    run, bundle = copy_of(tiny_run), copy_of(tiny_bundles["onnxruntime"], "out/tiny-onnxruntime")
    held = dict(np.load(run / "heldout.npz"))
    held["student/landmarks"] = held["student/landmarks"] + 1
    np.savez(run / "heldout.npz", **held)
    forge(run, "heldout.npz")
    before = snapshot(bundle.parent)
    ended = edgekd("export", run, "--target", "onnxruntime", "--out", bundle.parent, "--overwrite")
    ended.says(3, "training → student and pipeline")
    assert snapshot(bundle.parent) == before


@pytest.mark.parametrize(
    ("verb", "limit"),
    [
        ("distill", 300),  # run.json
        ("distill", 200_000),  # the first checkpoint
        ("export", 50_000),  # the canonical graph
        ("predict", 5_000),
        ("predict folder", 5_000),
        ("predict video", 2_000),
        ("report", 20_000),
    ],
)
def test_file_size_limit_is_the_machines_fault_and_leaves_nothing_half_written(
    edgekd, writing, home, snapshot, file_size_limit, tiny_run, verb, limit
):
    arguments, out = writing[verb]
    with file_size_limit(limit):
        ended = edgekd(*arguments, "--out", home / out)
    ended.says(4, "File too large")
    left = snapshot(home)
    assert not [name for name in left if any(part.startswith(".") for part in name.split("/"))], left
    if verb != "distill":
        assert left == {}
        return
    # what training had written until then is whole, says so, and is gone on with
    if "lm/run.json" in left:
        edgekd("eval", home / out).says(2, "is not finished")
        assert edgekd("distill", "landmarks", "--out", home / out, "--resume").code == 0
    else:
        assert edgekd(*arguments, "--out", home / out).code == 0


def test_face_cache_that_does_not_fit_is_not_left_half_written(edgekd, home, tiny_config, snapshot, file_size_limit):
    cache = home / "cache"
    arguments = ["distill", "landmarks", "--config", tiny_config, "--set", f"data.cache={cache}"]
    with file_size_limit(20_000):
        edgekd(*arguments, "--out", home / "lm").says(4, "cache", "File too large", "--set data.cache=FOLDER")
    assert set(snapshot(home)) <= {"cache"}


def test_limit_while_overwriting_leaves_the_old_output(edgekd, writing, home, snapshot, file_size_limit):
    (home / "overlay.png").write_bytes(b"old")
    (home / "report.html").write_bytes(b"old")
    before = snapshot(home)
    for verb in ("predict", "report"):
        arguments, out = writing[verb]
        with file_size_limit(5_000):
            edgekd(*arguments, "--out", home / out, "--overwrite").says(4, "File too large")
        assert snapshot(home) == before


def test_runtime_that_cannot_write_its_graph_makes_no_bundle(
    edgekd, home, tiny_run, file_size_limit, snapshot, monkeypatch
):
    import openvino

    from edgekd.registry import builder

    def limit(place, name):
        write = getattr(place, name)

        def limited(*arguments, **options):
            with file_size_limit(100_000):
                return write(*arguments, **options)

        monkeypatch.setattr(place, name, limited)

    limit(openvino, "save_model")
    limit(builder("onnxruntime"), "build")
    targets = ["--target", "openvino", "--target", "onnxruntime", "--precision", "fp32"]
    ended = edgekd("export", tiny_run, *targets, "--out", home / "b")
    assert ended.code == 4
    for message in ended.messages:
        assert "cannot write" in message
        assert "make room" in message
    assert snapshot(home) == {}
