import numpy as np
import pytest
import torch

from edgekd.nn.correlation import Correlation
from edgekd.nn.lowering import lower


def naive(first: np.ndarray, second: np.ndarray, radius: int) -> np.ndarray:
    batch, _, height, width = first.shape
    side = 2 * radius + 1
    out = np.zeros((batch, side * side, height, width))
    for y, x in np.ndindex(height, width):
        for index, (dy, dx) in enumerate(np.ndindex(side, side)):
            v, u = y + dy - radius, x + dx - radius
            if 0 <= v < height and 0 <= u < width:
                out[:, index, y, x] = (first[:, :, y, x] * second[:, :, v, u]).mean(1)
    return out


@pytest.mark.parametrize("form", Correlation.FORMS)
@pytest.mark.parametrize(("size", "radius"), [((8, 6), 3), ((17, 33), 3), ((16, 32), 2), ((1, 5), 1)])
def test_every_form_is_the_naive_loop(form, size, radius):
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 5, *size, dtype=torch.float64)
    correlation = lower(Correlation(radius), {"correlation": form})
    np.testing.assert_allclose(correlation(first, second), naive(first.numpy(), second.numpy(), radius), atol=1e-14)


def test_the_middle_displacement_of_a_map_with_itself_is_its_mean_square():
    first = torch.randn(1, 4, 6, 7)
    torch.testing.assert_close(Correlation(3)(first, first)[:, 24], (first * first).mean(1))


def test_both_forms_have_the_same_gradient():
    torch.manual_seed(0)
    gradients = []
    for form in Correlation.FORMS:
        maps = torch.randn(2, 1, 3, 9, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        maps.requires_grad_()
        lower(Correlation(3), {"correlation": form})(*maps).square().sum().backward()
        gradients.append(maps.grad)
    torch.testing.assert_close(*gradients)
