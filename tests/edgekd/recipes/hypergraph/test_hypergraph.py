import numpy as np
import pytest

from edgekd.errors import InputError
from edgekd.recipes.hypergraph.hypergraph import build


def hyperedges(graph):
    return [graph.members[a:b].tolist() for a, b in zip(graph.offsets[:-1], graph.offsets[1:], strict=True)]


def make(vertices, *edges, weights=None):
    ids = np.repeat(np.arange(len(edges)), [len(e) for e in edges])
    return build(vertices, ids, np.array([v for e in edges for v in e], int), weights)


def test_an_incidence_list_in_any_order_becomes_hyperedges_in_order():
    graph = build(4, np.array([1, 0, 1, 0]), np.array([3, 1, 2, 0]))
    assert hyperedges(graph) == [[0, 1], [2, 3]]
    assert graph.weights.tolist() == [1, 1]


def test_a_vertex_in_no_hyperedge_gets_one_of_its_own():
    assert hyperedges(make(4, [0, 2])) == [[0, 2], [1], [3]]


def test_a_vertex_named_twice_in_one_hyperedge_counts_once():
    assert hyperedges(make(3, [0, 1, 0], [2, 2])) == [[0, 1], [2]]


def test_equal_hyperedges_become_one_with_their_mean_weight():
    graph = make(4, [0, 1], [2, 3], [1, 0], [1, 2], weights=np.array([1.0, 5.0, 3.0, 7.0]))
    assert hyperedges(graph) == [[0, 1], [2, 3], [1, 2]]
    assert graph.weights.tolist() == [2, 5, 7]


def test_merging_agrees_with_sets_on_many_random_hyperedges():
    rng = np.random.default_rng(0)
    edges = [sorted(set(rng.integers(0, 6, rng.integers(1, 5)).tolist())) for _ in range(300)]
    found = {tuple(e) for e in hyperedges(make(6, *edges))}
    assert found == {tuple(e) for e in edges}
    assert make(6, *edges).edge_count == len(found)


def test_a_restriction_renumbers_drops_empty_hyperedges_and_keeps_the_others_weights():
    graph = make(5, [0, 1, 2], [3, 4], [1, 4], weights=np.array([1.0, 2.0, 4.0]))
    cut = graph.restricted(np.array([1, 2, 4]))
    assert hyperedges(cut) == [[0, 1], [2], [0, 2]]
    assert cut.weights.tolist() == [1, 2, 4]
    assert hyperedges(make(3, [0, 1], [2]).restricted(np.array([0, 2]))) == [[0], [1]]


@pytest.mark.parametrize(
    ("edges", "members", "weights", "words"),
    [
        ([0, 0], [0, 3], None, "names vertex 3"),
        ([0, 0], [0, -1], None, "names vertex -1"),
        ([0, -2], [0, 1], None, "hyperedge has the id -2"),
        ([0, 2], [0, 1], None, "hyperedge 1 holds no vertex"),
        ([0, 10**9], [0, 1], None, "hyperedge id 1000000000"),
        ([0, 0], [0.5, 1], None, "vertex id is no integer"),
        ([0, 0], [0, 1], [np.nan], "weights"),
        ([0, 0], [0, 1], [0.0], "weights"),
        ([0, 0], [0, 1], [1.0, 1.0], "hyperedge 1 holds no vertex"),
        ([0], [0, 1], None, "1 hyperedge ids for 2 vertex ids"),
    ],
)
def test_what_is_no_hypergraph_is_refused_with_its_place(edges, members, weights, words):
    with pytest.raises(InputError, match=words):
        build(3, np.array(edges), np.array(members), None if weights is None else np.array(weights))
