"""Configuration of the ``landmarks`` recipe. Every default is the paper's where it states one (A6, A7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from edgekd.contracts import StrictModel
from edgekd.recipes.contract import RecipeConfig, TrainSettings
from edgekd.recipes.landmarks.published import published_set


class DataConfig(StrictModel):
    """``source`` is ``drawn`` (procedural faces, exact points), one published set (``300w:DIR``, ``cofw:DIR``,
    ``wflw:DIR``), or any number of ``images:DIR``, ``video:FILE``."""

    source: tuple[str, ...] = ("drawn",)
    points: Literal[68, 98, 29] = Field(68, description="left out: as many as the published set has")
    train: int = Field(20_000, ge=1, description="drawn training faces")
    val: int = Field(500, ge=1, description="drawn validation faces")
    test: int = Field(500, ge=1, description="drawn test faces, labels exact")
    label_noise: float = Field(0.03, ge=0, description="annotator noise on training labels, in eye distances")
    held_out: float = Field(0.25, gt=0, lt=1, description="last share of all images: and video: that is held out")
    cache: str = Field("", description="folder for found and labelled faces; empty = beside the run")


class AugmentConfig(StrictModel):
    """Random changes of a training sample (A8); ranges are symmetric."""

    factor: int = Field(
        1, ge=1, description="copies of each face per epoch; left out: the authors' of a set, 300W 6, COFW 10, WFLW 5"
    )
    fit: Literal["box", "points"] = Field(
        "box", description="a turned face's crop: the turned box, or around the turned points, as the authors do"
    )
    rotation: float = Field(0.5, ge=0, description="radians")
    scale: float = Field(0.1, ge=0, description="share of the crop's side")
    shift: float = Field(0.06, ge=0, description="share of the crop's side")
    flip: float = Field(0.5, ge=0, le=1)
    color: float = Field(0.5, ge=0, le=1, description="probability of gamma, contrast and channel changes")
    blur: float = Field(0.3, ge=0, le=1)
    noise: float = Field(0.4, ge=0, le=1)
    occlusion: float = Field(0.2, ge=0, le=1)


class StudentConfig(StrictModel):
    """MobileNetV2 with a linear head of 2 x points (A6)."""

    width: float = Field(1.0, gt=0)
    input_size: int = Field(224, ge=32, multiple_of=16, description="pixels, square")
    init: str = Field("", description="MobileNetV2 trunk to start from: a .pt or .safetensors file, or package:PATH")


class TeacherConfig(StrictModel):
    """Which teachers there are, and how big (A6). ``black_box`` labels real pictures: ``dlib68``."""

    use: Literal["both", "tough", "tolerant", "none"] = "both"
    width: float = Field(1.2, gt=0, description="EfficientNet width multiplier; B3 is 1.2")
    depth: float = Field(1.4, gt=0, description="EfficientNet depth multiplier; B3 is 1.4")
    dropout: float = Field(0.5, ge=0, lt=1)
    epochs: int = Field(150, ge=1)
    variance: float = Field(0.95, gt=0, lt=1, description="share of variance the active shape model keeps (A2)")
    black_box: str = Field("", description="dlib68, or package.module:callable (command line or own TOML only)")


class LossConfig(StrictModel):
    """KD-Loss (A3 as released, A4 as drawn in the paper). ``hard`` is the loss on labels without a tolerant teacher."""

    form: Literal["paper", "released"] = "paper"
    hard: Literal["l2", "l1"] = "l2"


class TrainConfig(TrainSettings):
    """Adam with Keras' time decay, or a cosine to zero (A7)."""

    epochs: int = Field(150, ge=1)
    batch_size: int = Field(70, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["time-decay", "cosine"] = "time-decay"
    weight_decay: float = Field(0.0, ge=0)


class Config(RecipeConfig):
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    student: StudentConfig = StudentConfig()
    teacher: TeacherConfig = TeacherConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="before")
    @classmethod
    def _as_the_published_set_has_it(cls, values: Any) -> Any:
        """Fills in what a published source decides and nobody asked for: ``data.points``, ``augment.factor``."""
        match values:
            case {"data": {"source": [str(first), *_]} as data} if own := published_set(first):
                values = {**values, "data": {"points": own.points, **data}}
                augment = values.get("augment", {})
                if isinstance(augment, Mapping):  # anything else is refused by the field itself
                    values["augment"] = {"factor": own.factor, **augment}
        return values
