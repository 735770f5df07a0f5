from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from edgekd.registry import recipe_part
from edgekd.training.averaging import MovingAverage
from edgekd.training.distill import distill


def test_weights_and_running_statistics_are_averaged_and_counters_are_not():
    model = nn.BatchNorm1d(1)
    average = MovingAverage(model, lambda step: 0.5)
    for value in (2.0, 4.0):
        model.weight.data.fill_(value)
        model.running_mean.fill_(value)
        model.num_batches_tracked += 1
        average.update(model)
    with average.instead(model):
        assert model.weight.item() == 0.25 * 1 + 0.25 * 2 + 0.5 * 4
        assert model.running_mean.item() == 0.25 * 0 + 0.25 * 2 + 0.5 * 4
        assert model.num_batches_tracked.item() == 2
    assert model.weight.item() == model.running_mean.item() == 4


def test_the_decay_may_depend_on_the_steps_taken():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = MovingAverage(model, lambda step: 1 - 1 / step)  # the mean of all steps
    for value in (3.0, 6.0, 9.0):
        model.weight.data.fill_(value)
        average.update(model)
    with average.instead(model):
        assert model.weight.item() == pytest.approx(6.0)


@pytest.fixture
def averaged(line, monkeypatch):
    """The recipe of another package, whose student keeps an average of its weights."""
    recipe = recipe_part(line, "recipe").Recipe
    made = recipe.stages

    def stages(self, data, control):
        return [
            dataclasses.replace(s, average=lambda step: 0.9) if s.role == "student" else s
            for s in made(self, data, control)
        ]

    monkeypatch.setattr(recipe, "stages", stages)
    return line


SETTINGS = ["teacher=none", "train.epochs=3", "train.precision=fp32"]


def test_the_average_is_judged_and_kept_and_a_resumed_stage_has_the_same(
    averaged, line, tmp_path, curves, stop_at, stopped
):
    whole = distill(averaged, tmp_path / "whole", settings=SETTINGS)
    with pytest.raises(stopped):
        distill(averaged, tmp_path / "parts", settings=SETTINGS, progress=stop_at("student: epoch 3"))
    parts = distill(averaged, tmp_path / "parts", resume=True)
    assert curves(whole.path / "stages" / "student") == curves(parts.path / "stages" / "student")
    kept, again = (load_file(run.weights) for run in (whole, parts))
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    trained = torch.load(whole.path / "stages" / "student" / "last.ckpt", weights_only=True)
    own = {name.removeprefix("model."): value for name, value in trained["state_dict"].items()}
    assert any(not torch.equal(kept[name], own[name]) for name in kept)
