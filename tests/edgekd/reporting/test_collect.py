from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.errors import InputError
from edgekd.reporting.collect import collect


def test_the_default_folders_are_read_and_everything_is_linked(project):
    found = collect()
    assert (len(found.runs), len(found.bundles), len(found.measurements)) == (1, 1, 1)
    assert found.run_of(found.bundles[0]) is found.runs[0]
    assert found.latest(found.bundles[0].sha256, "onnxruntime") is found.measurements[0]
    assert found.latest(found.bundles[0].sha256, "openvino") is None


def test_what_is_named_twice_is_read_once(project):
    found = collect([Path("bundles"), Path("bundles/lm-onnxruntime"), Path("."), Path("runs/lm/")])
    assert (len(found.runs), len(found.bundles), len(found.measurements)) == (1, 1, 1)


def test_a_single_measurement_file_is_enough(project):
    (file,) = Path("measurements").iterdir()
    assert len(collect([file]).measurements) == 1


def test_a_changed_byte_in_a_bundle_names_the_file(project):
    file = project / "bundles/lm-onnxruntime/model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"model\.onnx has changed"):
        collect()


def test_a_damaged_measurement_in_a_folder_is_named_not_skipped(project):
    (project / "measurements/half.json").write_text('{"schema_version": 1, "arti')
    with pytest.raises(InputError, match=r"half\.json is damaged"):
        collect()


def test_other_json_files_in_a_folder_are_skipped_and_listed(project):
    (project / "measurements/results.json").write_text('{"rows": []}')
    found = collect()
    assert found.skipped == ["measurements/results.json"]
    assert len(found.measurements) == 1


def test_another_file_named_itself_is_refused(project):
    (project / "other.json").write_text("{}")
    with pytest.raises(InputError, match=r"other\.json is damaged or no measurement"):
        collect([Path("other.json")])


def test_a_run_that_still_trains_is_found_and_a_damaged_one_is_named(project, make_run):
    make_run("going", status="training")
    assert [run.record.status for run in collect().runs] == ["training", "complete"]
    (project / "runs/lm/heldout.npz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"heldout\.npz has changed"):
        collect()


def test_nothing_found_says_what_makes_something(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nothing to report") as caught:
        collect()
    assert "edgekd distill" in caught.value.fix
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no run"):
        collect([Path("empty")])
    with pytest.raises(InputError, match="there is no nowhere"):
        collect([Path("nowhere")])
