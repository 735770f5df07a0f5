"""What a bundle holds: proof, vectors, licences, provenance; and that it is whole or absent."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgekd.bundle.manifest import CalibrationFacts, Manifest, read_manifest
from edgekd.bundle.open import open as open_bundle
from edgekd.conversion import write as module
from edgekd.conversion.export import export
from edgekd.conversion.from_run import licences
from edgekd.run import open_run
from edgekd.storage import sha256_file


@pytest.fixture(scope="module")
def exported(canonical, prebuilt, sharp_run, tmp_path_factory):
    """An int8 bundle of ONNX Runtime and one of OpenVINO in fp32, made from prebuilt graphs."""
    from edgekd.conversion import from_run as road
    from edgekd.registry import builder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(road, "make_canonical", lambda run, path: replace(canonical, gates=list(canonical.gates)))
        bundles = {}
        for target, precision in (("onnxruntime", "int8"), ("openvino", "fp32")):
            built = prebuilt(target, precision)

            def build(source, profile, precision, calibration, out, built=built):
                for file in built.entry.parent.iterdir():
                    shutil.copy(file, out / file.name)
                return replace(built, entry=out / built.entry.name, typed_onnx=out / built.typed_onnx.name)

            patch.setattr(builder(target), "build", build)
            (result,) = export(sharp_run, [target], precision, tmp_path_factory.mktemp("written"))
            bundles[target] = result.path
        yield bundles


def test_every_file_is_listed_with_its_size_and_sha256(exported):
    for folder in exported.values():
        manifest = read_manifest(folder)
        on_disk = {p.name for p in folder.iterdir()} - {"manifest.json"}
        assert set(manifest.files) == on_disk
        for name, facts in manifest.files.items():
            assert (facts.sha256, facts.bytes) == (sha256_file(folder / name), (folder / name).stat().st_size)
    assert {"model.xml", "model.bin", "model.onnx", "vectors.npz", "README.md"} == set(manifest.files)


def test_the_manifest_says_what_it_is_and_where_it_came_from(exported, sharp_run, canonical):
    run = open_run(sharp_run)
    manifest = read_manifest(exported["onnxruntime"])
    assert (manifest.name, manifest.recipe, manifest.target, manifest.profile) == (
        "sharp-onnxruntime",
        "landmarks",
        "onnxruntime",
        "default",
    )
    assert (manifest.precision_asked, manifest.precision) == ("int8", "int8")
    assert manifest.graphs["main"].io == run.record.io
    calibration = canonical.calibration
    assert manifest.calibration == CalibrationFacts(sha256=calibration.sha256, samples=len(calibration))
    assert read_manifest(exported["openvino"]).calibration is None
    source = manifest.provenance
    assert source.student_sha256 == sha256_file(sharp_run / "student.safetensors")
    assert source.heldout_sha256 == sha256_file(sharp_run / "heldout.npz")
    assert (source.run, source.seed) == ("sharp", run.record.seed)
    assert (exported["onnxruntime"] / source.run_path).resolve() == sharp_run.resolve()
    assert source.teacher_to_student["student"]["nme"] > 0
    assert source.data == run.record.data
    assert {"torch", "onnx", "onnxruntime", "python"} <= set(manifest.versions)
    assert {"nncf", "openvino"} <= set(read_manifest(exported["openvino"]).versions)
    assert manifest.weights.model_dump() == run.record.student


def test_the_licences_are_those_of_the_runs_pictures_labels_and_first_weights(sharp_run):
    record = open_run(sharp_run).record
    sources = [{"source": "video:a.mp4", "licence": "CC BY 4.0"}, {"source": "images:b"}]
    data = {"sources": sources, "labels": {"teacher": "dlib68", "licence": "research only"}}
    stage = record.stages[0].model_copy(update={"starts_from": {"source": "package:x/y.pt", "license": "MIT"}})
    assert licences(record.model_copy(update={"data": data, "stages": (stage,)})) == {
        "video:a.mp4": "CC BY 4.0",
        "images:b": "unknown",
        "labels (dlib68)": "research only",
        "weights student started from (package:x/y.pt)": "MIT",
    }
    assert licences(record.model_copy(update={"data": {}})) == {}


def test_licences_of_the_built_in_data_are_in_the_manifest(exported, sharp_run):
    recorded = [s["source"] for s in open_run(sharp_run).record.data["sources"]]
    licences = read_manifest(exported["onnxruntime"]).licences
    assert recorded
    assert set(recorded) <= set(licences)
    assert all(text and text != "unknown" for text in licences.values())


def test_the_manifest_reads_back_as_it_was_written_and_holds_no_machine_path(exported, tmp_path):
    for folder in exported.values():
        manifest = read_manifest(folder)
        assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
        text = (folder / "manifest.json").read_text()
        assert not re.search(r'"/(tmp|home|root|work|usr)/', text)
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_vectors_are_held_out_samples_with_both_outputs(exported, canonical):
    for target, folder in exported.items():
        bundle = open_bundle(folder)
        vectors, manifest = bundle.vectors(), bundle.manifest
        count = manifest.vectors.samples
        assert count == 12
        heldout = canonical.heldout
        np.testing.assert_array_equal(vectors["raw"]["image"], heldout.raw["image"][:count])
        np.testing.assert_array_equal(
            vectors["feeds"]["image"][3], canonical.pipeline.preprocess(heldout.raws()[3])["image"]
        )
        np.testing.assert_array_equal(vectors["fp32"]["landmarks"], canonical.reference.outputs["landmarks"][:count])
        for index in range(count):
            found = bundle.session.run({"image": vectors["feeds"]["image"][index]})["landmarks"]
            np.testing.assert_allclose(found, vectors["built"]["landmarks"][index], atol=1e-5)
        assert manifest.vectors.built_outputs_from == "this runtime, at export"
        gap = np.abs(vectors["built"]["landmarks"] - vectors["fp32"]["landmarks"]).max()
        limit = manifest.vectors.outputs_tolerance
        assert limit == (1e-4 if target == "openvino" else pytest.approx(gap, rel=1e-3))


def test_the_readmes_snippet_runs(exported, monkeypatch):
    folder = exported["onnxruntime"]
    monkeypatch.chdir(folder.parent)
    text = (folder / "README.md").read_text()
    assert "On 12 held-out samples its nme is" in text
    scope: dict = {}
    exec(re.search(r"```python\n(.*?)```", text, re.S)[1], scope)
    assert scope["prediction"]["landmarks"].shape == (68, 2)


@pytest.mark.parametrize("name", ["_readme", "_vectors", "write_manifest"])
def test_a_bundle_that_cannot_be_finished_is_not_there_at_all(name, road, sharp_run, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("the power went")

    monkeypatch.setattr(module, name, fail)
    with pytest.raises(RuntimeError, match="the power went"):
        export(sharp_run, ["onnxruntime"], "fp32", tmp_path / "bundles")
    assert not list((tmp_path / "bundles").iterdir())


def test_what_replaces_a_bundle_leaves_the_old_one_when_it_fails(road, sharp_run, tmp_path, monkeypatch):
    (first,) = export(sharp_run, ["onnxruntime"], "fp32", tmp_path)
    before = {p.name: sha256_file(p) for p in first.path.iterdir()}
    monkeypatch.setattr(module, "_vectors", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export(sharp_run, ["onnxruntime"], "fp32", tmp_path, overwrite=True)
    assert {p.name: sha256_file(p) for p in first.path.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == [first.path.name]


def test_where_the_runtime_does_not_run_the_reference_speaks_and_says_so(
    road, canonical, sharp_run, tmp_path, monkeypatch
):
    from edgekd.contracts import Probe
    from edgekd_targets.onnxruntime import runtime

    monkeypatch.setattr(runtime, "probe", lambda: Probe(False, why="no such CPU"))
    (result,) = export(sharp_run, ["onnxruntime"], "fp32", tmp_path)
    manifest = read_manifest(result.path)
    assert manifest.not_executed == "not executed: no such CPU"
    assert manifest.vectors.built_outputs_from.startswith("the typed graph, in ")
    assert manifest.candidates[0].why == "not run here: no such CPU"
    arrows = [gate.arrow for gate in manifest.gates][-2:]
    assert arrows == ["canonical ONNX → onnxruntime fp32 graph", "student → onnxruntime fp32, whole road"]
    assert all(gate.where.endswith("unoptimized") for gate in manifest.gates[-2:])
