import pytest
import torch
from torch import nn

from edgekd.nn.folding import fold_batchnorm
from edgekd.nn.reparameterized import RepConv


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_branches_fold_to_one_convolution_that_computes_the_same(dtype, limit):
    torch.manual_seed(0)
    block = RepConv(6, 4).to(dtype)
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -1, 1)
    network = nn.Sequential(block, nn.SiLU()).eval()
    x = torch.randn(2, 6, 7, 5, dtype=dtype)
    folded = fold_batchnorm(network)
    assert [type(layer) for layer in folded] == [nn.Conv2d, nn.SiLU]
    with torch.no_grad():
        want, got = network(x), folded(x)
    assert want.std() > 0.1
    assert (want - got).abs().max() < limit
    assert isinstance(network[0], RepConv)  # the network itself is as it was


def test_a_block_with_norms_is_not_merged():
    with pytest.raises(ValueError, match="fold it first"):
        RepConv(2, 2).merged()
