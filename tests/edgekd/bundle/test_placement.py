from __future__ import annotations

import pytest

from edgekd.bundle.placement import LEAST_SHARE, precision_shortfall, summarize
from edgekd.contracts import NodePlacement, Placement, Precision


def placement(**macs_by_precision):
    nodes = [NodePlacement(f"n{p}", "Conv", p, "CPU", macs=m) for p, m in macs_by_precision.items()]
    return Placement((*nodes, NodePlacement("cast", "Cast", "convert", "CPU", macs=0)), "a runtime")


@pytest.mark.parametrize(("int8", "enough"), [(100, True), (80, True), (79, False), (0, False)])
def test_at_least_four_fifths_of_the_work_must_be_what_was_asked(int8, enough):
    share = precision_shortfall(placement(int8=int8, fp32=100 - int8), Precision.INT8)
    assert share.limit == LEAST_SHARE == 0.8
    assert share.found == pytest.approx(int8 / 100)
    assert (share.found >= share.limit) is enough


def test_a_graph_that_is_not_the_precision_asked_for_has_none_of_it():
    assert precision_shortfall(placement(fp32=10), Precision.BF16).found == 0
    assert precision_shortfall(placement(), Precision.FP32).found == 0  # nothing attributed proves nothing


@pytest.mark.parametrize("precision", ["w8", "w4", "palette", "mixed"])
def test_compressed_weights_compute_in_any_type(precision):
    share = precision_shortfall(placement(fp32=10), Precision(precision))
    assert share.found >= share.limit


def test_the_summary_counts_macs_nodes_and_what_could_not_be_attributed():
    nodes = (
        NodePlacement("a", "Conv", "int8", "CPU", macs=300),
        NodePlacement("b", "Conv", "fp32", "GPU", macs=100),
        NodePlacement("c", "Conv", "fp32", "CPU", macs=None),
        NodePlacement("d", "Relu", "fp32", "CPU"),
    )
    summary = summarize(Placement(nodes, "a runtime"))
    assert summary.source == "a runtime"
    assert summary.precision_by_macs == {"int8": 0.75, "fp32": 0.25}
    assert summary.device_by_macs == {"CPU": 0.75, "GPU": 0.25}
    assert summary.precision_by_nodes == {"int8": 1, "fp32": 3}
    assert summary.unattributed_macs == 1


def test_a_graph_that_multiplies_nothing_is_judged_by_its_nodes():
    nodes = [NodePlacement(str(i), "Add", kind, "CPU") for i, kind in enumerate(["fp32", "fp32", "int8", "i64"])]
    assert precision_shortfall(Placement(tuple(nodes), "a runtime"), Precision.FP32).found == pytest.approx(2 / 3)
