"""Configuration of the ``hypergraph`` recipe. Every default is that of the authors' files where they state one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekd.contracts import StrictModel
from edgekd.recipes.contract import RecipeConfig, TrainSettings


class DataConfig(StrictModel):
    """``source`` is one of ``digits``, ``generated``, ``npz:FILE``, ``dhg:NAME``, or the two files of a table:
    ``vertices:FILE`` and ``hyperedges:FILE`` (CSV or Parquet). See ``sources.py`` for the formats.
    """

    source: tuple[str, ...] = ("digits",)
    normalization: Literal["l1", "none"] = Field("l1", description="of a row of features; the student's input, too")
    neighbours: int = Field(8, ge=1, description="digits: a hyperedge is an image and this many of the nearest ones")
    split: Literal["random", "published"] = Field(
        "random", description="published: the file's own train list, no validation, so the last epoch is kept"
    )
    fold: int = Field(0, ge=0, description="which of the published splits")
    train_per_class: int = Field(20, ge=1)
    val_per_class: int = Field(100, ge=1)
    test: int = Field(0, ge=0, description="test vertices at most; 0 = all the others")
    setting: Literal["transductive", "production"] = Field(
        "transductive", description="production: part of the test vertices is unseen in training, features and all"
    )
    unseen: float = Field(0.2, gt=0, lt=1, description="production: share of the test vertices that is unseen")


class GeneratedConfig(StrictModel):
    """The seeded generator: hyperedges of one class, but for strangers; features around their class's mean."""

    vertices: int = Field(10_000, ge=2)
    hyperedges: int = Field(10_000, ge=1)
    size: float = Field(10.0, gt=1, description="mean vertices of a hyperedge")
    features: int = Field(64, ge=1)
    classes: int = Field(8, ge=2)
    purity: float = Field(0.8, ge=0, le=1, description="share of a hyperedge that is of its class")
    noise: float = Field(3.0, ge=0, description="standard deviation of a feature; class means have 1")


class TeacherConfig(StrictModel):
    """HGNN or HGNN+ of two layers. Several teachers differ in their seed, and teach by their mean probability."""

    model: Literal["hgnn", "hgnn+", "both"] = Field("hgnn", description="both: of several teachers, every other one")
    count: int = Field(1, ge=0, le=32, description="0: none; the student learns from labels alone")
    hidden: int = Field(32, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    epochs: int = Field(200, ge=1)


class StudentConfig(StrictModel):
    hidden: int = Field(128, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    feature_dropout: float = Field(
        0.0, ge=0, lt=1, description="of its inputs in training, while the teacher sees them all: it learns consistency"
    )


class LossConfig(StrictModel):
    """``kl`` is the true divergence; ``released`` is what the authors' code computes instead."""

    form: Literal["kl", "released"] = "kl"
    temperature: float = Field(1.0, gt=0)
    labels: float = Field(0.0, ge=0, le=1, description="share of the cross-entropy on labels")
    hyperedges: bool = Field(False, description="LightHGNN+: also the means over reliable hyperedges")
    noise: float = Field(1.0, ge=0, description="LightHGNN+: of the features, when reliability is found")


class TrainConfig(TrainSettings):
    """Adam, constant rate."""

    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    epochs: int = Field(200, ge=1)
    batch_size: int = Field(0, ge=0, description="vertices of a student's step; 0 = all of them, as in the paper")
    learning_rate: float = Field(0.01, gt=0)
    weight_decay: float = Field(5e-4, ge=0)


class Config(RecipeConfig):
    data: DataConfig = DataConfig()
    generated: GeneratedConfig = GeneratedConfig()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
