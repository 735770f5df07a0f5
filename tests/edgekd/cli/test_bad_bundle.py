"""Bundles and measurements that were changed, cut off or made by a newer edgekd."""

from __future__ import annotations

import json
import shutil

import pytest

VERBS = ("verify", "eval", "inspect", "predict", "bench")


@pytest.fixture
def refused(edgekd, picture, tmp_path):
    """``refused(bundle, *parts, verbs=...)``: each verb says so, once, with exit 2, and writes nothing."""
    photo = picture(tmp_path / "photo.png")

    def call(bundle, *parts, verbs=VERBS):
        more = {
            "predict": [photo, "--out", tmp_path / "x.png"],
            "bench": ["--length", "quick", "--out", tmp_path / "m"],
        }
        for verb in verbs:
            edgekd(verb, bundle, *more.get(verb, [])).says(2, *parts)
        assert not (tmp_path / "x.png").exists()
        assert not (tmp_path / "m").exists()

    return call


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_one_changed_byte_in_any_file_is_named(refused, copy_of, tiny_bundles, target, where):
    bundle = copy_of(tiny_bundles[target])
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    assert {"manifest.json", "vectors.npz", "README.md", "model.onnx"} <= {path.name for path in files}
    for file in files:
        whole = file.read_bytes()
        changed = bytearray(whole)
        changed[int(where * len(changed))] ^= 1
        file.write_bytes(changed)
        refused(bundle, file.name, verbs=("verify",))
        file.write_bytes(whole)


def test_every_digit_of_the_manifest_is_sealed(refused, copy_of, tiny_bundles):
    """A changed figure is still JSON and still valid; only the seal tells."""
    bundle = copy_of(tiny_bundles["onnxruntime"])
    file = bundle / "manifest.json"
    text = file.read_text(encoding="utf-8")
    for old, new in (
        ('"passed": true', '"passed": false'),
        ('"samples": 12', '"samples": 19'),
        ('"threads": 0', '"threads": 1'),
        ("\n", "\n "),
    ):
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        refused(bundle, "manifest.json has changed", verbs=("verify", "inspect"))


def test_changed_byte_is_refused_by_every_verb(refused, copy_of, tiny_bundles):
    bundle = copy_of(tiny_bundles["onnxruntime"])
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    refused(bundle, "model.onnx has changed", "sha256", "export the run again")


def test_missing_file_is_refused_by_name(refused, copy_of, tiny_bundles):
    bundle = copy_of(tiny_bundles["openvino"])
    (bundle / "model.bin").unlink()
    refused(bundle, "model.bin is missing", verbs=("verify", "predict"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_manifest_is_damage(refused, copy_of, tiny_bundles, share):
    bundle = copy_of(tiny_bundles["onnxruntime"])
    text = (bundle / "manifest.json").read_text(encoding="utf-8")
    (bundle / "manifest.json").write_text(text[: int(share * len(text))], encoding="utf-8")
    refused(bundle, "manifest.json is damaged", "not valid JSON", verbs=("verify", "inspect"))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda m: m | {"schema_version": 99}, ("bundle schema 99", "reads up to", "pip install --upgrade edgekd")),
        (lambda m: m | {"schema_version": "1"}, ("manifest.json is damaged", "schema_version")),
        (lambda m: [m], ("manifest.json is damaged",)),
        (lambda m: {}, ("manifest.json is damaged",)),
    ],
)
def test_newer_or_strange_schema_is_refused(refused, copy_of, tiny_bundles, edit_json, change, parts):
    bundle = copy_of(tiny_bundles["onnxruntime"])
    edit_json(bundle / "manifest.json", change)
    refused(bundle, *parts, verbs=("verify", "eval", "inspect"))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"precision": "fp33"}, "precision"),
        ({"files": {}}, "vectors.npz"),
        ({"unknown": 1}, "unknown"),
        ({"target": "openvno"}, "no target 'openvno'"),
        ({"recipe": "landmrks"}, "no recipe 'landmrks'"),
    ],
)
def test_manifest_sealed_by_someone_else_is_still_checked(refused, copy_of, tiny_bundles, change, part):
    from edgekd.bundle import manifest

    bundle = copy_of(tiny_bundles["onnxruntime"])
    data = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    text = json.dumps({"schema_version": 1, "sha256": ""} | data | change | {"sha256": ""})
    (bundle / "manifest.json").write_text(manifest._sealed(text, manifest._seal(text)), encoding="utf-8")
    refused(bundle, part, verbs=("verify",))


def test_infinite_distance_of_a_failed_candidate_is_read_back(copy_of, tiny_bundles):
    from edgekd.bundle.manifest import Distance, read_manifest, write_manifest

    bundle = copy_of(tiny_bundles["onnxruntime"])
    manifest = read_manifest(bundle)
    far = Distance(relative_max=float("inf"), sqnr_db=float("-inf"), cosine=0.0)
    gates = tuple(gate.model_copy(update={"distance": {"landmarks": far}}) for gate in manifest.gates)
    write_manifest(bundle, manifest.model_copy(update={"gates": gates}))
    assert read_manifest(bundle).gates[0].distance["landmarks"] == far


def test_folder_that_is_no_bundle_is_told_from_a_missing_one(refused, tmp_path, tiny_run):
    refused(tmp_path / "none", "there is no bundle")
    refused(tiny_run, "is no bundle", verbs=("verify", "inspect", "predict"))
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "is no bundle", "manifest.json")


def test_eval_says_where_the_data_of_a_moved_bundle_must_come_from(edgekd, copy_of, tiny_bundles, tiny_run):
    moved = copy_of(tiny_bundles["onnxruntime"], "far/away/moved")
    edgekd("eval", moved).says(2, "held-out data", "--run RUN")
    assert edgekd("eval", moved, "--run", tiny_run).code == 0


def test_eval_refuses_the_data_of_another_run(edgekd, copy_of, tiny_bundles, tiny_run):
    run = copy_of(tiny_run)
    shutil.copyfile(run / "calibration.npz", run / "heldout.npz")
    edgekd("eval", tiny_bundles["onnxruntime"], "--run", run).says(2, "is not the data", "sha256 differs")


def test_one_broken_contender_does_not_stop_the_bench(benched):
    assert benched.code == 2
    assert "Traceback" not in benched.err
    (failure,) = benched.document["failures"]
    assert failure["contender"] == "broken"
    assert "model.bin is missing" in failure["error"]["what"]
    assert [m["artifact"]["target"] for m in benched.document["measurements"]] == ["onnxruntime"]
    assert len(list(benched.folder.iterdir())) == 1


def test_newer_damaged_or_foreign_measurement_is_named_by_the_report(edgekd, benched, copy_of, tmp_path):
    folder, page = copy_of(benched.folder), tmp_path / "r.html"
    (file,) = folder.iterdir()
    good = json.loads(file.read_text(encoding="utf-8"))
    for data, part in (
        (good | {"schema_version": 99}, "measurement schema 99"),
        (good | {"headline": None}, "headline"),
        ({"x": 1}, "is damaged or no measurement"),
    ):
        file.write_text(json.dumps(data), encoding="utf-8")
        edgekd("report", file, "--out", page).says(2, file.name, part)
    file.write_text(json.dumps(good)[:-100], encoding="utf-8")
    edgekd("report", folder, "--out", page).says(2, file.name, "is damaged")
    assert not page.exists()
