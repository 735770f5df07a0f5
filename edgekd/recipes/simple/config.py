"""Configuration of a simple recipe. A ``config.py`` of your own may subclass ``Config``: other keys, other defaults."""

from __future__ import annotations

from pydantic import Field

from edgekd.contracts import StrictModel
from edgekd.recipes.contract import RecipeConfig, TrainSettings


class TeacherConfig(StrictModel):
    """The recipe's own teacher, trained first, or one that is not trained here."""

    epochs: int = Field(30, ge=1, description="of the recipe's own teacher")
    black_box: str = Field("", description="package.module:callable or timm:NAME@FILE (command line or own TOML only)")


class LossConfig(StrictModel):
    """``(1 - weight) · labels + weight · teacher``."""

    weight: float = Field(0.7, ge=0, le=1, description="of the teacher; without one the labels are all")
    temperature: float = Field(4.0, gt=0, description="of the soft targets; classification only")


class TrainConfig(TrainSettings):
    """Adam with a cosine to zero."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(5e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)


class Config(RecipeConfig):
    teacher: TeacherConfig = TeacherConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
