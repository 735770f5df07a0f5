from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import pytest

from edgekd.contracts import Graph, Precision
from edgekd.errors import InputError, MachineError
from edgekd_targets.coreml import runtime
from edgekd_targets.coreml.package import MODEL, WEIGHTS, read_spec

elsewhere = pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs here")


@pytest.fixture
def graph(built, small):
    return Graph(built("fp16").entry, small.io, Precision.FP16, {"device": "all"})


@elsewhere
def test_a_machine_without_core_ml_says_so(graph):
    probe = runtime.probe()
    assert not probe.can_run
    assert "macOS" in probe.why
    with pytest.raises(MachineError, match="cannot run here"):
        runtime.load(graph)
    with pytest.raises(MachineError, match="cannot run here"):
        runtime.profile_layers(graph, [])


@elsewhere
def test_types_are_read_from_the_program_where_it_cannot_run(graph):
    placement = runtime.placement(graph)
    assert placement.share_of_macs("precision") == {"fp16": pytest.approx(1)}
    assert placement.share_of_macs("device") == {"not placed": pytest.approx(1)}


def test_every_compute_unit_is_a_variant_of_all(graph):
    assert [g.options["device"] for g in runtime.variants(graph)] == ["all", "cpu_only", "cpu_and_gpu", "cpu_and_ne"]
    alone = replace(graph, options={"device": "cpu_only"})
    assert runtime.variants(alone) == [alone]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "knows no compute unit 'tpu'"),
        ({"threads": 2}, "takes no number of threads"),
        ({"stream": 1}, "no runtime option 'stream'"),
    ],
)
def test_an_option_that_it_does_not_know_is_refused(options, message, graph):
    with pytest.raises(InputError, match=message):
        runtime.load(replace(graph, options=options))


def test_a_program_that_is_not_the_io_specs_is_refused(graph):
    other = graph.io.model_copy(update={"outputs": (graph.io.outputs[0].model_copy(update={"name": "other"}),)})
    with pytest.raises(InputError, match="is not the graph that its io spec says"):
        runtime.load(replace(graph, io=other))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: (p / WEIGHTS).unlink(), "has no weights"),
        (lambda p: shutil.rmtree(p / WEIGHTS.parent), "has no weights"),
        (lambda p: (p / WEIGHTS).write_bytes((p / WEIGHTS).read_bytes()[:-100]), "is damaged"),
        (lambda p: (p / WEIGHTS).write_bytes(b""), "is damaged"),
        (lambda p: (p / MODEL).unlink(), "is not whole"),
        (lambda p: (p / "Manifest.json").unlink(), "is not whole"),
        (lambda p: (p / MODEL).write_bytes(b"\xff" * 100), "is damaged"),
        (lambda p: (p / MODEL).write_bytes(b""), "holds no ML Program"),
    ],
)
def test_a_package_that_is_not_whole_is_refused(harm, message, graph, tmp_path):
    package = shutil.copytree(graph.path, tmp_path / "model.mlpackage")
    harm(package)
    with pytest.raises(InputError, match=message):
        read_spec(package)


def test_a_file_is_no_package(tmp_path):
    (tmp_path / "a.mlpackage").write_bytes(b"")
    with pytest.raises(InputError, match="a folder"):
        read_spec(tmp_path / "a.mlpackage")
