from typing import Literal

from edgekd.recipes.contract import RecipeConfig, TrainSettings


class Train(TrainSettings):
    epochs: int = 3
    learning_rate: float = 0.05


class Config(RecipeConfig):
    hidden: int = 8
    teacher: Literal["none", "dropout"] = "dropout"
    note: str | None = None
    train: Train = Train()
