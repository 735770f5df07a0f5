"""A bundle of several graphs is measured in each way to run it."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from edgekd.bundle.artifact import open_artifact
from edgekd.cli.bench import _contenders
from edgekd.errors import InputError
from edgekd.measuring.bench import Contender, bench
from edgekd.measuring.claims import evidence_from
from edgekd.measuring.protocol import LengthRule, WarmUpRule
from edgekd.reporting.tables import bench_table

RULE = LengthRule("test", 0.05, 64, 1, "both", WarmUpRule("test", 0.0, 4, 2, 1e9, 1), settle_s=0.02, reportable=True)


@pytest.fixture
def workers(mirror, monkeypatch):
    """Lets worker processes find the recipe."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def both(mirror_bundles):
    path = mirror_bundles["openvino"]
    return [Contender(str(path)), Contender(str(path / "frame"))]


def test_a_bundle_stands_for_every_way_to_run_it_and_for_main_alone_where_it_is_judged(
    mirror_bundles, both, tiny_bundles
):
    path = mirror_bundles["openvino"]
    assert _contenders([path], None, judged=False) == both
    assert [c.label for c in both] == [path.name, f"{path.name}/frame"]
    assert _contenders([path], None, judged=True) == both[:1]
    assert _contenders([path / "frame"], None, judged=True) == both[1:]
    assert len(_contenders([tiny_bundles["openvino"]], None, judged=False)) == 1


@pytest.mark.parametrize("scenario", ["single", "paced", "offline"])
def test_both_ways_are_measured_in_every_scenario(scenario, workers, both, tmp_path):
    rule = RULE if scenario != "paced" else replace(RULE, seconds=0.1, stop="either")
    result = bench(both, rule, tmp_path, scenario, threads=1, layers=scenario == "single")
    assert result.failures == ()
    main, live = result.measurements
    assert [m.artifact.graph for m in (main, live)] == ["main", "frame"]
    assert live.artifact.name == f"{main.artifact.name}/frame"
    assert live.artifact.inputs == {"person": (1, 3, 16, 16)}
    assert set(main.artifact.inputs) == {"person", "clothes", "clothes_edge"}
    assert main.memory.graphs_bytes == {}
    assert set(live.memory.graphs_bytes) == {"garment", "frame"}
    assert sum(live.memory.graphs_bytes.values()) == live.memory.artifact_bytes
    assert len({path.name for path in result.paths}) == 2
    if scenario == "single":
        assert {"pre", "infer", "post"} <= set(live.spans)
        assert live.comparisons or main.comparisons
        assert live.profile.layers
        assert len(live.profile.layers) < len(main.profile.layers)  # the garment's nodes are not in it
    console = Console(width=200, file=io.StringIO())
    console.print(bench_table(result.measurements))
    assert f"{live.artifact.name} loads garment" in console.file.getvalue()


def test_a_prepared_graph_is_no_evidence_for_what_a_paper_says_of_the_whole(workers, both, tmp_path):
    live = bench(both[1:], RULE, tmp_path, threads=1).measurements[0]
    assert evidence_from(live) == []
    assert evidence_from(live.model_copy(update={"artifact": live.artifact.model_copy(update={"graph": "main"})}))


@pytest.mark.parametrize("graph", ["garment", "fram"])
def test_a_graph_that_is_no_way_to_run_is_refused_by_name(graph, mirror, mirror_bundles):
    with pytest.raises(InputError, match=f"has no live graph {graph}") as caught:
        open_artifact(str(mirror_bundles["openvino"] / graph))
    assert "frame" in caught.value.why
