"""Every recipe builds for every target in every precision, or the product says why not."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.registry import profile

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "matrix.py"
RECIPES = ("hypergraph", "landmarks", "streaming", "tryon")
# One profile of each way to build: the others differ in a device's name, or in the version of a system.
TAKEN = (
    "onnxruntime/default", "openvino/default", "tensorrt/rtx", "tensorrt/rtx-turing", "coreml/iphone-ios18",
)  # fmt: skip
NEEDS = {"tensorrt/rtx": "tensorrt_rtx", "tensorrt/rtx-turing": "tensorrt_rtx", "coreml/iphone-ios18": "coremltools"}
# A student of seconds is right by chance: what int8 and few bits cost it is no measure of them.
MAY_FAIL_A_GATE = {"int8", "mixed", "w8", "w4", "palette", "bf16"}


def _script():
    spec = importlib.util.spec_from_file_location("benchmark_matrix", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


# Of students that take minutes to convert, one precision a target: benchmarks/matrix.py takes the others.
ONE_OF = {"onnxruntime": "int8", "openvino": "bf16", "tensorrt": "fp16", "coreml": "fp16"}
LARGE = ("streaming", "tryon")
# TensorRT-RTX has no fp32 matrix product for Turing: what a gate or a rule wants in fp32 cannot be built.
MAY_BE_REFUSED = {"tensorrt/rtx-turing": "not supported"}

matrix = _script()
CELLS = [
    cell
    for cell in matrix.cells()
    if f"{cell.target}/{cell.profile}" in TAKEN
    and (cell.recipe not in LARGE or (cell.precision == ONE_OF[cell.target] and cell.profile != "rtx-turing"))
]


@pytest.fixture(scope="session")
def students(tmp_path_factory):
    """recipe -> its run, of seconds of training; each made when it is first asked for."""
    from edgekd.training.distill import distill

    folder, made = tmp_path_factory.mktemp("matrix"), {}

    def student(recipe):
        if recipe not in made:
            settings = (*matrix.STUDENTS[recipe], *matrix.SHORT[recipe])
            made[recipe] = distill(recipe, folder / recipe, preset=matrix.PRESET, settings=settings).path
        return made[recipe]

    return student


@pytest.fixture
def shared(monkeypatch, request):
    """The canonical graph of a run is made once for all of its cells."""
    from edgekd.conversion import from_run

    made = request.config.stash.setdefault(_CANONICAL, {})
    make = from_run.make_canonical

    def once(run, folder):
        if run.path not in made:
            keep = run.path.parent / f"{run.path.name}-canonical"
            made[run.path] = make(run, keep)
        return replace(made[run.path], gates=list(made[run.path].gates))

    monkeypatch.setattr(from_run, "make_canonical", once)


_CANONICAL = pytest.StashKey[dict]()


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_cell_is_built_and_inspected_or_fails_its_gate_with_both_figures(cell, students, shared):
    target = f"{cell.target}/{cell.profile}"
    if target in NEEDS:
        pytest.importorskip(NEEDS[target])
    row = matrix.take(students(cell.recipe), target, cell.precision)
    if row["outcome"] == "failed a gate":
        assert cell.precision in MAY_FAIL_A_GATE
        assert " failed its gate" in row["what"] or " was asked and not built" in row["what"]
        assert row["why"]
        return
    if row["outcome"] == "refused" and target in MAY_BE_REFUSED:
        assert MAY_BE_REFUSED[target] in row["what"] + row["why"]
        return
    assert row["outcome"] == "built", f"{row.get('what')}: {row.get('why')}"
    assert row["inspected"]
    assert sum(row["precision_by_macs"].values()) == pytest.approx(1)
    assert row["seconds"] > 0
    assert row["peak_bytes"] < matrix.LIMIT_BYTES
    assert row["samples"] > 1
    if target == "tensorrt/rtx":
        assert row["engine"]


def test_every_precision_of_every_profile_of_what_builds_is_a_cell_once():
    cells = matrix.cells()
    assert len(set(cells)) == len(cells)
    assert {cell.recipe for cell in cells} == set(RECIPES)
    assert {cell.target for cell in cells} == {"onnxruntime", "openvino", "tensorrt", "coreml"}
    of = Counter((cell.recipe, cell.target, cell.profile) for cell in cells)
    assert all(count == len(profile(f"{t}/{p}").precisions) for (_, t, p), count in of.items())
    assert set(matrix.STUDENTS) == set(matrix.SHORT) == set(RECIPES)


@pytest.mark.parametrize(
    ("patterns", "count"),
    [
        ([["tryon", "coreml", "iphone", "int8"]], 1),
        ([["tryon", "openvino", "default"]], 3),
        ([["*", "openvino", "default", "fp32"], ["hypergraph", "onnxruntime", "default"]], 4 + 2),
        ([["tryon*", "tensorrt", "rtx*"]], 4 + 2),
    ],
)
def test_only_takes_cells_by_patterns_in_the_order_of_their_names(patterns, count):
    assert sum(any(cell.matches(given) for given in patterns) for cell in matrix.cells()) == count


def _row(recipe="tryon", target="coreml", profile="iphone", precision="fp16", **more):
    return {
        "recipe": recipe, "target": target, "profile": profile, "precision": precision, "outcome": "built",
        "seconds": 9.0, "peak_bytes": 600_000_000, "size_bytes": 2_000_000, "sqnr_db": 61.3, "metric": "ssim",
        "before": 0.5, "after": 0.499, "loss": 0.002, "where": "the evaluator", "not_executed": "no Mac",
        "engine": None, "precision_by_macs": {"fp16": 0.9, "fp32": 0.1}, **more,
    }  # fmt: skip


def _results(*rows, missing=()):
    return {
        "created": "2026-01-01T00:00:00", "machine": "a machine", "versions": {"torch": "2"}, "rows": list(rows),
        "students": dict.fromkeys(RECIPES, ("height=64",)), "missing": list(missing),
    }  # fmt: skip


def test_the_document_tells_what_ran_here_from_what_was_judged_by_a_reference():
    refused = {"outcome": "refused", "what": "Core ML lacks it", "why": "it does", "fix": "write it otherwise"}
    rows = [
        _row(),
        _row(precision="int8", sqnr_db=None),
        _row(target="openvino", profile="default", precision="int8", not_executed=""),
        _row(target="tensorrt", profile="t4", engine=""),
        _row(precision="w8", **refused),
        _row(target="coreml", profile="mac", precision="w8", **refused),
    ]
    text = matrix.document(_results(*rows))
    assert "| coreml/iphone | 61 | = | refused |" in text
    assert "| openvino/default |  | **61** |  |" in text
    assert "| tensorrt/t4 | *61* |  |  |" in text
    assert "fp16 90.0%, fp32 10.0%" in text
    assert "- coreml/iphone w8, coreml/mac w8: refused: Core ML lacks it: it does. write it otherwise" in text


def test_the_section_says_what_is_missed_and_what_was_not_taken():
    good = matrix.section(_results(_row()))
    assert "**missed**" not in good
    assert "not taken" not in good
    text = matrix.section(
        _results(_row(seconds=181.0), _row(peak_bytes=9e9), _row(outcome="broken"), missing=["a b c d"])
    )
    assert text.count("**missed**") == 2
    assert "| tryon | 3 | 2 | 0 | 0 | 0 | **1** |" in text
    assert "Cells that were not taken: 1." in text
