"""A teacher that somebody already has: here scikit-learn's logistic regression, as a torch module.

PYTHONPATH=. edgekd distill digits --teacher own_teachers:make --out runs/digits
"""

from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from edgekd.recipes.simple.config import Config


def make():
    from edgekd_digits.recipe import Recipe

    train = Recipe(Config()).datasets(Path(), print).train  # never what it will be judged on
    fitted = LogisticRegression(max_iter=1000).fit(
        train.inputs["image"].reshape(len(train), -1), train.targets["label"]
    )
    linear = nn.Linear(64, 10)
    linear.load_state_dict({"weight": torch.tensor(fitted.coef_), "bias": torch.tensor(fitted.intercept_)})
    return nn.Sequential(nn.Flatten(), linear)
