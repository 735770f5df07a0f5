import pytest
import torch
from torch import nn

from edgekd.nn.enlarged_convolution import CoarseTaps, EnlargedConvolution, enlarged


@pytest.mark.parametrize("taps", [1, 2])
@pytest.mark.parametrize("reduced", [False, True])
def test_convolving_the_coarse_map_first_changes_nothing(taps, reduced):
    torch.manual_seed(0)
    smooth = nn.Conv2d(6, 5, 3, padding=1).double()
    laterals = [nn.Conv2d(c, 6, 1).double() for c in (4, 3)[-taps:]]
    sizes = [(6, 10), (12, 20)][:taps]
    tapped = [
        torch.randn(2, own.in_channels, *size, dtype=torch.float64) for own, size in zip(laterals, sizes, strict=True)
    ]
    coarse = torch.randn(2, 7 if reduced else 6, 3, 5, dtype=torch.float64)
    reduce = torch.randn(6, 7, dtype=torch.float64) if reduced else None

    total = coarse if reduce is None else torch.einsum("ij,bjhw->bihw", reduce, coarse)
    for own, tap in zip(laterals, tapped, strict=True):
        total = enlarged(total) + own(tap)
    fast = EnlargedConvolution(smooth, [(own.weight[:, :, 0, 0], own.bias) for own in laterals])
    torch.testing.assert_close(fast(tapped, CoarseTaps(smooth, reduce)(coarse)), smooth(total), atol=1e-12, rtol=0)
