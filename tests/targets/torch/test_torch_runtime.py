from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekd.bundle.artifact import open_artifact
from edgekd.errors import InputError
from edgekd_targets.torch import runtime


@pytest.fixture
def graph(tiny_run):
    return open_artifact(str(tiny_run), None, threads=1).graph


@pytest.fixture(autouse=True)
def own_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_pytorchs(threads, graph):
    runtime.load(replace(graph, options={"threads": threads}))
    assert torch.get_num_threads() == threads


def test_it_gives_what_training_recorded(graph, tiny_run):
    from edgekd.recipes.landmarks.pipeline import Pipeline
    from edgekd.run import open_run

    heldout, pipeline, session = open_run(tiny_run).heldout(), Pipeline(graph.io), runtime.load(graph)
    for index, raw in enumerate(heldout.raws()[:4]):
        found = session.run(pipeline.preprocess(raw))["landmarks"]
        np.testing.assert_allclose(found, heldout.student["landmarks"][index], atol=1e-5)


def test_it_neither_trains_nor_keeps_a_gradient(graph):
    session = runtime.load(graph)
    assert not any(module.training for module in session.module.modules())
    before = {name: value.clone() for name, value in session.module.state_dict().items()}
    session.run({"image": np.ones((1, 3, 32, 32), np.float32)})
    assert all(torch.equal(value, before[name]) for name, value in session.module.state_dict().items())
    assert all(p.grad is None for p in session.module.parameters())


def test_a_mode_that_is_none_is_refused(graph):
    with pytest.raises(InputError, match="the torch target cannot use") as caught:
        runtime.load(replace(graph, options={"mode": "fast"}))
    assert "eager or compile" in caught.value.fix


def test_placement_names_every_leaf_in_fp32_and_claims_no_costs(graph):
    placement = runtime.placement(graph)
    kinds = {node.op for node in placement.nodes}
    assert {"Conv2d", "Linear"} <= kinds
    assert {node.precision for node in placement.nodes} == {"fp32"}
    assert all(node.macs is None for node in placement.nodes)
