import numpy as np
import pytest
import torch
from torch import nn

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.training.distill import distill
from edgekd.training.judge import Judge
from edgekd.training.stage_module import write_curves

IO = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 3)),), outputs=(TensorSpec(name="y", shape=(1, 3)),))


class Doubling(nn.Module):
    """A teacher without a single parameter."""

    def forward(self, x):
        return 2 * x


def test_models_are_judged_in_eval_mode_and_put_back():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9))
    x = np.ones((1, 3), np.float32)
    call = Judge(IO, None, None).session(model).run
    for training in (True, False):
        model.train(training)
        first = call({"x": x})["y"]
        assert np.array_equal(first, call({"x": x})["y"])
        assert model.training is model[1].training is training
    assert not model[0].weight.grad_fn


def test_a_black_box_without_parameters_can_be_judged():
    assert Judge(IO, None, None).session(Doubling()).run({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [
        [2, 2, 2]
    ]


def test_scores_do_not_move_the_random_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    Judge(IO, None, None).session(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)))
    torch.set_rng_state(before)
    call = Judge(IO, None, None).session(nn.Dropout(0.5)).run
    call({"x": np.ones((1, 3), np.float32)})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_term_with_an_underscore_is_logged_and_not_learned_from(line, tmp_path, curves):
    run = distill(line, tmp_path / "run", settings=["teacher=none", "train.epochs=2", "train.precision=fp32"])
    rows = {(epoch, name): float(value) for epoch, _, name, value in curves(run.path / "stages" / "student")}
    assert rows["1", "train/_largest"] > 0
    assert rows["1", "train/loss"] == pytest.approx(rows["1", "train/l2"])


def test_curves_are_one_row_per_figure_and_epoch(tmp_path):
    history = [{"epoch": 0, "val/nme": 5.0, "train/l2": 0.1}, {"epoch": 1, "val/nme": 4.0, "train/l2": 0.05}]
    write_curves(tmp_path / "metrics.csv", history, steps_per_epoch=7)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "epoch,step,name,value",
        "0,7,val/nme,5.0",
        "0,7,train/l2,0.1",
        "1,14,val/nme,4.0",
        "1,14,train/l2,0.05",
    ]
