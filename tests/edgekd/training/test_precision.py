from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edgekd.recipes.contract import Stage
from edgekd.training import precision
from edgekd.training.precision import faster_precision, sum_terms


class Clock:
    """Seconds that pass only in a stage's step."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def stage_of(clock, bf16_s, fp32_s):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 1)).eval()

    def step(batch):
        clock.now += bf16_s if torch.is_autocast_enabled("cpu") else fp32_s
        return {"l2": model(batch["image"]).square().mean()}

    return Stage("s", "student", model, step, torch.optim.SGD, None, 1, 4)


@pytest.mark.parametrize(
    ("bf16_s", "fp32_s", "chosen"), [(0.5, 1.0, "bf16-mixed"), (0.95, 1.0, "32-true"), (1.0, 0.5, "32-true")]
)
def test_bf16_is_taken_where_it_saves_more_than_a_tenth(clock, bf16_s, fp32_s, chosen):
    batch = {"image": torch.rand(4, 3, 5, 5)}
    assert faster_precision(stage_of(clock, bf16_s, fp32_s), batch) == chosen


def test_measuring_changes_neither_weights_nor_statistics_nor_mode(clock):
    stage = stage_of(clock, 1.0, 1.0)
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    faster_precision(stage, {"image": torch.rand(4, 3, 5, 5)})
    after = stage.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not stage.model.training
    assert all(p.grad is None for p in stage.model.parameters())


def test_weights_are_put_back_when_measuring_fails(clock):
    stage = stage_of(clock, 1.0, 1.0)
    before = stage.model.state_dict()["1.running_mean"].clone()
    with pytest.raises(RuntimeError):
        faster_precision(stage, {"image": torch.rand(4, 3, 9, 9)})
    assert torch.equal(stage.model.state_dict()["1.running_mean"], before)


def test_a_term_with_an_underscore_is_not_part_of_the_loss():
    terms = {"main": torch.tensor(2.0), "tough": torch.tensor(-0.5), "_watched": torch.tensor(100.0)}
    assert sum_terms(terms).item() == 1.5
