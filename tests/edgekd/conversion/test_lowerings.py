"""A profile's lowerings on the road: other forms of the student's blocks, gated, and said in the manifest."""

from __future__ import annotations

import onnx
import pytest

import edgekd
from edgekd.bundle.inspect import inspect
from edgekd.bundle.verify import verify
from edgekd.conversion.export import export
from edgekd.errors import Exit, GateError, InputError

PROFILE = """\
title = "any CPU"
device = "{device}"
precisions = [{precisions}]

[lowerings]
{lowerings}
"""


@pytest.fixture
def lowered(mirror, mirror_run, tmp_path):
    """``lowered(target, lowerings, precision)``: what becomes of the run with a profile of its own."""

    def make(target, lowerings, precision="auto", precisions='"fp32"'):
        lines = "\n".join(f'{op} = "{form}"' for op, form in lowerings.items())
        device = {"onnxruntime": "cpu", "openvino": "CPU"}[target]
        text = PROFILE.format(device=device, precisions=precisions, lowerings=lines)
        (tmp_path / "own.toml").write_text(text, encoding="utf-8")
        (result,) = export(mirror_run, [f"{target}/{tmp_path / 'own.toml'}"], precision, tmp_path / "bundles")
        return result

    return make


def ops(bundle):
    return [node.op_type for node in onnx.load(bundle.path / bundle.manifest.graphs["main"].typed_onnx).graph.node]


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_the_bundle_holds_the_form_that_the_profile_names(target, lowered, mirror_bundles):
    result = lowered(target, {"agreement": "matmul"})
    assert result.error is None
    bundle, plain = edgekd.open(result.path, threads=1), edgekd.open(mirror_bundles[target], threads=1)
    assert (bundle.manifest.lowerings, plain.manifest.lowerings) == ({"agreement": "matmul"}, {})
    assert "MatMul" in ops(bundle)
    assert "MatMul" not in ops(plain)
    assert verify(result.path, threads=1).passed


def test_the_lowered_graph_is_gated_against_the_canonical_one_in_a_reference(lowered):
    manifest = edgekd.open(lowered("onnxruntime", {"agreement": "matmul"}).path).manifest
    arrows = {gate.arrow: gate for gate in manifest.gates}
    gate = arrows["canonical ONNX → lowered (agreement: matmul)"]
    assert gate.passed
    assert "unoptimized" in gate.where
    assert gate.limit.startswith("outputs within 0.0001")
    assert "lowered (agreement: matmul) → onnxruntime fp32 graph" in arrows  # the next arrow begins there
    assert manifest.candidates[0].lowerings == {"agreement": "matmul"}


def test_every_graph_of_the_bundle_has_the_form(lowered):
    bundle = edgekd.open(lowered("onnxruntime", {"agreement": "matmul"}).path)
    frame = onnx.load(bundle.path / bundle.manifest.graphs["frame"].typed_onnx)
    assert "MatMul" in [node.op_type for node in frame.graph.node]


def test_inspect_says_which_forms_were_built(lowered):
    lines = inspect(lowered("onnxruntime", {"agreement": "matmul"}).path, threads=1).lines()
    assert "lowerings: agreement: matmul" in lines


@pytest.mark.parametrize("lowerings", [{"warp": "grid_sample"}, {"agreement": "product"}])
def test_a_lowering_that_changes_nothing_of_the_student_is_nothing(lowerings, lowered):
    manifest = edgekd.open(lowered("onnxruntime", lowerings).path).manifest
    assert manifest.lowerings == {}
    assert not any("lowered" in gate.arrow for gate in manifest.gates)


def test_a_form_that_is_not_exact_fails_its_gate_by_name(lowered):
    result = lowered("onnxruntime", {"agreement": "wrong"}, "fp32")
    assert result.code == Exit.GATE
    assert isinstance(result.error, GateError)
    assert result.error.what == "the arrow canonical ONNX → lowered (agreement: wrong) failed its gate"


def test_auto_falls_back_to_the_plain_form_and_says_why(lowered):
    result = lowered("onnxruntime", {"agreement": "wrong"})
    manifest = edgekd.open(result.path).manifest
    assert manifest.lowerings == {}
    failed, shipped = manifest.candidates
    assert (failed.outcome, failed.lowerings) == ("failed", {"agreement": "wrong"})
    assert "lowered (agreement: wrong) failed its gate" in failed.why
    assert [gate.passed for gate in failed.gates] == [False]
    assert (shipped.outcome, shipped.lowerings) == ("shipped", {})
    assert all(gate.passed for gate in manifest.gates)
    assert "lowerings: none; agreement: wrong failed" in "\n".join(inspect(result.path, threads=1).lines())


@pytest.mark.parametrize(
    ("lowerings", "said"), [({"agrement": "matmul"}, "no op 'agrement'"), ({"agreement": "tiles"}, "no form 'tiles'")]
)
def test_an_op_or_form_that_edgekd_does_not_know_is_refused(lowerings, said, lowered):
    result = lowered("onnxruntime", lowerings)
    assert isinstance(result.error, InputError)
    assert said in result.error.what
