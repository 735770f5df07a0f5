"""The three baselines are one function: a contest of unlike ones would prove nothing."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.recipes.hypergraph.hypergraph import build
from edgekd.recipes.hypergraph.models import HypergraphNetwork, Propagation

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hypergraph_speed.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("hypergraph_speed", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_laplacian_factorised_and_two_hop_give_every_vertex_the_same_logits(script):
    pytest.importorskip("scipy", reason="scipy is not installed")
    rng = np.random.default_rng(0)
    edges = np.concatenate([np.arange(30), rng.integers(0, 30, 70)])
    graph = build(50, edges, rng.integers(0, 45, 100), rng.uniform(0.5, 2, 30))
    torch.manual_seed(0)
    network, x, propagate = HypergraphNetwork(6, 3, 8).eval(), torch.randn(50, 6), Propagation(graph, "hgnn")
    wanted = script.Whole(network, x, propagate).run({})
    torch.testing.assert_close(script.Whole(network, x, script.laplacian(graph)).run({}), wanted)
    local = script.TwoHop(network, x, propagate)
    found = torch.cat([local.run({"vertex": torch.tensor([v])}) for v in range(50)])
    torch.testing.assert_close(found, wanted)
