"""Configuration of the ``streaming`` recipe. Every default is DAMO-StreamNet-S's where its authors state one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgekd.contracts import StrictModel
from edgekd.recipes.contract import RecipeConfig, TrainSettings
from edgekd.recipes.streaming.data_config import DataConfig


class DetectorConfig(StrictModel):
    """A detector's shape. S is depth 0.33, width 0.50; M 0.67, 0.75; L 1, 1 (both with neck_ratio 1)."""

    depth: float = Field(0.33, gt=0, description="blocks per stage, as a share of L's")
    width: float = Field(0.50, gt=0, description="channels, as a share of L's")
    stem: Literal["focus", "conv"] = Field("focus", description="squares of pixels as channels, or a strided 3x3")
    activation: Literal["silu", "relu", "hardswish"] = "silu"
    neck: Literal["drfpn", "pafpn"] = "drfpn"
    neck_kind: Literal["deformable", "plain"] = Field("deformable", description="DRFPN: the blocks' last convolution")
    neck_blocks: int = Field(3, ge=1, description="DRFPN: blocks per stage")
    neck_ratio: float = Field(0.75, gt=0, description="DRFPN: a block's inner channels, as a share of its own")

    @model_validator(mode="after")
    def _some_channels(self) -> DetectorConfig:
        if int(64 * self.width) < 4:
            raise ValueError(f"width {self.width:g} leaves {int(64 * self.width)} channels: at least 4 (0.0625)")
        return self


class StudentConfig(DetectorConfig):
    """The streaming detector. ``forecast = false``: the same detector, that only says what is in the frame it sees."""

    input_height: int = Field(600, ge=32, multiple_of=2, description="pixels")
    input_width: int = Field(960, ge=32, multiple_of=2, description="pixels")
    past: int = Field(3, ge=0, le=8, description="frames before this one that are looked at; 0: none")
    own_last: bool = Field(False, description="the oldest frame has a projection of its own, as in L")
    forecast: bool = Field(True, description="learn the boxes of the next frame; false: of this one, without a past")
    init: str = Field("", description="a .safetensors file of this very network to start from")

    @model_validator(mode="after")
    def _a_past_to_project(self) -> StudentConfig:
        if self.own_last and self.past < 2:
            raise ValueError("own_last needs a past of two frames or more")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.input_height, self.input_width

    @property
    def looks_back(self) -> bool:
        return self.forecast and self.past > 0


class TeacherConfig(DetectorConfig):
    """A still detector that is shown the next frame: StreamYOLO-L's shape, with PAFPN, unless told otherwise."""

    use: Literal["still", "none"] = "still"
    depth: float = Field(1.0, gt=0)
    width: float = Field(1.0, gt=0)
    neck: Literal["drfpn", "pafpn"] = "pafpn"
    epochs: int = Field(8, ge=1)
    black_box: str = Field(
        "",
        description="FILE.safetensors of such a detector, or package.module:callable (command line or own TOML only)",
    )


class LossConfig(StrictModel):
    """Weights of the terms; ``kd_*`` are of the distance to the teacher's logits and boxes (S 0.2, M 0.4, L 0.1)."""

    box: float = Field(5.0, ge=0, description="of 1 - IoU²; object, class and L1 have 1")
    trend_gamma: float = Field(1.0, ge=0, description="trend-aware loss: 1 / IoU(now, next)^gamma; 0: equal weights")
    trend_seen: float = Field(0.5, ge=0, le=1, description="below this IoU an object counts as new")
    trend_new: float = Field(1.5, gt=0, description="in place of the IoU of a new object")
    kd_class: float = Field(0.2, ge=0)
    kd_object: float = Field(0.2, ge=0)
    kd_box: float = Field(0.2, ge=0)


class TrainConfig(TrainSettings):
    """SGD with Nesterov's momentum. ``constant``, the authors' as coded: the final rate, at once after the warm-up."""

    epochs: int = Field(8, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0, description="of a batch of 64; it grows with the batch")
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: float = Field(1.0, ge=0, description="epochs, quadratic")
    final: float = Field(0.05, ge=0, le=1, description="share of the learning rate that is left at the end")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, description="on convolutions' weights alone")
    average: float = Field(0.9998, ge=0, lt=1, description="decay of the weights' moving average; 0: none is kept")
    average_ramp: float = Field(2000, gt=0, description="steps over which that decay is reached")
    scales: float = Field(
        0.1667, ge=0, lt=1, description="share by which frames grow and shrink, but in the last epoch"
    )
    past_gradient: bool = Field(True, description="the encoder learns from past frames, too")


class Config(RecipeConfig):
    data: DataConfig = DataConfig()
    student: StudentConfig = StudentConfig()
    teacher: TeacherConfig = TeacherConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
