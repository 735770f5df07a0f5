import torch

from edgekd.nn.focus import FocusConv
from edgekd.nn.lowering import lower


def test_channels_are_the_pixels_of_a_square_top_left_bottom_left_top_right_bottom_right():
    layer = FocusConv(1, 4)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(4), range(4), 1, 1] = 1
        got = layer(torch.tensor([[[[1.0, 3.0], [2.0, 4.0]]]]))
    assert got.flatten().tolist() == [1, 2, 3, 4]


def test_both_forms_give_the_same_also_with_a_bias_that_was_folded_in():
    torch.manual_seed(0)
    layer, x = FocusConv(3, 5).double(), torch.randn(2, 3, 6, 4, dtype=torch.float64)
    layer.bias = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))
    with torch.no_grad():
        want, got = layer(x), lower(layer, {"focus": "space_to_depth"})(x)
    assert want.shape == (2, 5, 3, 2)
    assert (want - got).abs().max() < 1e-12
