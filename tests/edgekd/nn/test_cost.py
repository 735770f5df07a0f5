from __future__ import annotations

import torch
from torch import nn

from edgekd.nn.cost import macs, weight_count


def test_weight_count_has_parameters_and_running_statistics_but_no_batch_counter() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False))
    assert weight_count(module) == 3 * 8 * 9 + 4 * 8 + 2 * 8


def test_weight_count_leaves_other_buffers_out_and_counts_shared_weights_once() -> None:
    linear = nn.Linear(4, 4)
    module = nn.Sequential(linear, linear)
    module.register_buffer("table", torch.zeros(100))
    assert weight_count(module) == 20


def test_macs_of_each_kind_of_layer() -> None:
    x = torch.zeros(2, 4, 10, 12)
    assert macs(nn.Conv2d(4, 6, 3, stride=2, padding=1), x) == 2 * 6 * 5 * 6 * 4 * 9
    assert macs(nn.Conv2d(4, 4, 3, padding=1, groups=4), x) == 2 * 4 * 10 * 12 * 9
    assert macs(nn.ConvTranspose2d(4, 6, 2, stride=2), x) == 2 * 4 * 10 * 12 * 6 * 4
    assert macs(nn.Linear(12, 5), x) == 2 * 4 * 10 * 12 * 5
    assert macs(nn.BatchNorm2d(4), x) == 0


def test_macs_counts_a_layer_as_often_as_it_is_called() -> None:
    linear = nn.Linear(4, 4)
    assert macs(nn.Sequential(linear, linear), torch.zeros(1, 4)) == 32


def test_macs_leaves_the_module_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1).eval())
    before = {name: t.clone() for name, t in module.state_dict().items()}
    macs(module, torch.rand(2, 3, 4, 4))
    assert [m.training for m in module] == [True, True, False]
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert not any(m._forward_hooks for m in module.modules())
