from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekd.errors import InputError
from edgekd.measuring.measurement import SCHEMA_VERSION, load, save


@pytest.fixture
def saved(shared_bench, tmp_path):
    measurement = shared_bench[0].measurements[0]
    return measurement, save(measurement, tmp_path)


def _rewritten(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_a_newer_schema_is_refused_naming_both_versions(saved):
    path = _rewritten(saved[1], lambda data: data.update(schema_version=SCHEMA_VERSION + 1))
    with pytest.raises(InputError) as caught:
        load(path)
    assert f"schema {SCHEMA_VERSION + 1}" in caught.value.what
    assert f"up to {SCHEMA_VERSION}" in caught.value.why


def test_what_is_no_measurement_is_refused(tmp_path):
    path = tmp_path / "m.json"
    path.write_text("[1, 2]")
    with pytest.raises(InputError, match="no measurement"):
        load(path)
    path.write_text('{"schema_version": 1')
    with pytest.raises(InputError, match="damaged"):
        load(path)
    with pytest.raises(InputError, match="cannot read"):
        load(tmp_path / "missing.json")


def test_a_damaged_value_is_named(saved):
    path = _rewritten(saved[1], lambda data: data["fps"].update(value="fast"))
    with pytest.raises(InputError, match=r"fps\.value"):
        load(path)


def test_an_unknown_key_is_refused(saved):
    path = _rewritten(saved[1], lambda data: data.update(opinion="good"))
    with pytest.raises(InputError, match="opinion"):
        load(path)


def test_a_failed_write_leaves_nothing(saved, tmp_path, monkeypatch):
    folder = tmp_path / "other"

    def refuse(*_, **__):
        raise RuntimeError("interrupted")

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    with pytest.raises(RuntimeError, match="interrupted"):
        save(saved[0], folder)
    assert list(folder.iterdir()) == []


def test_file_names_carry_bundle_machine_and_utc_time(saved):
    measurement, path = saved
    sha, machine, stamp = path.stem.split("-")
    assert sha == measurement.artifact.sha256[:12]
    assert machine == measurement.machine.id
    assert stamp.endswith("Z")
    assert stamp[:8].isdigit()
    assert stamp[8] == "T"


def test_raw_samples_are_whole_microseconds(saved):
    data = json.loads(saved[1].read_text())
    for worker in data["workers"]:
        for values in worker["result"]["samples_us"].values():
            assert all(type(value) is int for value in values)


def test_conditions_fit_on_a_line(saved):
    title = saved[0].title
    assert "\n" not in title
    for part in ("scenario single", "batch 1", "threads 1", "over 2 processes", "test warm-up"):
        assert part in title


def test_a_file_of_the_first_schema_is_still_read():
    """Written by the first edgekd that measured: two processes of a tiny numpy model, as they were."""
    measurement = load(Path(__file__).parent / "measurement_v1.json")
    assert measurement.schema_version == 1
    assert (measurement.artifact.name, measurement.conditions.scenario) == ("fast", "single")
    assert measurement.spans["infer"].runs == sum(len(w.result.samples_us["infer"]) for w in measurement.workers)
    assert (measurement.paced, measurement.offline, measurement.profile, measurement.conditions.fps) == (None,) * 4
    assert measurement.memory.device_bytes is None
