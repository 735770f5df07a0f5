import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from edgekd.errors import InputError, MachineError
from edgekd.recipes.rows import CHUNK, fingerprint, make_rows, store_folder, stored_rows

FIELDS = {"picture": ((2, 3), "uint8"), "point": ((), "float32")}
COUNT = 2 * CHUNK + 3


def make(index):
    return {"picture": np.full((2, 3), index % 251), "point": index / 2}


def nothing(share):
    pass


def store(folder, making=make, count=COUNT):
    return stored_rows(folder, FIELDS, count, making, nothing)


def share_of(arguments):
    folder, part = arguments
    make_rows(folder, FIELDS, COUNT, make, nothing, (part, 2))


def test_rows_come_back_in_order_and_mapped(tmp_path):
    rows = store(tmp_path / "s")
    np.testing.assert_array_equal(rows["point"], np.arange(COUNT, dtype=np.float32) / 2)
    np.testing.assert_array_equal(rows["picture"][7], np.full((2, 3), 7))
    assert isinstance(rows["picture"], np.memmap)


def test_they_are_made_once(tmp_path):
    store(tmp_path / "s")
    store(tmp_path / "s", pytest.fail)


def test_what_an_interrupted_process_made_is_kept(tmp_path):
    made = []

    def until_interrupted(index):
        if index == CHUNK + 2:
            raise KeyboardInterrupt
        return make(index)

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path / "s", until_interrupted)
    assert not (tmp_path / "s").exists()
    rows = store(tmp_path / "s", lambda index: (made.append(index), make(index))[1])
    assert made == list(range(CHUNK, COUNT))
    assert fingerprint(rows) == fingerprint(store(tmp_path / "other"))


def test_several_processes_make_what_one_makes(tmp_path):
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(share_of, [(tmp_path / "s", 0), (tmp_path / "s", 1)]))
    assert fingerprint(store(tmp_path / "s", pytest.fail)) == fingerprint(store(tmp_path / "alone"))


def test_a_share_of_a_store_that_is_there_is_no_work(tmp_path):
    store(tmp_path / "s")
    make_rows(tmp_path / "s", FIELDS, COUNT, pytest.fail, nothing, (0, 2))


def test_the_folder_follows_from_the_key_alone(tmp_path):
    assert store_folder(tmp_path, "a", {"x": 1, "y": 2}) == store_folder(tmp_path, "a", {"y": 2, "x": 1})
    assert store_folder(tmp_path, "a", {"x": 1}) != store_folder(tmp_path, "a", {"x": 2})


@pytest.mark.parametrize("damage", ["cut", "other count", "no meta"])
def test_a_store_that_was_changed_is_refused(tmp_path, damage):
    folder = tmp_path / "s"
    store(folder)
    if damage == "cut":
        with (folder / "point.bin").open("r+b") as file:
            file.truncate(5)
    if damage == "no meta":
        (folder / "meta.json").unlink()
    with pytest.raises(InputError, match="was changed"):
        store(folder, count=COUNT + (damage == "other count"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_may_not_be_written_says_so(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(MachineError, match="cannot be written"):
        store(tmp_path / "s")


def test_a_file_in_the_place_of_the_cache_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written"):
        store(tmp_path / "file" / "s")
