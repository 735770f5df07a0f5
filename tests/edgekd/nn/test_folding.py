from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from edgekd.nn.convolution import ConvNormAct
from edgekd.nn.folding import fold_batchnorm, fold_input_normalization
from edgekd.recipes.landmarks.models import efficientnet, mobilenet_v2


@pytest.fixture(autouse=True)
def _seeded_on_one_thread() -> Iterator[None]:
    """Threads of such small tensors wait for each other longer than they work, the more so on busy cores."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def trained(module: nn.Module) -> nn.Module:
    """BatchNorm as it is after training: no statistic and no weight at its start value."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, NORMS) and layer.running_mean is not None:
            for tensor, low, high in (
                (layer.running_mean, -0.5, 0.5),
                (layer.running_var, 0.5, 2.0),
                (layer.weight, 0.5, 1.5),
                (layer.bias, -0.5, 0.5),
            ):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=generator)
    return module.eval()


@pytest.mark.parametrize("build", [lambda: mobilenet_v2(68), lambda: efficientnet(29, width=0.5, depth=0.5)])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_folded_network_computes_the_same_without_a_batchnorm(build, dtype, limit) -> None:
    module = trained(build()).to(dtype)
    x = torch.rand(1, 3, 32, 32, dtype=dtype)
    folded = fold_batchnorm(module)
    with torch.no_grad():
        want, got = module(x), folded(x)
    assert want.std() > 1e-3
    assert (want - got).abs().max() <= limit
    assert not any(isinstance(m, NORMS) for m in folded.modules())


def test_folding_is_wrong_for_a_network_whose_statistics_changed_afterwards() -> None:
    module = trained(ConvNormAct(3, 4, 3))
    folded = fold_batchnorm(module)
    module[1].running_mean += 0.1
    x = torch.rand(1, 3, 8, 8)
    assert (module(x) - folded(x)).abs().max() > 1e-3


def test_original_is_untouched_and_the_copy_is_in_eval_mode() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).train()
    before = copy.deepcopy(module.state_dict())
    folded = fold_batchnorm(module)
    assert module.training
    assert not folded.training
    assert isinstance(module[1], nn.BatchNorm2d)
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert folded[0].weight.data_ptr() != module[0].weight.data_ptr()


def test_bias_of_the_convolution_and_batchnorm_without_weights_are_folded() -> None:
    module = trained(nn.Sequential(nn.Conv1d(3, 6, 3, groups=3), nn.BatchNorm1d(6, affine=False), nn.ReLU())).double()
    x = torch.randn(2, 3, 9, dtype=torch.float64)
    assert (fold_batchnorm(module)(x) - module(x)).abs().max() <= 1e-12


class PreActivation(nn.Module):
    """Registers a convolution before the BatchNorm that it does not feed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.relu(self.norm(x)))


@pytest.mark.parametrize(
    "module",
    [
        PreActivation(),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
)
def test_batchnorm_that_no_convolution_directly_feeds_stays(module: nn.Module) -> None:
    x = torch.rand(2, 4, 5, 5)
    module = trained(module)
    folded = fold_batchnorm(module)
    assert any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert torch.allclose(folded(x), module(x), atol=1e-6)


def test_shared_convolution_is_not_folded_twice() -> None:
    conv = nn.Conv2d(4, 4, 1)
    module = trained(nn.Sequential(conv, nn.BatchNorm2d(4), conv, nn.BatchNorm2d(4)))
    x = torch.rand(2, 4, 5, 5)
    assert torch.allclose(fold_batchnorm(module)(x), module(x), atol=1e-6)


def test_normalisation_folds_exactly_but_for_the_first_row_and_column() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    stem = trained(ConvNormAct(3, 8, 3, stride=2)).double()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    centre, spread = (torch.tensor(v, dtype=x.dtype).view(3, 1, 1) for v in (mean, std))
    want = stem((x - centre) / spread)
    fold_input_normalization(stem[0], stem[1], mean, std)
    difference = (stem(x) - want).abs()
    assert difference[..., 1:, 1:].max() < 1e-12
    assert difference[..., 0, :].max() > 1e-2  # the border that the docstring speaks of
