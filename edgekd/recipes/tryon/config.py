"""Configuration of the ``tryon`` recipe. Every default is the paper's where it states one (DM-VTON, B2 to B5)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekd.contracts import StrictModel
from edgekd.recipes.contract import RecipeConfig, TrainSettings


class DataConfig(StrictModel):
    """``source`` is ``wardrobe:N`` (N drawn people to train on, exact labels and warps), or a published set:
    ``viton:DIR``, ``viton-clean:DIR``."""

    source: tuple[str, ...] = ("wardrobe:2000",)
    val: int = Field(100, ge=1, description="people to select with; of a published set, the last of the training set")
    test: int = Field(200, ge=1, description="drawn people to gate with; a published set has its own")
    cache: str = Field("", description="folder for drawn people and the teacher's pictures; empty = beside the run")


class StudentConfig(StrictModel):
    """The mobile student (B3). With the defaults it is the paper's; the rest are ways to a smaller one."""

    width: float = Field(1.0, gt=0, description="of the two backbones")
    generator: float = Field(1.0, gt=0, description="width of the generator")
    pyramid: int = Field(256, ge=8, multiple_of=8, description="channels of the pyramids' maps")
    levels: Literal[3, 4, 5] = Field(
        5, description="5: maps of up to half of the picture's size; 4: a quarter; the flow is then enlarged"
    )
    finest: int = Field(0, ge=0, multiple_of=8, description="channels of the fifth level's maps; 0: as the others")
    head: int = Field(128, ge=8, multiple_of=4, description="channels of the first convolution that predicts offsets")
    finest_head: int = Field(0, ge=0, multiple_of=4, description="the same at the fifth level; 0: as the others")
    separable: Literal["none", "finest", "all"] = Field(
        "none", description="levels whose wide 3x3 convolutions are depthwise and 1x1"
    )
    activation: Literal["relu6", "relu", "leaky", "hardswish"] = Field(
        "relu6", description="of the backbones and the generator"
    )


class TeacherConfig(StrictModel):
    """Parser-based FS-VTON (B2), trained here or loaded."""

    width: float = Field(1.0, gt=0, description="of all its layers; 1 is the paper's, 77.2 M weights")
    weights: str = Field(
        "", description="best.safetensors of a run's stages/teacher: it is loaded, and no teacher is trained"
    )


class LossConfig(StrictModel):
    vgg19: str = Field(
        "",
        description="VGG19 weights for the perceptual distance: .safetensors, or a torch state dict; "
        "empty: the teacher's garment encoder in its place",
    )
    true_warp: float = Field(
        0.0,
        ge=0,
        description="weight of the distance between the teacher's flows and the true ones, which drawn people have; "
        "0: the warp is learned from pictures alone, as published",
    )


class StageConfig(StrictModel):
    """One of the four stages (B5): a constant learning rate, then a linear decay to 0. Each has its own batch size."""

    epochs: int = Field(50, ge=1, description="at the full learning rate")
    decay: int = Field(50, ge=0, description="further epochs, in which it falls to 0")
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    clip: float | None = Field(
        None, gt=0, description="greatest norm of a step's gradient: a flow that ran away pulls hard"
    )


class TeacherWarpConfig(StageConfig):
    batch_size: int = Field(18, ge=1)


class TeacherStageConfig(StageConfig):
    batch_size: int = Field(14, ge=1)


class StudentWarpConfig(StageConfig):
    batch_size: int = Field(8, ge=1)


class StudentStageConfig(StageConfig):
    batch_size: int = Field(6, ge=1)


class TrainConfig(TrainSettings):
    """The control has its student's stages."""

    teacher_warp: TeacherWarpConfig = TeacherWarpConfig()
    teacher: TeacherStageConfig = TeacherStageConfig()
    student_warp: StudentWarpConfig = StudentWarpConfig()
    student: StudentStageConfig = StudentStageConfig()
    warp_rate: float = Field(
        0.2, ge=0, description="learning rate of the warping halves end to end, as a share; 0: they stay as they are"
    )
    norm_momentum: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of a batch in BatchNorm's running statistics; a garment's place hangs on the coarsest maps, "
        "whose statistics of ten small batches are too rough",
    )
    fakes: int = Field(
        0,
        ge=0,
        description="other garments that each person is shown in, drawn by the teacher once and kept; "
        "0: another one in every epoch, drawn as it is needed",
    )


class Config(RecipeConfig):
    height: int = Field(256, ge=64, multiple_of=32, description="pixels")
    width: int = Field(192, ge=64, multiple_of=32, description="pixels")
    data: DataConfig = DataConfig()
    student: StudentConfig = StudentConfig()
    teacher: TeacherConfig = TeacherConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
