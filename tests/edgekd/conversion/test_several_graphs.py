"""Several graphs of one student in a bundle: each gated, built in one precision, and judged as they run."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest

import edgekd
from edgekd.bundle.inspect import inspect
from edgekd.bundle.verify import verify
from edgekd.contracts import IoSpec
from edgekd.conversion.export import export
from edgekd.errors import GateError, InputError
from edgekd.registry import recipe_part


def test_the_bundle_holds_every_graph_each_whole_and_typed(mirror, mirror_bundles):
    for path in mirror_bundles.values():
        manifest = edgekd.open(path).manifest
        assert list(manifest.graphs) == ["main", "garment", "frame"]
        assert manifest.live == ("frame",)
        for name, graph in manifest.graphs.items():
            assert {graph.entry, graph.typed_onnx} <= set(manifest.files)
            assert graph.entry.startswith("model." if name == "main" else f"{name}/model.")
            found = onnx.load(path / graph.typed_onnx)
            assert {v.name for v in found.graph.input} == {t.name for t in graph.io.inputs}
        assert manifest.graphs["frame"].io.held == {"pyramid": "garment/pyramid", "masked": "garment/masked"}
        assert manifest.graphs["frame"].placement.precision_by_macs == {"fp32": 1.0}


def test_the_two_steps_are_gated_against_the_one_at_every_arrow(mirror, mirror_bundles):
    gates = {gate.arrow: gate for gate in edgekd.open(mirror_bundles["openvino"]).manifest.gates}
    for arrow in (
        "canonical ONNX → garment, then frame",
        "canonical ONNX → openvino fp32 graph, garment, then frame",
        "student → openvino fp32, whole road, garment, then frame",
    ):
        assert gates[arrow].passed
        assert gates[arrow].limit.startswith("outputs within 0.0001")


@pytest.mark.parametrize(("target", "precision"), [("openvino", "bf16"), ("openvino", "int8"), ("onnxruntime", "int8")])
def test_every_graph_is_built_in_the_precision_of_main_and_verified(target, precision, mirror, mirror_run, tmp_path):
    (result,) = export(mirror_run, [target], precision, tmp_path)
    assert result.error is None, result.error
    found = {check.name: check for check in verify(result.path, threads=1).checks}
    for name in ("precision", "precision of garment", "precision of frame"):
        assert found[name].found > 0.8
    assert found["output of frame, prepared"].passed
    if target == "onnxruntime":
        model = onnx.load(result.path / "garment" / "model.onnx")
        assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_each_graph_is_calibrated_on_what_it_takes(mirror, mirror_run, tmp_path):
    from edgekd.conversion.from_run import make_canonical
    from edgekd.run import open_run

    canonical = make_canonical(open_run(mirror_run), tmp_path / "canonical")
    feeds = {name: list(c) for name, c in canonical.start.calibrations.items()}
    assert {name: set(rows[0]) for name, rows in feeds.items()} == {
        "main": {"person", "clothes", "clothes_edge"},
        "garment": {"clothes", "clothes_edge"},
        "frame": {"person", "pyramid", "masked"},
    }
    assert len({len(rows) for rows in feeds.values()}) == 1
    masked = feeds["main"][3]["clothes"] * feeds["main"][3]["clothes_edge"]
    np.testing.assert_allclose(feeds["frame"][3]["masked"], masked, atol=1e-6)  # of the same sample


def test_a_graph_that_says_something_else_in_two_steps_is_caught(mirror, mirror_run, tmp_path, monkeypatch):
    recipe = recipe_part("mirror", "recipe")
    monkeypatch.setattr(recipe.Garment, "forward", lambda self, c, e: self.student.prepared(c * 0.9, e))
    with pytest.raises(GateError, match="canonical ONNX → garment, then frame failed"):
        export(mirror_run, ["onnxruntime"], "fp32", tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda io: io.model_copy(update={"held": {"pyramid": "cloth/pyramid", "masked": "garment/masked"}}), "cloth"),
        (
            lambda io: io.model_copy(update={"held": {"pyramid": "garment/masked", "masked": "garment/pyramid"}}),
            "shape",
        ),
        (lambda io: io.model_copy(update={"held": {"pyramid": "garment/pyramid"}}), "is fed masked"),
        (
            lambda io: IoSpec(
                inputs=io.inputs, outputs=(io.outputs[0].model_copy(update={"name": "x"}),), held=io.held
            ),
            "what main gives",
        ),
    ],
)
def test_graphs_that_do_not_fit_together_are_refused(change, said, mirror, mirror_run, tmp_path, monkeypatch):
    recipe = recipe_part("mirror", "recipe")
    graphs = recipe.Recipe.graphs

    def changed(self, student, io):
        made = graphs(self, student, io)
        return {"garment": made["garment"], "frame": (made["frame"][0], change(made["frame"][1]))}

    monkeypatch.setattr(recipe.Recipe, "graphs", changed)
    with pytest.raises(InputError, match="graphs are none of one bundle") as caught:
        export(mirror_run, ["onnxruntime"], "fp32", tmp_path)
    assert said in caught.value.why


def test_a_manifest_whose_graphs_do_not_fit_together_is_damaged(mirror, mirror_bundles, copy_of, reseal):
    folder = copy_of(mirror_bundles["onnxruntime"], "changed")
    graphs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["graphs"]
    graphs["frame"]["io"]["held"]["pyramid"] = "main/tryon"
    with pytest.raises(Exception, match="holds main/tryon"):
        reseal(folder, graphs=graphs)


def test_the_readme_says_that_there_are_two_ways_and_its_snippets_run(mirror, mirror_bundles, monkeypatch):
    path = mirror_bundles["onnxruntime"]
    text = (path / "README.md").read_text(encoding="utf-8")
    assert "two ways to run" in text
    monkeypatch.chdir(path.parent)
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)
    np.testing.assert_allclose(names["outputs"]["tryon"][0].transpose(1, 2, 0), names["prediction"]["tryon"], atol=1e-5)


def test_inspect_shows_the_ways_to_run_and_every_graphs_precision(mirror, mirror_bundles):
    tables = dict(inspect(mirror_bundles["openvino"], threads=1).tables(verbose=False))
    main, live = tables["ways to run"][1:]
    assert main[:3] == ["session", "", "person, clothes, clothes_edge"]
    assert live[:3] == ["live('frame')", "clothes, clothes_edge", "person"]
    assert re.fullmatch(r"garment \d\.\d\d, frame \d\.\d\d", live[3])
    assert tables["precision of frame as built"][1][:2] == ["fp32", "100.0%"]
