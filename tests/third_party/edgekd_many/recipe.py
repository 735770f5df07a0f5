import numpy as np
from torch import nn

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.recipes.simple.recipe import Regression


class Normed(nn.Module):
    def __init__(self, still):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
        self.still = still

    def train(self, mode=True):
        super().train(mode)
        self.layers[1].train(mode and not self.still)
        return self

    def forward(self, x):
        return self.layers(x)


class Recipe(Regression):
    io = IoSpec(inputs=(TensorSpec(name="x", shape=(1, 4)),), outputs=(TensorSpec(name="y", shape=(1, 1)),))

    def examples(self):
        x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
        return x, np.square(x).sum(axis=1, keepdims=True)

    def make_student(self):
        return Normed(self.config.still)

    def make_teacher(self):
        return Normed(self.config.still)
