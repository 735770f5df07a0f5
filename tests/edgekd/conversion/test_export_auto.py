"""``--precision auto``: the fastest that passes its gates, and why the others were not shipped."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from edgekd.bundle.manifest import read_manifest
from edgekd.contracts import Built, Precision
from edgekd.conversion import export as module
from edgekd.conversion.export import export
from edgekd.conversion.trial import GraphTrial, Trial
from edgekd.errors import Exit, GateError, MachineError
from edgekd.measuring.race import RaceResult
from edgekd.measuring.statistics import paired_ratio
from edgekd.registry import profile


@pytest.fixture
def take(monkeypatch):
    """``take(int8=2.0, fp32=3.0)``: what the race finds, in milliseconds."""

    def settle(**latency_ms):
        def race(sessions, feeds, **settings):
            blocks = {name: (np.full(10, int(latency_ms[name] * 1e6)),) * 20 for name in sessions}
            fastest = min(sessions, key=lambda name: latency_ms[name])
            return {
                name: RaceResult(name, latency_ms[name], paired_ratio(blocks[name], blocks[fastest], 0), blocks[name])
                for name in sessions
            }

        monkeypatch.setattr(module, "race", race)

    return settle


@pytest.fixture
def auto(road, sharp_run, tmp_path):
    """Exports to one target and gives the manifest, its candidates by precision, and the road."""

    def run(target):
        (result,) = export(sharp_run, [target], "auto", tmp_path / "bundles")
        if result.error is not None:
            raise result.error
        manifest = read_manifest(result.path)
        return manifest, {str(c.precision): c for c in manifest.candidates}

    run.road = road
    run.out = tmp_path / "bundles"
    return run


def test_the_fastest_is_shipped_and_the_others_say_why_not(auto, take):
    take(int8=2.0, fp32=3.0)
    manifest, candidates = auto("onnxruntime")
    assert (manifest.precision, manifest.precision_asked, manifest.raced) == ("int8", "auto", "raced")
    assert (candidates["int8"].outcome, candidates["int8"].why) == ("shipped", "the fastest here")
    assert candidates["fp32"].outcome == "passed its gates, not shipped"
    assert candidates["fp32"].why == "slower than int8 here"
    assert candidates["int8"].ratio == 1
    assert candidates["fp32"].ratio == pytest.approx(1.5)
    assert candidates["fp32"].median_ms == 3.0
    assert [gate.arrow for gate in manifest.gates][2:] == [gate.arrow for gate in candidates["int8"].gates]


@pytest.mark.parametrize(
    ("latency_ms", "shipped"),
    [
        ({"int8": 2.0, "bf16": 2.05, "fp32": 2.055}, "fp32"),  # within 3 % of the fastest: the most exact
        ({"int8": 2.0, "bf16": 2.05, "fp32": 2.07}, "bf16"),
        ({"int8": 2.0, "bf16": 2.07, "fp32": 2.07}, "int8"),
    ],
)
def test_a_tie_goes_to_the_more_exact(latency_ms, shipped, canonical, take):
    take(**latency_ms)
    trials = [Trial(Precision(name), canonical.start) for name in latency_ms]
    for trial in trials:
        trial.graphs["main"] = GraphTrial(canonical.source.io, Built(Path(), Path()), session=canonical)
    chosen, raced = module._choose(canonical, profile("openvino"), trials)
    assert (chosen.precision, raced) == (shipped, "raced")
    if shipped != "int8":
        assert chosen.why == "under 3 % from the fastest here, and more exact"
        assert trials[0].why == f"under 3 % faster than {shipped}, which is more exact"
        assert trials[0].ratio.value < 1  # its time over the shipped one's


def test_ways_to_place_int8_are_raced_and_the_fastest_ships(auto, take):
    take(**{"int8 (nncf)": 2.2, "int8 (nncf-large)": 2.4, "int8 (onnxruntime)": 2.0, "bf16": 3.0, "fp32": 3.0})
    manifest, _ = auto("openvino")
    found = {c.label: (c.outcome, c.why) for c in manifest.candidates}
    assert found["int8 (onnxruntime)"] == ("shipped", "the fastest here")
    assert found["int8 (nncf)"] == ("passed its gates, not shipped", "slower than int8 (onnxruntime) here")


def test_what_is_slower_is_never_called_faster(auto, take):
    take(int8=2.04, fp32=2.0)
    manifest, candidates = auto("onnxruntime")
    assert manifest.precision == "fp32"
    assert candidates["fp32"].why == "the fastest here"
    assert candidates["int8"].why.startswith("slower than fp32 here")


def test_a_low_precision_that_is_slower_names_what_it_executes_besides(auto, take):
    take(int8=4.0, fp32=2.0)
    _, candidates = auto("onnxruntime")
    assert "not fused" in candidates["int8"].why
    assert "QLinear" in candidates["int8"].why


def test_a_candidate_that_fails_its_gate_is_recorded_and_the_next_is_shipped(auto):
    auto.road.calibrated["onnxruntime", "int8"] = 0.01
    manifest, candidates = auto("onnxruntime")
    assert (manifest.precision, manifest.raced, manifest.calibration) == ("fp32", "single candidate", None)
    failed = candidates["int8"]
    assert failed.outcome == "failed"
    assert failed.why.startswith("the arrow canonical ONNX → onnxruntime int8 graph failed its gate: nme went from")
    assert [(gate.arrow, gate.passed) for gate in failed.gates] == [("canonical ONNX → onnxruntime int8 graph", False)]
    assert all(gate.passed for gate in manifest.gates)


def test_a_candidate_of_nan_outputs_is_recorded_and_the_manifest_can_be_read(auto):
    """An infinite distance must not make the bundle of the next candidate unreadable."""
    import onnx

    def poison(built):
        model = onnx.load(built.typed_onnx)
        if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
            output = model.graph.output[0].name
            for node in model.graph.node:
                node.output[:] = ["finite" if name == output else name for name in node.output]
            log = onnx.helper.make_node("Log", ["below"], [output], name="log")
            below = onnx.helper.make_node("Sub", ["finite", "huge"], ["below"], name="sub")
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1e9), "huge"))
            model.graph.node.extend([below, log])
            onnx.save(model, built.typed_onnx)
        return built

    auto.road.after = poison
    manifest, candidates = auto("onnxruntime")
    assert manifest.precision == "fp32"
    assert candidates["int8"].gates[0].distance["landmarks"].relative_max == np.inf
    assert candidates["int8"].outcome == "failed"


def test_a_precision_that_was_not_built_is_recorded_and_the_next_is_shipped(auto):
    auto.road.instead["onnxruntime", "int8"] = "fp32"
    manifest, candidates = auto("onnxruntime")
    assert manifest.precision == "fp32"
    assert candidates["int8"].why.startswith("onnxruntime: int8 was asked and not built")


def test_what_cannot_be_built_here_is_no_failed_gate(auto):
    auto.road.fails["onnxruntime", "int8"] = MachineError("no such kernel", "too old")
    manifest, candidates = auto("onnxruntime")
    assert manifest.precision == "fp32"
    assert candidates["int8"].outcome == "cannot be built or run here"
    assert candidates["int8"].why == "no such kernel: too old"


def test_all_that_fail_are_all_named_and_nothing_is_left(auto):
    auto.road.calibrated["onnxruntime", "int8"] = 0.01
    auto.road.fails["onnxruntime", "fp32"] = MachineError("no such kernel", "too old")
    with pytest.raises(MachineError, match="onnxruntime: no precision passed") as caught:
        auto("onnxruntime")
    assert "int8: the arrow canonical ONNX → onnxruntime int8 graph failed its gate (nme went" in caught.value.why
    assert "fp32: no such kernel (too old)" in caught.value.why
    assert not auto.out.exists() or not list(auto.out.iterdir())


def test_gates_that_all_fail_are_a_gate_error(auto):
    auto.road.calibrated["onnxruntime", "int8"] = 0.01
    auto.road.fails["onnxruntime", "fp32"] = GateError("the arrow x failed its gate", "y")
    with pytest.raises(GateError) as caught:
        auto("onnxruntime")
    assert caught.value.code == Exit.GATE
    assert "fp32: the arrow x failed its gate (y)" in caught.value.why


@pytest.fixture
def profile_for(tmp_path):
    def write(architecture):
        path = tmp_path / "board.toml"
        path.write_text(
            f'title = "a board"\narchitectures = ["{architecture}"]\nprecisions = ["fp32", "int8"]\n'
            '[quantization]\nrecipe = "onnxruntime"\n'
        )
        return f"onnxruntime/{path}"

    return write


def test_a_profile_of_another_architecture_is_not_raced(auto, profile_for, monkeypatch):
    monkeypatch.setattr(module, "race", lambda *a: pytest.fail("raced on a machine that is not the device"))
    manifest, candidates = auto(profile_for("not-this-machine"))
    assert (manifest.precision, manifest.raced, manifest.profile) == ("fp32", "not raced", "board")
    assert candidates["int8"].why == "listed later in the profile; not raced"
    assert candidates["int8"].median_ms is None
    assert (auto.out / "sharp-onnxruntime-board").is_dir()


def test_a_profile_of_this_architecture_is_raced_for_real(auto, profile_for):
    manifest, candidates = auto(profile_for(platform.machine()))
    assert manifest.raced == "raced"
    assert all(c.median_ms > 0 and c.ratio_interval[0] <= c.ratio <= c.ratio_interval[1] for c in candidates.values())
    shipped = candidates[str(manifest.precision)]
    assert shipped.ratio == 1
    assert all(c.ratio > 1 / module.WORTH - 0.01 for c in candidates.values())


def test_an_explicit_precision_has_no_rivals(road, sharp_run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "race", lambda *a: pytest.fail("nothing to race"))
    (result,) = export(sharp_run, ["onnxruntime"], "fp32", tmp_path)
    manifest = read_manifest(result.path)
    assert (manifest.precision_asked, manifest.raced) == ("fp32", "single candidate")
    assert [c.outcome for c in manifest.candidates] == ["shipped"]
