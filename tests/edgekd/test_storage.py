import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from edgekd.errors import InputError
from edgekd.storage import (
    read_arrays,
    read_json,
    row,
    section,
    sha256_arrays,
    sha256_file,
    whole_file,
    whole_folder,
    write_arrays,
    write_json,
    write_text,
)


@pytest.fixture
def umask():
    """Sets the umask for a test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


# --- whole or absent


def test_a_file_appears_when_the_block_is_done(tmp_path):
    path = tmp_path / "deep" / "a.json"
    with whole_file(path) as temporary:
        temporary.write_text("1")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
        assert not path.exists()
    assert path.read_text() == "1"
    assert leftovers(path.parent) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_file_is_as_it_was_when_the_block_fails(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_a_folder_is_as_it_was_when_the_block_fails(tmp_path, error, existing):
    path = tmp_path / "bundle"
    if existing:
        write_text(path / "old.txt", "old")

    def fail():
        with whole_folder(path, overwrite=True) as temporary:
            (temporary / "new.txt").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.exists() == existing
    assert [p.name for p in path.rglob("*")] == ["old.txt"] * existing
    assert leftovers(tmp_path) == []


def test_a_folder_is_replaced_whole_and_only_when_asked(tmp_path):
    path = tmp_path / "bundle"
    write_text(path / "old.txt", "old")
    with pytest.raises(InputError, match="exists"), whole_folder(path):
        pytest.fail("the block must not run")
    with whole_folder(path, overwrite=True) as temporary:
        (temporary / "new.txt").write_text("new")
    assert [p.name for p in path.iterdir()] == ["new.txt"]
    assert os.listdir(tmp_path) == ["bundle"]


def test_a_folder_that_cannot_be_renamed_gives_the_old_one_back(tmp_path, monkeypatch):
    path = tmp_path / "bundle"
    write_text(path / "old.txt", "old")
    rename = type(path).rename

    def refuse(self, target):
        if self.name.startswith(".bundle.") and ".old-" not in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", refuse)
    with pytest.raises(KeyboardInterrupt), whole_folder(path, overwrite=True) as temporary:
        (temporary / "new.txt").write_text("new")
    assert [p.name for p in path.iterdir()] == ["old.txt"]
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_the_users_and_not_a_temporary_files(tmp_path, umask, mask):
    umask(mask)
    write_text(tmp_path / "a.txt", "a")
    with whole_folder(tmp_path / "b"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o777 & ~mask


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from edgekd.errors import MachineError
from edgekd.storage import *
from edgekd.recipes.weights import save_weights
noise = np.random.default_rng(0).random(100_000)
def write_folder(path):
    with whole_folder(path, overwrite=True) as temporary:
        (temporary / "a").write_bytes(noise.tobytes())
writers = dict(
    text=lambda path: write_text(path, "x" * 100_000),
    arrays=lambda path: write_arrays(path, dict(a=noise)),
    weights=lambda path: save_weights(torch.nn.Linear(300, 300), path),
    folder=write_folder,
)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for kind, write in writers.items():
    try:
        write(Path(sys.argv[1]) / kind)
    except MachineError as error:
        print(error)
"""
"""A limit on the size of files stands for the disk."""


def test_a_full_disk_leaves_what_was_there(tmp_path):
    kinds = ["arrays", "folder", "text", "weights"]
    old = {kind: tmp_path / kind / "old.txt" if kind == "folder" else tmp_path / kind for kind in kinds}
    for path in old.values():
        write_text(path, "old")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for kind in kinds:
        assert f"cannot write {tmp_path / kind}\n" in told
        assert old[kind].read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == kinds
    assert os.listdir(tmp_path / "folder") == ["old.txt"]


def test_a_path_beneath_a_file_is_refused(tmp_path):
    write_text(tmp_path / "a", "")
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "a" / "b", "")
    with pytest.raises(InputError, match="cannot write"), whole_folder(tmp_path / "a" / "b"):
        pass


# --- arrays


def test_arrays_are_read_as_they_were_written(tmp_path):
    arrays = {"raw/x": np.arange(6, dtype=np.uint8).reshape(2, 3), "raw/y": np.float32([1.5]), "truth/x": np.array("é")}
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert set(found) == set(arrays)
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype
        assert np.array_equal(found[name], value)
    assert set(section(found, "raw")) == {"x", "y"}
    assert row(section(found, "raw"), 0)["x"].tolist() == [0, 1, 2]


class Attack:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_objects_in_an_npz_are_neither_read_nor_written(tmp_path):
    trap = np.array([Attack(tmp_path / "owned")], dtype=object)
    np.savez(tmp_path / "a.npz", good=np.zeros(2), trap=trap)
    with pytest.raises(InputError, match="objects, not arrays"):
        read_arrays(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(trap))
    with pytest.raises(InputError, match="objects, not arrays"):
        read_arrays(tmp_path / "b.npz")
    assert not (tmp_path / "owned").exists()
    with pytest.raises(TypeError, match="trap"):
        write_arrays(tmp_path / "c.npz", {"good": np.zeros(2), "trap": trap})
    assert not (tmp_path / "c.npz").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_npz_that_breaks_off_is_damaged(tmp_path, share):
    write_arrays(tmp_path / "a.npz", {"a": np.random.default_rng(0).random(500)})
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="is damaged"):
        read_arrays(tmp_path / "a.npz")


def test_a_hash_of_arrays_sees_names_types_shapes_and_values_but_not_order_or_layout():
    base = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2)}
    same = {"b": np.zeros(4)[::2], "a": np.asfortranarray(base["a"])}
    assert sha256_arrays(base) == sha256_arrays(same)
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].reshape(3, 2), "b": base["b"]},
        {"a": base["a"].astype(np.float64), "b": base["b"]},
        {"a": base["a"] + 1e-6, "b": base["b"]},
    ]
    assert len({sha256_arrays(arrays) for arrays in (base, *others)}) == 5


# --- the rest


def test_a_file_is_hashed_by_its_content(tmp_path):
    (tmp_path / "a").write_bytes(b"edgekd" * 1000)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"edgekd" * 1000).hexdigest()


def test_json_that_is_missing_or_broken_is_named(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2.5, None, "ü"]})
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None, "ü"]}
    (tmp_path / "b.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"b\.json is damaged"):
        read_json(tmp_path / "b.json")
    with pytest.raises(InputError, match=r"cannot read .*c\.json"):
        read_json(tmp_path / "c.json")
