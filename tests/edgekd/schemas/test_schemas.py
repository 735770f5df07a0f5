"""The schemas that travel are those of the models, and real records hold to them."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import create_model

import edgekd.schemas as module
from edgekd import registry
from edgekd.bundle.manifest import SCHEMA_VERSION, Distance, Manifest, read_manifest, write_manifest
from edgekd.contracts import StrictModel
from edgekd.errors import InputError
from edgekd.schemas import RECORDS, Record, document, fixed, meaning_sha256, schema
from edgekd.schemas.__main__ import main
from edgekd.toml import read_toml

ROOT = Path(__file__).parents[3]
BY_NAME = {record.name: record for record in RECORDS}


def validator(name: str) -> Draft202012Validator:
    made = json.loads(BY_NAME[name].path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def json_of(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_the_shipped_schema_is_the_models(record):
    assert json_of(record.path) == schema(record), "python -m edgekd.schemas"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_what_a_version_means_has_not_changed_since_it_was_fixed(record):
    assert fixed()[record.path.name] == meaning_sha256(schema(record)), "raise the SCHEMA_VERSION"


def test_schemas_of_earlier_versions_are_still_there_as_they_were():
    for name, sha256 in fixed().items():
        assert meaning_sha256(json_of(module.FOLDER / name)) == sha256


def test_the_page_is_generated():
    assert (ROOT / "docs" / "schemas.md").read_text(encoding="utf-8") == document(), "python -m edgekd.schemas"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_field_says_what_it_is_and_no_schema_names_a_host(record):
    made = json_of(record.path)
    for part in (made, *made["$defs"].values()):
        for facts in part.get("properties", {}).values():
            assert len(facts["description"]) > 1
    assert made["$id"] == record.path.name
    assert re.findall(r"https?://[^\"]*", json.dumps(made)) == [module.DIALECT]


def test_bundles_hold_to_the_manifests_schema_and_name_it(tiny_bundles, copy_of):
    check = validator("manifest")
    for folder in tiny_bundles.values():
        data = json_of(folder / "manifest.json")
        check.validate(data)
        assert data["$schema"] == BY_NAME["manifest"].path.name
    folder = copy_of(tiny_bundles["openvino"])
    manifest = read_manifest(folder)
    far = Distance(relative_max=float("inf"), sqnr_db=float("-inf"), cosine=0.0)
    gate = manifest.gates[0].model_copy(update={"distance": {"landmarks": far}, "relative_loss": float("inf")})
    write_manifest(folder, manifest.model_copy(update={"gates": (gate,)}))
    check.validate(json_of(folder / "manifest.json"))


def test_runs_hold_to_the_runs_schema_and_name_it(tiny_run):
    data = json_of(tiny_run / "run.json")
    validator("run").validate(data)
    assert data["$schema"] == BY_NAME["run"].path.name


def test_measurements_hold_to_the_measurements_schema_and_name_it(tiny_bundles, tmp_path):
    from edgekd.measuring.bench import Contender, bench

    result = bench([Contender(str(tiny_bundles["onnxruntime"]))], "quick", tmp_path, threads=1)
    data = json_of(result.paths[0])
    validator("measurement").validate(data)
    assert data["$schema"] == BY_NAME["measurement"].path.name


@pytest.mark.parametrize("recipe", sorted(registry.recipes()))
def test_every_shipped_claim_holds_to_the_claims_schema(recipe):
    file = registry.recipe_entry(recipe).folder / "claims.toml"
    validator("claims").validate(read_toml(file))


def test_what_the_models_refuse_the_schema_refuses(tiny_bundles):
    data, check = json_of(tiny_bundles["openvino"] / "manifest.json"), validator("manifest")
    for change in (
        lambda d: d.pop("graphs"),
        lambda d: d.update(stranger=1),
        lambda d: d.update(precision="int9"),
        lambda d: d["files"]["README.md"].update(bytes=-1),
        lambda d: d["files"]["README.md"].update(sha256="x"),
        lambda d: d.pop("schema_version"),
    ):
        changed = copy.deepcopy(data)
        change(changed)
        assert not check.is_valid(changed)


# --- the generator


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The generator's folder, copied."""
    folder = tmp_path / "edgekd" / "schemas"
    shutil.copytree(module.FOLDER, folder)
    monkeypatch.setattr(module, "FOLDER", folder)
    monkeypatch.setattr(module, "FIXED", folder / "fixed.json")
    for name in ("FOLDER", "FIXED"):
        monkeypatch.setattr(f"edgekd.schemas.__main__.{name}", getattr(module, name))
    return folder


def altered(monkeypatch, version=SCHEMA_VERSION, **fields):
    """As if a field had been added to the manifest's model."""
    model = create_model("Manifest", __base__=Manifest, **fields)
    changed = tuple(Record("manifest", version, model, r.file) if r.name == "manifest" else r for r in RECORDS)
    monkeypatch.setattr(module, "RECORDS", changed)
    monkeypatch.setattr("edgekd.schemas.__main__.RECORDS", changed)
    return changed[0]


def test_a_field_without_a_description_stops_it_and_is_named(elsewhere, monkeypatch):
    altered(monkeypatch, colour=(str, "red"))
    with pytest.raises(InputError, match="lacks fields") as caught:
        main([])
    assert "[Manifest] colour" in caught.value.why


def test_a_description_of_no_field_stops_it(elsewhere):
    words = elsewhere / "descriptions.toml"
    words.write_text(
        words.read_text(encoding="utf-8").replace("[Manifest]", '[Manifest]\ncolour = "red"'), encoding="utf-8"
    )
    with pytest.raises(InputError, match="Manifest has no field colour"):
        main([])


def test_a_changed_model_needs_a_new_version_and_the_old_schema_stays(elsewhere, monkeypatch):
    words = elsewhere / "descriptions.toml"
    words.write_text(
        words.read_text(encoding="utf-8").replace("[Manifest]", '[Manifest]\ncolour = "red"'), encoding="utf-8"
    )
    record = altered(monkeypatch, colour=(str, "red"))
    old = record.path.read_bytes()
    assert json.loads(old) != schema(record)
    with pytest.raises(InputError, match=f"{record.path.name} would change") as caught:
        main([])
    assert "SCHEMA_VERSION" in caught.value.fix
    assert record.path.read_bytes() == old
    newer = altered(monkeypatch, version=record.version + 1, colour=(str, "red"))
    main([])
    assert "colour" in json_of(newer.path)["properties"]
    assert record.path.read_bytes() == old
    assert set(fixed()) >= {record.path.name, newer.path.name}


def test_other_words_are_no_other_meaning(elsewhere):
    words = elsewhere / "descriptions.toml"
    words.write_text(words.read_text(encoding="utf-8").replace('created = "UTC', 'created = "in UTC'), encoding="utf-8")
    main([])
    assert "in UTC" in (elsewhere / BY_NAME["manifest"].path.name).read_text(encoding="utf-8")


def test_a_field_that_is_named_like_a_keyword_counts():
    class Small(StrictModel):
        title: str

    class Other(StrictModel):
        heading: str

    assert meaning_sha256(Small.model_json_schema()) != meaning_sha256(Other.model_json_schema())


def test_they_are_listed_with_their_paths(capsys):
    from edgekd.cli.main import run as edgekd

    assert edgekd(["list", "schemas", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == set(BY_NAME)
    assert all(Path(row["schema"]).is_file() for row in rows)
