"""Configuration of the ``tryon`` recipe. Every default is the paper's where it states one (DM-VTON, B2 to B5)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekd.contracts import StrictModel
from edgekd.recipes.contract import RecipeConfig, TrainSettings


class StudentConfig(StrictModel):
    """The mobile student (B3). With the defaults it is the paper's; the rest are ways to a smaller one."""

    width: float = Field(1.0, gt=0, description="of the two backbones")
    generator: float = Field(1.0, gt=0, description="width of the generator")
    pyramid: int = Field(256, ge=8, multiple_of=8, description="channels of the pyramids' maps")
    levels: Literal[3, 4, 5] = Field(5, description="5: maps up to half of the picture's size; 4: up to a quarter; ...")
    finest: int | None = Field(
        None, ge=8, multiple_of=8, description="channels of the fifth level's maps; left out: as the others"
    )
    head: int = Field(128, ge=8, multiple_of=4, description="channels of the first convolution that predicts offsets")
    finest_head: int | None = Field(
        None, ge=8, multiple_of=4, description="the same at the fifth level; left out: as the others"
    )
    separable: Literal["none", "finest", "all"] = Field(
        "none", description="levels whose 3x3 convolutions are depthwise and 1x1"
    )
    activation: Literal["relu6", "relu", "leaky", "hardswish"] = Field(
        "relu6", description="of the backbones and the generator"
    )


class Config(RecipeConfig):
    student: StudentConfig = StudentConfig()
    train: TrainSettings = TrainSettings()
