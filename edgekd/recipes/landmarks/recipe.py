"""The ``landmarks`` recipe: which stages there are, in which order, and what each minimises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.contracts import ImageSpec, IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.contract import Batch, Datasets, SampleSet, Stage
from edgekd.recipes.landmarks import data as landmark_data
from edgekd.recipes.landmarks.config import Config
from edgekd.recipes.landmarks.losses import KDLoss
from edgekd.recipes.landmarks.models import LandmarkRegressor, efficientnet, load_trunk, mobilenet_v2
from edgekd.recipes.landmarks.shape_model import ShapeModel

SHAPE_SAMPLES = 4000  # augmented faces the active shape model is fitted on; 136 numbers need no more


class Recipe:
    """MobileNetV2 from a tough and a tolerant EfficientNet, or from a black box (KD-Loss)."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def datasets(self, cache: Path, progress: Callable[[str, float], None]) -> Datasets:
        return landmark_data.datasets(self.config, self._cache(cache), progress)

    def make_share(self, cache: Path, part: int, parts: int, progress: Callable[[str, float], None]) -> None:
        landmark_data.label_share(self.config, self._cache(cache), progress, (part, parts))

    def _cache(self, beside_the_run: Path) -> Path:
        return Path(self.config.data.cache) if self.config.data.cache else beside_the_run / "landmarks"

    def io_spec(self) -> IoSpec:
        size, points = self.config.student.input_size, self.config.data.points
        image = TensorSpec(
            name="image",
            shape=(1, 3, size, size),
            layout="NCHW",
            range=(0.0, 1.0),
            meaning="a face's square crop",
            image=ImageSpec(),  # pixel / 255 and no mean (A6)
        )
        landmarks = TensorSpec(
            name="landmarks",
            shape=(1, 2 * points),
            layout="NC",
            unit="crop widths from the crop's centre",
            meaning="x0, y0, x1, y1, ... of the points, in the data set's order",
        )
        return IoSpec(inputs=(image,), outputs=(landmarks,))

    def student(self, io: IoSpec) -> LandmarkRegressor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return mobilenet_v2(self.config.data.points, self.config.student.width)

    def stages(self, data: Datasets, control: bool) -> Sequence[Stage]:
        teacher, train = self.config.teacher, self.config.train
        tough = self._teacher_stage("tough", F.mse_loss) if teacher.use in ("both", "tough") else None
        tolerant = None
        if teacher.use in ("both", "tolerant"):
            shapes = _shape_model(data.train, teacher.variance, train.batch_size)

            def smooth_loss(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
                return F.mse_loss(predicted, shapes.to(truth.device).smooth(truth))

            tolerant = self._teacher_stage("tolerant", smooth_loss)
        teachers = [stage for stage in (tough, tolerant) if stage is not None]
        if control and not teachers:
            raise InputError(
                "--control compares with teachers, and there are none",
                "teacher.use is none, so the student already trains on labels alone",
                "--set teacher.use=both",
            )
        frozen = {stage.name: stage.model for stage in teachers}
        stages = [*teachers, self._student_stage("student", "student", frozen)]
        if control:
            stages.append(self._student_stage("control", "control", {}))
        return stages

    def _teacher_stage(self, name: str, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Stage:
        teacher = self.config.teacher
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed + len(name))  # the two teachers start apart
            model = efficientnet(self.config.data.points, teacher.width, teacher.depth, teacher.dropout)

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            return {"l2": loss(model(batch["image"]).float(), batch["landmarks"])}

        return self._stage(name, "teacher", model, step, teacher.epochs, {})

    def _student_stage(self, name: str, role: str, frozen: dict[str, nn.Module]) -> Stage:
        student, loss = self.student(self.io_spec()), self.config.loss
        init = self.config.student.init
        starts_from = load_trunk(student, init) if init else {}
        kd = KDLoss(loss.form, "tough" in frozen, "tolerant" in frozen, loss.hard)

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            with torch.no_grad():
                soft = {name: teacher(batch["image"]) for name, teacher in frozen.items()}
            return kd(student(batch["image"]), batch["landmarks"], **soft)

        return self._stage(name, role, student, step, self.config.train.epochs, frozen, starts_from)

    def _stage(
        self,
        name: str,
        role: str,
        model: nn.Module,
        step: Callable[[Batch], dict[str, torch.Tensor]],
        epochs: int,
        frozen: dict[str, nn.Module],
        starts_from: Mapping[str, Any] | None = None,
    ) -> Stage:
        train = self.config.train

        def optimizer(parameters: Iterable[Any]) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)

        return Stage(
            name=name,
            role=role,
            model=model,
            step=step,
            optimizer=optimizer,
            schedule=_time_decay if train.schedule == "time-decay" else _cosine,
            epochs=epochs,
            batch_size=train.batch_size,
            frozen=frozen,
            starts_from=starts_from or {},
        )


def _shape_model(train: SampleSet, variance: float, batch_size: int) -> ShapeModel:
    """Fitted on the augmented training labels (A2), without Procrustes."""
    count = min(len(train), SHAPE_SAMPLES)
    labels = [
        train.batch([(0, i) for i in range(start, min(start + batch_size, count))])["landmarks"]
        for start in range(0, count, batch_size)
    ]
    return ShapeModel.fit(torch.cat(labels), variance)


def _time_decay(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """Keras' decay of 1e-4 per step (A7)."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 1e-4 * step))


def _cosine(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """To zero, after a linear warm-up of a twentieth of the steps."""
    warm_up = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
