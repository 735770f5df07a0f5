"""npz and npy files: plain arrays, or one message; no pickle, no memory that the file does not fill."""

from __future__ import annotations

import resource
import shutil
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays
from strategies.documents import broken
from strategies.outcome import loaded, only_within

from edgekd.bundle.manifest import FileFacts, read_manifest, write_manifest
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.verify import check
from edgekd.cli.main import run as edgekd
from edgekd.errors import EdgekdError
from edgekd.recipes.landmarks.store import FacesWriter, stored_faces
from edgekd.run import HeldOut
from edgekd.storage import read_array, read_arrays, section, sha256_file


@contextmanager
def memory_limit(more: int):
    """Address space may grow by ``more`` bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def plain(found):
    assert all(isinstance(value, np.ndarray) and not value.dtype.hasobject for value in found.values())
    return found


@given(data=st.data())
def test_an_npz_gives_plain_arrays_or_one_message(data, folder):
    trap, file = folder / "trap", folder / "a.npz"
    file.write_bytes(data.draw(arrays.files(trap)))
    with memory_limit(2**28), only_within(folder):
        found = loaded(lambda: plain(read_arrays(file)))
        if not isinstance(found, EdgekdError):
            loaded(lambda: HeldOut(found).raws())
    assert not trap.exists()


@given(data=st.data())
def test_a_broken_npz_gives_one_message_or_what_was_in_it(data, folder):
    whole = {"raw/a": np.arange(60, dtype=np.float32).reshape(3, 20), "b": np.array("text")}
    np.savez(folder / "a.npz", **whole)
    (folder / "a.npz").write_bytes(data.draw(broken((folder / "a.npz").read_bytes())))
    found = loaded(lambda: plain(read_arrays(folder / "a.npz")))
    if not isinstance(found, EdgekdError):
        assert all(np.array_equal(value, whole[name]) for name, value in found.items() if name in whole)


@given(content=st.one_of(st.binary(max_size=300), arrays.LIES))
def test_a_single_array_is_as_strict(content, folder):
    (folder / "a.npy").write_bytes(content)
    with memory_limit(2**28):
        loaded(lambda: read_array(folder / "a.npy"))


def test_an_array_in_it_twice_is_refused(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of what is wanted here
        content = arrays.npz([("a", arrays.npy(np.zeros(2))), ("a", arrays.npy(np.ones(2)))])
    (folder / "a.npz").write_bytes(content)
    error = loaded(lambda: read_arrays(folder / "a.npz"))
    assert "twice" in error.why


def test_more_bytes_than_the_limit_are_refused_unread(folder, monkeypatch):
    import edgekd.storage as module

    (folder / "a.npz").write_bytes(arrays.npz([("a", arrays.npy(np.zeros(2**20)))]))
    monkeypatch.setattr(module, "MOST_ARRAY_BYTES", 2**20)
    error = loaded(lambda: read_arrays(folder / "a.npz"))
    assert "GiB" in error.why


@given(data=st.data())
def test_vectors_of_a_bundle_are_whole_or_damaged(data, folder, tiny_bundles):
    """Sealed again, as somebody would who knows how."""
    bundle = folder / "b"
    if not bundle.exists():
        shutil.copytree(tiny_bundles["onnxruntime"], bundle)
    sound = read_arrays(tiny_bundles["onnxruntime"] / "vectors.npz")
    changed = dict(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(sound)))
        how = data.draw(st.sampled_from(["drop", "rename", "flat", "text", "empty", "fewer", "nan", "type"]))
        value = np.asarray(changed.pop(name, sound[name]))
        if how == "rename":
            changed[data.draw(st.sampled_from(["raw/x", "feeds/x", "built/x", "fp32/x", "x"]))] = value
        elif how != "drop":
            changed[name] = {
                "flat": lambda v: v.ravel()[0],
                "text": lambda v: np.full(v.shape[:1], "text"),
                "empty": lambda v: v[:0],
                "fewer": lambda v: v[:1],
                "nan": lambda v: np.full(v.shape, np.nan),
                "type": lambda v: v.astype(np.uint8),
            }[how](value)
    np.savez(bundle / "vectors.npz", **changed)
    facts = FileFacts(sha256=sha256_file(bundle / "vectors.npz"), bytes=(bundle / "vectors.npz").stat().st_size)
    manifest = read_manifest(tiny_bundles["onnxruntime"])
    write_manifest(bundle, manifest.model_copy(update={"files": {**manifest.files, "vectors.npz": facts}}))
    loaded(lambda: check(open_bundle(bundle, threads=1)))


@given(data=st.data())
def test_a_face_cache_that_was_changed_is_refused(data, folder):
    def write(writer: FacesWriter) -> None:
        face = np.zeros((1, 4, 4, 3), np.uint8)
        writer.add(face, np.zeros((1, 5, 2)), np.zeros((1, 4)), np.zeros(1))

    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    assert len(stored_faces(cache, "drawn", {}, write)) == 1
    (store,) = cache.iterdir()
    file = store / data.draw(st.sampled_from(["meta.json", "points.npy", "boxes.npy", "pictures.npy", "images.u8"]))
    lies = st.sampled_from([b"", b"[]", b"{}", b'{"shape": [4, 4, 3]}', b'{"shape": [-4, -4, 3], "meta": {}}'])
    file.write_bytes(data.draw(st.one_of(broken(file.read_bytes()), lies, arrays.LIES)))
    loaded(lambda: len(stored_faces(cache, "drawn", {}, write)))


def test_the_command_line_never_runs_a_pickle_of_an_input(folder, tiny_bundles, capfd):
    trap = folder / "trap"
    (folder / "a.npz").write_bytes(arrays.npz([("image", arrays.pickled(trap))]))
    bundle = shutil.copytree(tiny_bundles["onnxruntime"], folder / "b")
    write_manifest(bundle, read_manifest(bundle).model_copy(update={"recipe": None}))
    assert edgekd(["predict", str(bundle), str(folder / "a.npz")]) == 2
    assert capfd.readouterr().err.count("error: ") == 1
    assert not trap.exists()


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([1j]), np.zeros(0), np.array(3.0)])
def test_an_input_that_is_no_numbers_is_refused_by_name(array, tiny_bundles):
    session = open_bundle(tiny_bundles["onnxruntime"], threads=1).session
    error = loaded(lambda: session.run({"image": array}))
    assert error.what.startswith("image ")
    shaped = np.full((1, 3, 32, 32), "text")
    assert "the model takes float32" in str(loaded(lambda: session.run({"image": shaped})))


def test_sections_are_by_prefix():
    assert set(section({"raw/a": np.zeros(1), "rawest/b": np.zeros(1)}, "raw")) == {"a"}
