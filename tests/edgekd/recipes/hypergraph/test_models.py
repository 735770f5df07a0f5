import numpy as np
import pytest
import torch

from edgekd.nn.folding import fold_batchnorm
from edgekd.nn.sparse import SparseRows
from edgekd.recipes.hypergraph.hypergraph import build
from edgekd.recipes.hypergraph.models import HypergraphNetwork, Propagation, StudentMLP


def graph():
    weights = np.array([1.0, 2.0, 0.5])
    return build(6, np.array([0, 0, 0, 1, 1, 2, 2, 2, 2]), np.array([0, 1, 2, 2, 3, 0, 1, 3, 4]), weights)


def dense(graph, model):
    """The V x V operator, as the papers write it."""
    h = np.zeros((graph.vertex_count, graph.edge_count))
    h[graph.members, graph.edges()] = 1
    w, de = np.diag(graph.weights.astype(float)), np.diag(1 / h.sum(0))
    dv = (h @ w).sum(1)
    if model == "hgnn":
        half = np.diag(dv**-0.5)
        return half @ h @ w @ de @ h.T @ half
    return np.diag(1 / dv) @ h @ w @ de @ h.T


@pytest.mark.parametrize("model", ["hgnn", "hgnn+"])
def test_propagation_by_way_of_the_hyperedges_is_the_papers_operator(model):
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    operator = torch.from_numpy(dense(graph(), model)).float()
    found = Propagation(graph(), model)(x)
    torch.testing.assert_close(found, operator @ x)
    weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((weight * found).sum(), x)
    torch.testing.assert_close(gradient, operator.T @ weight)


def test_a_vertex_alone_keeps_its_features():
    x = torch.randn(6, 2)
    for model in ("hgnn", "hgnn+"):
        torch.testing.assert_close(Propagation(graph(), model)(x)[5], x[5])


def test_a_teacher_is_the_same_on_dense_and_on_sparse_features():
    x = torch.relu(torch.randn(6, 4, generator=torch.Generator().manual_seed(2)))
    where = np.nonzero(x.numpy())
    offsets = np.concatenate([[0], np.cumsum((x.numpy() != 0).sum(1))])
    sparse = SparseRows.from_numpy(offsets, where[1], x.numpy()[where], 4)
    network, propagate = HypergraphNetwork(4, 3).eval(), Propagation(graph(), "hgnn")
    torch.testing.assert_close(network(x, propagate), network(sparse, propagate))
    student = StudentMLP(4, 3).eval()
    torch.testing.assert_close(student(x), student(sparse))


def test_the_students_batch_norm_is_folded_into_the_layer_behind_it():
    student = StudentMLP(5, 3, hidden=8)
    with torch.no_grad():
        student(torch.randn(50, 5))  # running statistics that are not the first ones
        student.layers[2].weight.uniform_(0.5, 2)
        student.layers[2].bias.normal_()
    folded = fold_batchnorm(student)
    assert not any(isinstance(layer, torch.nn.BatchNorm1d) for layer in folded.modules())
    x = torch.randn(9, 5)
    torch.testing.assert_close(folded(x), student.eval()(x))
