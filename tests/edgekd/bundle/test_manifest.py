from __future__ import annotations

import json

import numpy as np
import pytest

from edgekd.bundle.manifest import SCHEMA_VERSION, Distance, GateRecord, Manifest, read_manifest, write_manifest
from edgekd.errors import InputError


@pytest.fixture
def manifest(tiny_bundles):
    return read_manifest(tiny_bundles["onnxruntime"])


def test_what_is_written_is_what_is_read(manifest, tmp_path):
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    write_manifest(tmp_path, read_manifest(tmp_path))
    assert read_manifest(tmp_path) == manifest


def test_it_is_plain_json_that_any_language_reads(manifest, tmp_path):
    far = Distance(relative_max=np.inf, sqnr_db=-np.inf, cosine=0)
    gate = manifest.gates[0].model_copy(update={"distance": {"landmarks": far}, "relative_loss": np.inf})
    write_manifest(tmp_path, manifest.model_copy(update={"gates": (gate,)}))
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    read = read_manifest(tmp_path).gates[0]
    assert read.distance["landmarks"] == far
    assert read.relative_loss == np.inf


def test_a_figure_that_the_test_set_could_not_give_is_read_back_as_none(manifest, tmp_path):
    told = manifest.provenance.model_copy(update={"teacher_to_student": {"student": {"large": np.nan, "small": 1.0}}})
    write_manifest(tmp_path, manifest.model_copy(update={"provenance": told}))
    read = read_manifest(tmp_path).provenance.teacher_to_student["student"]
    assert np.isnan(read["large"])
    assert read["small"] == 1


def test_an_unknown_key_or_a_wrong_type_is_damage(manifest, tmp_path):
    for change in ({"more": 1}, {"precision": "int9"}, {"gates": "none"}):
        data = json.loads(manifest.model_dump_json()) | change | {"sha256": ""}
        text = json.dumps(data, indent=1) + "\n"
        from edgekd.bundle.manifest import _seal, _sealed

        (tmp_path / "manifest.json").write_text(_sealed(text, _seal(text)), encoding="utf-8")
        with pytest.raises(InputError, match="is damaged") as caught:
            read_manifest(tmp_path)
        assert next(iter(change)) in caught.value.why


def test_a_newer_schema_is_told_from_damage(manifest, tmp_path):
    data = json.loads(manifest.model_dump_json()) | {"schema_version": SCHEMA_VERSION + 1, "from the future": True}
    (tmp_path / "manifest.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match=f"has bundle schema {SCHEMA_VERSION + 1}") as caught:
        read_manifest(tmp_path)
    assert "upgrade" in caught.value.fix


def test_records_cannot_be_changed_in_passing(manifest):
    for record in (manifest, manifest.gates[0]):
        with pytest.raises(ValueError, match="frozen"):
            record.passed = True
    assert issubclass(GateRecord, type(manifest).__mro__[1])
    assert Manifest.model_config["extra"] == GateRecord.model_config["extra"] == "forbid"
