"""Manifests, run records, measurements: JSON that somebody else may have written."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.documents import LEAVING, VALUES, broken, changed
from strategies.outcome import loaded, only_within

from edgekd.bundle import manifest as manifests
from edgekd.bundle.inspect import Inspection, inspect
from edgekd.bundle.open import Bundle
from edgekd.bundle.open import open as open_bundle
from edgekd.cli.main import run as edgekd
from edgekd.errors import EdgekdError
from edgekd.measuring.claims import evidence_from
from edgekd.measuring.measurement import load as load_measurement
from edgekd.run import open_run, read_record
from edgekd.storage import read_json


def seal(folder: Path, document: object) -> None:
    """As somebody would who knows how: the manifest's own sha256 is right."""
    if isinstance(document, dict) and "sha256" in document:
        document = {"sha256": "", **{key: value for key, value in document.items() if key != "sha256"}}
    text = json.dumps(document)
    file = folder / "manifest.json"
    file.write_text(manifests._sealed(text, manifests._seal(text)), encoding="utf-8", newline="\n")


@pytest.fixture
def bundle(folder, tiny_bundles):
    return Path(shutil.copytree(tiny_bundles["onnxruntime"], folder / "bundle"))


@pytest.fixture
def document(bundle):
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def looked_at(bundle: Bundle) -> None:
    """What every verb asks of a bundle before it loads the graph."""
    assert bundle.size_bytes >= 0
    assert bundle.graph().path.resolve().is_relative_to(bundle.path.resolve())
    bundle.manifest.model_dump_json()
    shown = Inspection("x", bundle.size_bytes, bundle.manifest.placement, "", (), bundle.manifest)
    shown.lines()
    shown.tables(verbose=True)
    assert dataclasses.asdict(shown)


@given(data=st.data())
def test_a_changed_manifest_opens_or_is_refused(data, bundle, document):
    seal(bundle, data.draw(changed(document)))
    with only_within(bundle):
        loaded(lambda: looked_at(open_bundle(bundle)))


@given(data=st.data())
def test_a_manifest_of_any_json_is_refused(data, bundle):
    seal(bundle, data.draw(VALUES))
    assert isinstance(loaded(lambda: open_bundle(bundle)), EdgekdError)


@given(data=st.data())
def test_a_manifest_with_any_bytes_changed_is_refused(data, bundle):
    file = bundle / "manifest.json"
    whole = file.read_bytes()
    changed_bytes = data.draw(broken(whole))
    file.write_bytes(changed_bytes)
    result = loaded(lambda: open_bundle(bundle))
    assert isinstance(result, EdgekdError) or changed_bytes == whole
    file.write_bytes(whole)


@given(name=st.sampled_from(LEAVING), where=st.sampled_from(["files", "entry", "typed_onnx"]))
def test_a_path_that_leaves_the_bundle_is_refused_before_it_is_looked_at(name, where, bundle, document):
    if where == "files":
        document["files"][name] = document["files"]["README.md"]
    else:
        document["graphs"]["main"][where] = name
    seal(bundle, document)
    with only_within(bundle):
        assert isinstance(loaded(lambda: open_bundle(bundle)), EdgekdError)


@pytest.mark.parametrize("target", ["../canary", "/etc/hostname", "model.onnx/../../../canary", "."])
@pytest.mark.parametrize("name", ["README.md", "model.onnx", "vectors.npz"])
def test_a_link_out_of_the_bundle_is_refused(bundle, document, name, target):
    (bundle / name).unlink()
    os.symlink(target, bundle / name)
    assert isinstance(loaded(lambda: open_bundle(bundle)), EdgekdError)


def test_a_file_behind_a_linked_folder_is_refused_even_with_the_right_sha256(bundle, document, folder):
    outside = folder / "outside"
    outside.mkdir()
    shutil.copyfile(bundle / "README.md", outside / "README.md")
    os.symlink(outside, bundle / "inner")
    document["files"]["inner/README.md"] = document["files"]["README.md"]
    seal(bundle, document)
    error = loaded(lambda: open_bundle(bundle))
    assert isinstance(error, EdgekdError)
    assert "leaves its folder" in error.what


def test_a_link_within_the_bundle_and_a_linked_bundle_are_read(bundle, folder):
    os.replace(bundle / "README.md", bundle / "text")
    os.symlink("text", bundle / "README.md")
    os.symlink(bundle, folder / "link")
    assert isinstance(loaded(lambda: open_bundle(folder / "link")), Bundle)


def test_a_file_that_is_none_is_refused_and_not_waited_for(bundle):
    (bundle / "README.md").unlink()
    os.mkfifo(bundle / "README.md")
    assert isinstance(loaded(lambda: open_bundle(bundle)), EdgekdError)


@given(data=st.data())
def test_the_command_line_says_one_message_about_a_changed_manifest(data, bundle, document, capfd):
    seal(bundle, data.draw(changed(document)))
    for verb in ("verify", "inspect"):
        capfd.readouterr()
        code = edgekd([verb, str(bundle), "--json", "--threads", "1"])
        out = json.loads(capfd.readouterr().out)
        assert code in (0, 2, 3, 4), out
        assert code == 0 or out["error"]["what"]


@given(data=st.data())
def test_a_changed_run_record_opens_or_is_refused(data, folder, tiny_run):
    run = folder / "run"
    if not run.exists():
        shutil.copytree(tiny_run, run)
    document = json.loads((tiny_run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(data.draw(changed(document))), encoding="utf-8")
    with only_within(run):
        opened = loaded(lambda: open_run(run))
        if not isinstance(opened, EdgekdError):
            loaded(lambda: (opened.sha256, opened.heldout().raws(), opened.calibration()))


@pytest.mark.parametrize("target", ["../canary", "/etc/hostname"])
def test_a_link_out_of_a_run_is_refused(folder, tiny_run, target):
    run = Path(shutil.copytree(tiny_run, folder / "run"))
    (run / "student.safetensors").unlink()
    os.symlink(target, run / "student.safetensors")
    assert isinstance(loaded(lambda: open_run(run)), EdgekdError)


@given(data=st.data())
def test_a_changed_measurement_loads_or_is_refused(data, folder, real_measurement):
    file = folder / "m.json"
    file.write_text(json.dumps(data.draw(changed(real_measurement))), encoding="utf-8")

    def used():
        measurement = load_measurement(file)
        evidence_from(measurement)
        return measurement.title, measurement.file_name, measurement.runs, measurement.startup.total_ms

    with only_within(folder):
        loaded(used)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_as_every_record(content, folder):
    for name, load in (
        ("run.json", lambda: read_record(folder)),
        ("manifest.json", lambda: open_bundle(folder)),
        ("m.json", lambda: load_measurement(folder / "m.json")),
    ):
        (folder / name).write_bytes(content)
        assert isinstance(loaded(load), EdgekdError)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 500 + "]" * 500, '{"a":' * 90 + "1" + "}" * 90, "1" * 10_000, "\xef"]
)
def test_json_that_would_exhaust_who_reads_it_is_refused(folder, text):
    (folder / "a.json").write_text(text, encoding="latin-1")
    assert isinstance(loaded(lambda: read_json(folder / "a.json")), EdgekdError)


def test_inspecting_leaves_nothing_open_outside(bundle):
    with only_within(bundle, Path("/tmp")):
        assert loaded(lambda: inspect(bundle)).manifest is not None
