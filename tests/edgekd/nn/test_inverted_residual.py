from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.nn.convolution import initialize_convolutions, round_channels
from edgekd.nn.inverted_residual import InvertedResidual, SqueezeExcitation, StochasticDepth


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(32 * 1.2, 40), (1280 * 1.2, 1536), (16 * 0.5, 8), (32 * 0.35, 16), (24 * 0.75, 24), (3, 8), (24, 24)],
)
def test_channels_round_to_eight_and_never_lose_more_than_a_tenth(channels: float, rounded: int) -> None:
    # 24 * 0.75 = 18 would round to 16, a loss of 11 %: 24 is taken instead.
    assert round_channels(channels) == rounded
    assert rounded >= 0.9 * channels


@pytest.mark.parametrize(("stride", "out", "skip"), [(1, 16, True), (2, 16, False), (1, 24, False), (2, 24, False)])
def test_skip_exists_only_where_shapes_agree(stride: int, out: int, skip: bool) -> None:
    block = InvertedResidual(16, out, stride, expansion=6).eval()
    x = torch.rand(2, 16, 8, 8)
    for p in block.parameters():
        nn.init.zeros_(p)
    assert torch.equal(block(x), x if skip else torch.zeros(2, out, 8 // stride, 8 // stride))


def test_last_layer_of_a_block_is_linear() -> None:
    block = InvertedResidual(16, 24, 1, expansion=6)
    y = block(torch.randn(4, 16, 8, 8))
    assert y.min() < -0.5
    assert y.max() > 0.5


def test_expansion_of_one_leaves_the_expanding_convolution_out() -> None:
    count = lambda block: sum(isinstance(m, nn.Conv2d) for m in block.modules())  # noqa: E731
    assert count(InvertedResidual(16, 24, 1, expansion=1)) == 2
    assert count(InvertedResidual(16, 24, 1, expansion=6)) == 3
    assert count(InvertedResidual(16, 24, 1, expansion=6, squeeze=0.25)) == 5


def test_squeeze_excitation_scales_each_channel_by_one_gate_from_the_channel_means() -> None:
    gate = SqueezeExcitation(8, 2, nn.SiLU)
    x = torch.rand(2, 8, 5, 5) + 0.1
    ratio = gate(x) / x
    assert torch.allclose(ratio, ratio[..., :1, :1].expand_as(ratio), atol=1e-6)
    assert ((ratio > 0) & (ratio < 1)).all()
    shuffled = x.flatten(2)[..., torch.randperm(25)].view_as(x)
    assert torch.allclose((gate(shuffled) / shuffled)[..., 0, 0], ratio[..., 0, 0], atol=1e-6)


def test_stochastic_depth_drops_whole_samples_at_its_rate_and_keeps_the_mean() -> None:
    drop = StochasticDepth(0.3)
    y = drop(torch.ones(4000, 2, 3, 3))
    kept = y[:, 0, 0, 0] != 0
    assert torch.equal(y != 0, kept.view(-1, 1, 1, 1).expand_as(y))
    assert kept.float().mean() == pytest.approx(0.7, abs=0.03)
    assert y.mean() == pytest.approx(1.0, abs=0.04)
    assert torch.equal(drop.eval()(y), y)


def test_fresh_block_with_a_skip_is_the_identity_and_still_learns() -> None:
    block = InvertedResidual(16, 16, 1, expansion=6)
    initialize_convolutions(block)
    x = torch.rand(4, 16, 8, 8)
    y = block(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert block.layers[-1][1].weight.grad.abs().min() > 0


def test_fresh_convolutions_are_scaled_by_their_outputs_and_biases_are_zero() -> None:
    layer = nn.Conv2d(64, 256, 3)
    initialize_convolutions(layer)
    assert layer.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert not layer.bias.any()
