import json
import os

import pytest

from edgekd.errors import InputError
from edgekd.run import FILES, newest_run, open_run, read_record, write_record


def test_a_run_is_opened_by_what_it_holds(tiny_run):
    run = open_run(tiny_run)
    assert run.name == tiny_run.name
    assert run.sha256 == run.record.files["student.safetensors"]
    assert set(run.record.files) == set(FILES)
    assert len(run.heldout()) == len(run.heldout().raws()) == len(run.heldout().truths()) == 12
    assert run.heldout().raws()[3]["image"].shape == run.heldout().raw["image"].shape[1:]


def test_a_record_is_written_and_read_without_loss(tiny_run, tmp_path):
    record = read_record(tiny_run)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


@pytest.mark.parametrize("name", FILES)
def test_a_changed_or_missing_file_is_named(tiny_run, copy_of, name):
    run = copy_of(tiny_run)
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(bytes(content))
    with pytest.raises(InputError, match=rf"{name} has changed"):
        open_run(run)
    (run / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is missing"):
        open_run(run)


def test_a_record_cannot_do_without_a_file(tiny_run, copy_of):
    run = copy_of(tiny_run)
    record = read_record(run)
    files = {name: sha for name, sha in record.files.items() if name != "heldout.npz"}
    write_record(run, record.model_copy(update={"files": files}))
    with pytest.raises(InputError, match=r"heldout\.npz has changed"):
        open_run(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "has run schema 99"),
        ({"schema_version": "1"}, "states no schema_version"),
        ({"seed": "many"}, "is damaged(.|\n)*seed"),
        ({"surprise": 1}, "is damaged(.|\n)*surprise"),
        ({"status": "training"}, r"is not finished(.|\n)*edgekd distill landmarks --out .* --resume"),
    ],
)
def test_a_record_that_cannot_be_trusted_is_refused(tiny_run, copy_of, change, message):
    run = copy_of(tiny_run)
    data = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(data | change))
    with pytest.raises(InputError, match=message):
        open_run(run)


def test_a_folder_without_a_record_is_no_run(tmp_path):
    with pytest.raises(InputError, match="is no run"):
        open_run(tmp_path)
    with pytest.raises(InputError, match="there is no run folder"):
        open_run(tmp_path / "none")


def test_the_newest_run_is_the_one_written_last(tmp_path):
    for age, name in enumerate(["old", "new", "older"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
        when = {"old": 200, "new": 300, "older": 100}[name]
        os.utime(tmp_path / name / "run.json", (when, when + age / 10))
    (tmp_path / "newest but no run").mkdir()
    assert newest_run(tmp_path) == tmp_path / "new"
    with pytest.raises(InputError, match="there is no run in"):
        newest_run(tmp_path / "none")
