"""Each arrow of the road, broken alone, is named; and what fails leaves no bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgekd.bundle.manifest import read_manifest
from edgekd.conversion import export as road_module
from edgekd.conversion import from_run as module
from edgekd.conversion.calibration import RunCalibration
from edgekd.conversion.export import export
from edgekd.conversion.from_run import make_canonical
from edgekd.errors import Exit, GateError, InputError, MachineError
from edgekd.run import open_run
from edgekd.storage import read_arrays, write_arrays

TARGETS = ("onnxruntime", "openvino")
FIRST_ARROW = "training → student and pipeline"


def failed(results):
    """The error of the one target, with what it left behind."""
    (result,) = results
    assert result.path is None
    assert result.error is not None
    return result.error


def empty(folder):
    return not folder.exists() or not list(folder.iterdir())


def test_a_changed_student_is_caught_at_the_first_arrow(sharp_run, copy_of, sealed, tmp_path):
    from safetensors.numpy import load_file, save_file

    run = copy_of(sharp_run)
    weights = load_file(run / "student.safetensors")
    weights["head.bias"][0] += 1e-3
    save_file(weights, run / "student.safetensors")
    sealed(run)
    with pytest.raises(GateError, match=f"the arrow {FIRST_ARROW} failed") as caught:
        export(run, TARGETS, out=tmp_path / "bundles")
    assert "outputs differ by 0.001, allowed 0.0001; 12 held-out samples, in PyTorch" in caught.value.why
    assert empty(tmp_path / "bundles")


def test_a_wrong_mean_in_the_pipeline_is_caught_at_the_first_arrow(sharp_run, copy_of, sealed, tmp_path):
    run = copy_of(sharp_run)
    io = json.loads((run / "run.json").read_text())["io"]
    io["inputs"][0]["image"]["mean"] = [0.5, 0.5, 0.5]
    sealed(run, {"io": io})
    with pytest.raises(GateError, match=f"the arrow {FIRST_ARROW} failed"):
        export(run, TARGETS, out=tmp_path / "bundles")
    assert empty(tmp_path / "bundles")


def test_one_weight_changed_while_exporting_is_caught_at_the_canonical_onnx(
    sharp_run, canonical, one_weight_changed, monkeypatch, tmp_path
):
    def wrong(student, io, path):
        one_weight_changed(canonical.source.model, path)

    monkeypatch.setattr(module, "export_onnx", wrong)
    with pytest.raises(GateError, match="the arrow student → canonical ONNX failed") as caught:
        export(sharp_run, TARGETS, out=tmp_path / "bundles")
    assert "outputs differ by 0.001" in caught.value.why
    assert "ONNX Runtime" in caught.value.why
    assert empty(tmp_path / "bundles")


def test_both_first_arrows_are_recorded_where_they_hold(canonical):
    arrows = [(gate.arrow, gate.passed, gate.samples, gate.metric) for gate in canonical.gates]
    assert arrows == [(FIRST_ARROW, True, 12, "nme"), ("student → canonical ONNX", True, 12, "nme")]
    for gate in canonical.gates:
        assert gate.distance["landmarks"].relative_max < 1e-5
        assert gate.interval[0] <= gate.relative_loss <= gate.interval[1]


@pytest.mark.parametrize("target", TARGETS)
def test_calibration_inputs_a_hundredth_as_large_are_caught_at_the_quantization(
    target, sharp_run, canonical, copy_of, sealed, monkeypatch, tmp_path
):
    run = copy_of(sharp_run)
    arrays = read_arrays(run / "calibration.npz")
    arrays["raw/image"] = (arrays["raw/image"] * 0.01).astype(np.uint8)
    write_arrays(run / "calibration.npz", arrays)
    dark = replace(canonical, calibration=RunCalibration(open_run(sealed(run)), canonical.pipeline))
    monkeypatch.setattr(module, "make_canonical", lambda run, path: dark)
    error = failed(export(run, [target], "int8", tmp_path / "bundles"))
    assert isinstance(error, GateError)
    assert error.what == f"the arrow canonical ONNX → {target} int8 graph failed its gate"
    assert "allowed +2.0%" in error.why
    assert empty(tmp_path / "bundles")


@pytest.mark.parametrize("target", TARGETS)
def test_int8_of_the_right_calibration_passes_every_arrow(target, road, sharp_run, tmp_path):
    (result,) = export(sharp_run, [target], "int8", tmp_path)
    assert result.error is None
    manifest = read_manifest(result.path)
    assert [gate.arrow for gate in manifest.gates] == [
        FIRST_ARROW,
        "student → canonical ONNX",
        f"canonical ONNX → {target} int8 graph",
        f"{target} int8 graph → built",
        f"student → {target} int8, whole road",
    ]
    assert all(gate.passed for gate in manifest.gates)
    assert manifest.placement.precision_by_macs["int8"] > 0.99


def test_an_ir_of_other_weights_is_caught_between_graph_and_built(
    road, canonical, sharp_run, one_weight_changed, tmp_path
):
    import openvino

    def other(built):
        one_weight_changed(canonical.source.model, tmp_path / "other.onnx")
        openvino.save_model(openvino.Core().read_model(tmp_path / "other.onnx"), built.entry, compress_to_fp16=False)
        return built

    road.after = other
    error = failed(export(sharp_run, ["openvino"], "fp32", tmp_path / "bundles"))
    assert error.what == "the arrow openvino fp32 graph → built failed its gate"
    assert "outputs differ by 0.001" in error.why
    assert empty(tmp_path / "bundles")


def test_an_onnx_of_other_weights_is_caught_between_graph_and_built(
    road, canonical, sharp_run, one_weight_changed, tmp_path
):
    def other(built):
        entry = built.entry.with_name("other.onnx")
        one_weight_changed(canonical.source.model, entry)
        return replace(built, entry=entry)

    road.after = other
    error = failed(export(sharp_run, ["onnxruntime"], "fp32", tmp_path / "bundles"))
    assert error.what == "the arrow onnxruntime fp32 graph → built failed its gate"
    assert empty(tmp_path / "bundles")


@pytest.mark.parametrize("target", TARGETS)
def test_fp32_built_where_int8_was_asked_is_no_int8_bundle(target, road, sharp_run, tmp_path):
    road.instead[target, "int8"] = "fp32"
    error = failed(export(sharp_run, [target], "int8", tmp_path / "bundles"))
    assert isinstance(error, GateError)
    assert error.what == f"{target}: int8 was asked and not built"
    assert "0% of the multiply-accumulates are int8" in error.why
    assert empty(tmp_path / "bundles")


@pytest.mark.parametrize(("asked", "hint"), [("bf16", "f32"), ("fp32", "bf16")])
def test_a_wrong_precision_hint_is_a_precision_that_was_not_built(asked, hint, road, sharp_run, monkeypatch, tmp_path):
    import openvino

    from edgekd.contracts import Precision
    from edgekd_targets.openvino import runtime

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    monkeypatch.setitem(runtime.HINTS, Precision(asked), hint)
    error = failed(export(sharp_run, ["openvino"], asked, tmp_path / "bundles"))
    assert error.what == f"openvino: {asked} was asked and not built"
    assert empty(tmp_path / "bundles")


def test_two_arrows_that_each_lose_a_little_may_not_lose_too_much_together(road, canonical, sharp_run, monkeypatch):
    """The whole road is judged against the student itself, not only step by step."""
    judged = []
    real = type(canonical).judge

    def judge(self, arrow, before, after, precision, where):
        judged.append((arrow, before is self.first, before is self.reference))
        return real(self, arrow, before, after, precision, where)

    monkeypatch.setattr(type(canonical), "judge", judge)
    monkeypatch.setattr(road_module, "write_bundle", lambda *a, folder, **k: folder)
    export(sharp_run, ["onnxruntime"], "fp32", "unused")
    assert judged == [
        ("canonical ONNX → onnxruntime fp32 graph", False, True),
        ("onnxruntime fp32 graph → built", False, False),
        ("student → onnxruntime fp32, whole road", True, False),
    ]


def test_one_target_fails_and_the_other_is_written(road, sharp_run, tmp_path):
    road.calibrated["openvino", "int8"] = 0.01
    good, bad = export(sharp_run, ["onnxruntime", "openvino"], "int8", tmp_path / "bundles")
    assert (good.code, bad.code) == (Exit.OK, Exit.GATE)
    assert [p.name for p in (tmp_path / "bundles").iterdir()] == ["sharp-onnxruntime"]
    assert read_manifest(good.path).precision == "int8"


def test_the_command_returns_the_worst_code_and_keeps_what_was_made(road, sharp_run, tmp_path, capsys):
    from edgekd.cli.main import run

    road.calibrated["openvino", "int8"] = 0.01
    targets = ["--target", "openvino", "--target", "onnxruntime"]
    code = run(["export", str(sharp_run), *targets, "--precision", "int8", "--out", str(tmp_path / "b"), "-q"])
    assert code == Exit.GATE
    assert "canonical ONNX → openvino int8 graph" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["sharp-onnxruntime"]
    code = run(["export", str(sharp_run), *targets, "--precision", "int8", "--out", str(tmp_path / "b"), "--json"])
    assert code == Exit.INPUT  # what exists is refused before anything is built


def test_a_runtime_that_cannot_read_the_graph_stops_its_own_target_alone(road, sharp_run, tmp_path):
    road.fails["openvino", "fp32"] = MachineError("OpenVINO's ONNX front end cannot read the graph", "no such op")
    bad, good = export(sharp_run, ["openvino", "onnxruntime"], "fp32", tmp_path)
    assert bad.code == Exit.MACHINE
    assert good.path.is_dir()


@pytest.mark.parametrize(
    ("targets", "precision", "what"),
    [
        ([], "auto", "no target was named"),
        (["tensorflow"], "auto", "there is no target 'tensorflow'"),
        (["openvino/fast"], "auto", "openvino has no profile 'fast'"),
        (["openvino"], "int9", "there is no precision 'int9'"),
        (["onnxruntime"], "bf16", "the profile onnxruntime/default lists no bf16"),
        (["openvino", "onnxruntime"], "bf16", "the profile onnxruntime/default lists no bf16"),
        (["torch"], "auto", "nothing is built for torch"),
        (["openvino", "openvino"], "auto", "two targets make the same bundle"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_built(targets, precision, what, sharp_run, monkeypatch):
    monkeypatch.setattr(module, "make_canonical", lambda *a: pytest.fail("too late"))
    with pytest.raises(InputError) as caught:
        export(sharp_run, targets, precision)
    assert what in caught.value.what


def test_an_existing_bundle_is_replaced_only_when_asked_and_only_by_one_that_passes(road, sharp_run, tmp_path):
    (first,) = export(sharp_run, ["onnxruntime"], "fp32", tmp_path)
    before = (first.path / "manifest.json").read_bytes()
    with pytest.raises(InputError, match="exists"):
        export(sharp_run, ["onnxruntime"], "int8", tmp_path)
    road.calibrated["onnxruntime", "int8"] = 0.01
    failed(export(sharp_run, ["onnxruntime"], "int8", tmp_path, overwrite=True))
    assert (first.path / "manifest.json").read_bytes() == before
    road.calibrated.clear()
    (second,) = export(sharp_run, ["onnxruntime"], "int8", tmp_path, overwrite=True)
    assert read_manifest(second.path).precision == "int8"
    assert [p.name for p in tmp_path.iterdir()] == ["sharp-onnxruntime"]


def test_nan_weights_of_a_run_never_reach_a_bundle(sharp_run, copy_of, sealed, tmp_path):
    from safetensors.numpy import load_file, save_file

    run = copy_of(sharp_run)
    weights = load_file(run / "student.safetensors")
    weights["head.bias"][0] = np.nan
    save_file(weights, run / "student.safetensors")
    sealed(run)
    with pytest.raises((GateError, InputError)):
        export(run, TARGETS, out=tmp_path / "bundles")
    assert empty(tmp_path / "bundles")


def test_the_canonical_graph_is_made_without_touching_the_run(sharp_run, canonical, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "export_onnx", lambda student, io, path: shutil.copy(canonical.source.model, path))
    before = {p.name: p.stat().st_mtime_ns for p in sharp_run.iterdir()}
    made = make_canonical(open_run(sharp_run), tmp_path / "canonical")
    assert {p.name: p.stat().st_mtime_ns for p in sharp_run.iterdir()} == before
    assert [g.arrow for g in made.gates] == [g.arrow for g in canonical.gates]
