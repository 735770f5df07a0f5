"""Engines made anew from the typed ONNX."""

from __future__ import annotations

import json

import pytest

from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.rebuild import rebuild
from edgekd.errors import InputError, MachineError
from edgekd.storage import sha256_file


@pytest.fixture(scope="module")
def engines(tiny_run, tmp_path_factory):
    """The tiny student in fp16: an engine, and what is yet to become one."""
    pytest.importorskip("tensorrt_rtx")
    from edgekd.conversion.export import export

    out = tmp_path_factory.mktemp("engines")
    results = export(tiny_run, ["tensorrt/rtx", "tensorrt/jetson-orin"], "fp16", out)
    for result in results:
        if result.error is not None:
            raise result.error
    return [result.path for result in results]


def test_what_was_built_and_what_was_not_run_is_in_the_manifest(engines):
    rtx, jetson = (open_bundle(path).manifest for path in engines)
    assert rtx.not_executed.startswith("built for sm_86, sm_89, sm_120; not executed: ")
    assert jetson.not_executed.startswith("to be built on sm_87, by TensorRT; not executed: ")
    assert rtx.raced == "single candidate"
    for manifest in (rtx, jetson):
        assert manifest.placement.precision_by_macs == {"fp16": pytest.approx(1)}
        assert manifest.gates[-1].where.endswith("unoptimized")
        assert manifest.gates[-1].arrow == "student → tensorrt fp16, whole road"
        assert manifest.vectors.built_outputs_from.startswith("the typed graph, in ")
        assert manifest.calibration is None  # it was scanned, and decided no number
    assert rtx.graphs["main"].engine.compute_capabilities == ("sm_86", "sm_89", "sm_120")
    assert jetson.graphs["main"].entry == jetson.graphs["main"].typed_onnx
    readme = (engines[1] / "README.md").read_text(encoding="utf-8")
    assert "trtexec --onnx=model.onnx" in readme
    assert 'pip install "edgekd[tensorrt]"' in readme


def test_the_same_types_become_a_new_bundle_and_the_old_one_stays(engines, tmp_path):
    old = {p.name: sha256_file(p) for p in engines[0].iterdir()}
    made = rebuild(engines[0], tmp_path / "made")
    assert {p.name: sha256_file(p) for p in engines[0].iterdir()} == old
    new = {p.name: sha256_file(p) for p in made.path.iterdir()}
    assert new.keys() == old.keys()
    assert {n for n in new if new[n] == old[n]} >= {"model.onnx", "vectors.npz", "README.md"}
    assert made.manifest.name == "made"
    assert made.manifest.provenance.notes[-1] == f"rebuilt from the bundle {open_bundle(engines[0]).sha256}"
    with pytest.raises(InputError, match="exists"):
        rebuild(engines[0], tmp_path / "made")


def test_a_bundle_without_an_engine_needs_none(tiny_bundles):
    with pytest.raises(InputError, match="needs no rebuilding"):
        rebuild(tiny_bundles["onnxruntime"])


def test_where_it_cannot_be_built_nothing_is_written(engines, tmp_path):
    from edgekd_targets.tensorrt import cuda

    try:
        cuda.first_device()
    except MachineError:
        with pytest.raises(MachineError, match="TensorRT cannot build the engine here"):
            rebuild(engines[1], tmp_path / "made")
        assert not list(tmp_path.iterdir())
    else:
        pytest.skip("there is a GPU here")


def test_types_that_are_not_the_manifests_are_refused(engines, tmp_path, monkeypatch):
    """An fp32 graph where fp16 was recorded: a builder that ignored the types would be found."""
    from dataclasses import replace

    from edgekd.errors import GateError
    from edgekd_targets.tensorrt import runtime

    honest = runtime.placement

    def lying(graph):
        found = honest(graph)
        return replace(found, nodes=tuple(replace(n, precision="fp32") for n in found.nodes))

    monkeypatch.setattr(runtime, "placement", lying)
    with pytest.raises(GateError, match="rebuilt in something else than fp16"):
        rebuild(engines[0], tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_what_it_built_and_what_it_did_not_run(engines, tmp_path, capsys):
    from edgekd.cli.main import run

    assert run(["rebuild", str(engines[0]), "--out", str(tmp_path / "made"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["engine"]["builder"] == "TensorRT-RTX"
    assert "not executed" in said["not_executed"]
    assert run(["inspect", str(tmp_path / "made")]) == 0
    assert "not executed: there is no NVIDIA driver here" in capsys.readouterr().out
