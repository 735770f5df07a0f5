import numpy as np
import torch
from torch import nn

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.recipes.contract import Datasets, Stage
from edgekd.recipes.simple.data import ArraySet

SLOPE = np.array([1.0, -2.0, 0.5, 3.0], np.float32)


class Line(nn.Module):
    def __init__(self, hidden, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))

    def forward(self, x, gain):
        return self.layers(x) * gain


def noisy(inputs, generator):
    return {**inputs, "x": inputs["x"] + generator.normal(0, 0.1, 4)}


class Points(ArraySet):
    """Numbers whose noise is a function of (seed, epoch, index)."""

    def __init__(self, count, seed):
        rng = np.random.default_rng(seed)
        self.seed, self.x = seed, rng.normal(size=(count, 4)).astype(np.float32)
        self.gain = rng.uniform(0.5, 1.5, (count, 1)).astype(np.float32)
        self.y = (self.x @ SLOPE)[:, None] * self.gain
        super().__init__({"x": self.x, "gain": self.gain}, {"y": self.y}, noisy, seed)


class Recipe:
    def __init__(self, config):
        self.config = config

    def datasets(self, cache, progress):
        return Datasets(*(Points(count, self.config.seed + k) for k, count in enumerate((64, 16, 24))))

    def io_spec(self):
        inputs = (TensorSpec(name="x", shape=(1, 4)), TensorSpec(name="gain", shape=(1, 1)))
        return IoSpec(inputs=inputs, outputs=(TensorSpec(name="y", shape=(1, 1)),))

    def student(self, io):
        torch.manual_seed(self.config.seed)
        return Line(self.config.hidden)

    def stages(self, data, control):
        if self.config.teacher == "none":
            return [self._stage("student", "student", self.student(self.io_spec()), {})]
        torch.manual_seed(self.config.seed + 1)
        teacher = Line(4 * self.config.hidden, dropout=0.3)
        stages = [
            self._stage("teacher", "teacher", teacher, {}),
            self._stage("student", "student", self.student(self.io_spec()), {"teacher": teacher}),
        ]
        return [*stages, self._stage("control", "control", self.student(self.io_spec()), {})] if control else stages

    def _stage(self, name, role, model, frozen):
        def step(batch):
            y = model(batch["x"], batch["gain"])
            terms = {"l2": (y - batch["y"]).square().mean(), "_largest": y.detach().abs().max()}
            for key, teacher in frozen.items():
                terms[key] = (y - teacher(batch["x"], batch["gain"])).square().mean()
            return terms

        train = self.config.train
        return Stage(
            name=name,
            role=role,
            model=model,
            step=step,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=train.learning_rate),
            schedule=None,
            epochs=train.epochs,
            batch_size=16,
            frozen=frozen,
        )
