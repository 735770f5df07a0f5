import numpy as np
import pytest
import torch

from edgekd.nn.sparse import SparseRows


def matrix(seed, rows=7, columns=5, ones=False):
    """A dense matrix with many zeros (a row and a column of them, too) and the same one as ``SparseRows``."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < 0.4)
    dense[2], dense[:, 1] = 0, 0
    if ones:
        dense = (dense != 0).astype(float)
    offsets = np.concatenate([[0], np.cumsum((dense != 0).sum(1))])
    where = np.nonzero(dense)
    values = None if ones else dense[where]
    return torch.from_numpy(dense).float(), SparseRows.from_numpy(offsets, where[1], values, columns)


@pytest.mark.parametrize("ones", [False, True])
def test_product_and_gradient_are_the_dense_ones(ones):
    dense, sparse = matrix(0, ones=ones)
    one = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    other = one.detach().clone().requires_grad_()
    weight = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    (weight * (dense @ one)).sum().backward()
    (weight * (sparse @ other)).sum().backward()
    torch.testing.assert_close(sparse @ other, dense @ one)
    torch.testing.assert_close(other.grad, one.grad)


@pytest.mark.parametrize("ones", [False, True])
def test_the_transpose_is_the_dense_ones_transpose_and_back(ones):
    dense, sparse = matrix(1, ones=ones)
    eye = torch.eye(7)
    assert sparse.T.shape == (5, 7)
    torch.testing.assert_close(sparse.T @ eye, dense.T)
    torch.testing.assert_close(sparse.T.T @ torch.eye(5), dense)


def test_other_values_in_the_same_places_reach_product_and_gradient():
    dense, sparse = matrix(2)
    doubled = sparse.with_values(2 * sparse.values)
    x = torch.ones(5, 2, requires_grad=True)
    (doubled @ x).sum().backward()
    torch.testing.assert_close(x.grad, (2 * dense).sum(0)[:, None].expand(5, 2))


def test_row_sums_of_values_and_of_ones():
    dense, sparse = matrix(3)
    torch.testing.assert_close(sparse.row_sums(), dense.sum(1))
    dense, sparse = matrix(3, ones=True)
    torch.testing.assert_close(sparse.row_sums(), dense.sum(1))


def test_a_matrix_without_entries_gives_zeros():
    empty = SparseRows.from_numpy(np.zeros(4, int), np.empty(0, int), None, 6)
    assert (empty @ torch.ones(6, 2)).tolist() == [[0, 0]] * 3
    assert (empty.T @ torch.ones(3, 2)).shape == (6, 2)
