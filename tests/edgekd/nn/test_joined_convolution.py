import torch
from torch.nn import functional as F

from edgekd.nn.joined_convolution import JoinedConvolution
from edgekd.nn.lowering import lower


def test_both_forms_are_the_convolution_of_the_maps_side_by_side():
    torch.manual_seed(0)
    maps = [torch.randn(2, channels, 5, 7, dtype=torch.float64) for channels in (3, 4, 2)]
    joined = JoinedConvolution((3, 4, 2), 6).double()
    wanted = F.conv2d(torch.cat(maps, 1), joined.weight, joined.bias, padding=1)
    for form in JoinedConvolution.FORMS:
        torch.testing.assert_close(lower(joined, {"joined_convolution": form})(*maps), wanted, atol=1e-13, rtol=0)


def test_a_trained_weight_has_the_name_and_shape_of_a_convolutions():
    shapes = {name: tuple(value.shape) for name, value in JoinedConvolution((3, 5), 6).state_dict().items()}
    assert shapes == {"weight": (6, 8, 3, 3), "bias": (6,)}
