import numpy as np
import pytest
import torch

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.recipes.contract import Sample
from edgekd.training.judge import Judge


class Rows:
    def __init__(self, count):
        self.x = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)

    def __len__(self):
        return len(self.x)

    def sample(self, index):
        return Sample({"x": self.x[index]}, {"y": self.x[index].sum(keepdims=True)})


class Pipeline:
    def preprocess(self, raw):
        return {"x": raw["x"][None]}

    def postprocess(self, outputs, raw):
        assert outputs["y"].shape == (1, 1)
        return {"y": outputs["y"][0]}


class Sum(torch.nn.Module):
    """Notes how many rows it was given at once."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        return x.sum(1, keepdim=True)


class Known(torch.nn.Module):
    """A ``SetTeacher``: it knows the set, not its rows."""

    def judged(self, samples):
        return {"y": samples.x.sum(1, keepdims=True)}


def judge(axis):
    inputs, outputs = TensorSpec(name="x", shape=(axis, 3)), TensorSpec(name="y", shape=(axis, 1))
    return Judge(IoSpec(inputs=(inputs,), outputs=(outputs,)), Pipeline(), None)


@pytest.mark.parametrize(("axis", "sizes"), [(1, [1] * 5000), ("rows", [4096, 904])])
def test_samples_go_together_where_the_io_spec_lets_any_number_through_and_one_by_one_elsewhere(axis, sizes):
    rows, model = Rows(5000), Sum()
    found = judge(axis).predict(model, rows)
    assert model.sizes == sizes
    assert np.array([p["y"][0] for p in found]) == pytest.approx(rows.x.sum(1), abs=1e-5)


def test_a_set_teacher_is_asked_about_the_set():
    rows = Rows(7)
    assert np.array([p["y"][0] for p in judge("rows").predict(Known(), rows)]) == pytest.approx(rows.x.sum(1))
