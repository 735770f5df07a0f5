import pytest
import torch

from edgekd.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_a_share_of_the_values_is_dropped_and_the_rest_is_scaled_so_that_the_mean_stays(p):
    torch.manual_seed(0)
    found = Dropout(p)(torch.ones(301, 333))
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert found.mean().item() == pytest.approx(1, abs=0.02)
    assert all(value == 0 or value == pytest.approx(1 / (1 - p), rel=1e-4) for value in found.unique().tolist())


def test_the_gradient_goes_through_what_was_kept():
    x = torch.ones(50, 7, requires_grad=True)
    found = Dropout(0.5)(x)
    found.sum().backward()
    assert torch.equal(x.grad, found.detach())


def test_masks_differ_and_repeat_by_seed_and_evaluation_drops_nothing():
    layer, x = Dropout(0.5), torch.ones(64, 5)
    torch.manual_seed(3)
    one, other = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), one)
    assert not torch.equal(one, other)
    assert torch.equal(layer.eval()(x), x)


def test_neighbouring_values_are_dropped_independently():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(40_000)) > 0).float()
    for lag in (1, 2, 3, 4):
        pairs = torch.stack([kept[:-lag], kept[lag:]])
        assert abs(torch.corrcoef(pairs)[0, 1].item()) < 0.02
