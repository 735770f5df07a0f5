import numpy as np
import pytest

from edgekd.errors import InputError, MachineError
from edgekd.recipes.landmarks.store import stored_faces


def faces(count, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 255, (count, 8, 8, 3), dtype=np.uint8),
        rng.uniform(0, 8, (count, 68, 2)).astype(np.float32),
        np.tile(np.float32([1, 1, 7, 7]), (count, 1)),
        np.arange(count),
    )


def test_what_was_added_comes_back_in_order(tmp_path):
    def write(writer):
        writer.add(*faces(3, seed=1))
        writer.add(*faces(2, seed=2))
        writer.meta = {"pictures": 5}

    store = stored_faces(tmp_path, "drawn", {"seed": 0}, write)
    for got, one, two in zip((store.images, store.points, store.boxes), faces(3, 1), faces(2, 2), strict=False):
        np.testing.assert_array_equal(got, np.concatenate([one, two]))
    assert store.meta == {"pictures": 5}
    assert len(store) == 5


def test_it_is_written_once_per_key(tmp_path):
    calls = []

    def write(writer):
        calls.append(1)
        writer.add(*faces(1))

    for key in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}):
        stored_faces(tmp_path, "drawn", key, write)
    assert len(calls) == 2


def test_no_face_at_all_is_remembered_too(tmp_path):
    def write(writer):
        writer.meta = {"pictures": 4}

    assert len(stored_faces(tmp_path, "images", {}, write)) == 0
    assert len(stored_faces(tmp_path, "images", {}, pytest.fail)) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_writer_leaves_nothing(tmp_path, error):
    def write(writer):
        writer.add(*faces(2))
        raise error

    with pytest.raises(error):
        stored_faces(tmp_path, "drawn", {}, write)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    def write(writer):
        raise OSError(28, "No space left on device")

    with pytest.raises(MachineError, match="No space left"):
        stored_faces(tmp_path, "drawn", {}, write)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_beneath_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MachineError, match="cannot be written"):
        stored_faces(tmp_path / "file" / "cache", "drawn", {}, lambda writer: None)


@pytest.mark.parametrize("broken", ["images.u8", "meta.json", "points.npy"])
def test_a_store_that_was_changed_is_refused_and_named(tmp_path, broken):
    stored_faces(tmp_path, "drawn", {}, lambda writer: writer.add(*faces(2)))
    [folder] = tmp_path.iterdir()
    content = (folder / broken).read_bytes()
    (folder / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"was changed(.|\n)*delete"):
        stored_faces(tmp_path, "drawn", {}, lambda writer: None)
