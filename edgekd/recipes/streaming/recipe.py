"""The ``streaming`` recipe: which stages there are, in which order, and what each minimises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.contracts import ImageSpec, IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.contract import Batch, Datasets, Progress, SampleSet, Stage
from edgekd.recipes.streaming import data as street_data
from edgekd.recipes.streaming.classes import CLASSES
from edgekd.recipes.streaming.config import Config
from edgekd.recipes.streaming.head import STRIDES
from edgekd.recipes.streaming.losses import detection_terms
from edgekd.recipes.streaming.models import StillDetector, StreamDetector, map_sizes
from edgekd.recipes.streaming.scales import Rescaled
from edgekd.recipes.streaming.teacher import Teacher, brought_teacher
from edgekd.recipes.weights import load_weights
from edgekd.storage import sha256_file

Student = StreamDetector | StillDetector
NOMINAL_BATCH = 64  # that ``train.learning_rate`` is of


class Recipe:
    """A streaming detector from a still one that sees the next frame (DAMO-StreamNet)."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def datasets(self, cache: Path, progress: Progress) -> Datasets:
        own = Path(self.config.data.cache) if self.config.data.cache else cache / "streaming"
        found = street_data.datasets(self.config, own, progress)
        if not self._brought:
            return found
        return replace(found, provenance={**found.provenance, "teacher": self._brought_teacher()[1]})

    def io_spec(self) -> IoSpec:
        student, still = self.config.student, self._still_io()
        if not student.looks_back:
            return still
        with torch.device("meta"):
            levels = StreamDetector(student, len(CLASSES)).levels
        said = f"what the last {student.past} frames said to later ones, newest first"
        inputs, outputs, state = [*still.inputs], [*still.outputs], {}
        for fuse, stride, size in zip(levels, STRIDES, map_sizes(*student.size), strict=True):
            for place, kind in ((inputs, "past"), (outputs, "next")):
                name, meaning = f"{kind}_{stride}", f"{said}, a map of stride {stride}"
                place.append(TensorSpec(name=name, shape=(1, fuse.carried, *size), layout="NCHW", meaning=meaning))
            state[f"next_{stride}"] = f"past_{stride}"
        first = "0 in a sequence's first frame, which then stands for its past, too; else 1"
        inputs.append(TensorSpec(name="started", shape=(1,), meaning=first))
        outputs.append(TensorSpec(name="running", shape=(1,), meaning="1"))
        return IoSpec(inputs=tuple(inputs), outputs=tuple(outputs), state={**state, "running": "started"})

    def _still_io(self) -> IoSpec:
        student = self.config.student
        image = TensorSpec(
            name="image",
            shape=(1, 3, *student.size),
            layout="NCHW",
            range=(0.0, 255.0),
            meaning="a frame",
            image=ImageSpec(color="BGR", scale=1.0),
        )
        count = sum(rows * columns for rows, columns in map_sizes(*student.size))
        of = "the next frame" if student.forecast else "this frame"
        predictions = TensorSpec(
            name="predictions",
            shape=(1, count, 5 + len(CLASSES)),
            unit="px of the image",
            meaning=f"cx, cy, w, h of boxes in {of}, then probabilities: of an object, and of {', '.join(CLASSES)}",
        )
        return IoSpec(inputs=(image,), outputs=(predictions,))

    def student(self, io: IoSpec) -> Student:
        config = self.config.student
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            kind = StreamDetector if config.looks_back else StillDetector
            return kind(config, len(CLASSES))

    def stages(self, data: Datasets, control: bool) -> Sequence[Stage]:
        if self.config.teacher.use == "none":
            if control:
                raise InputError(
                    "--control compares with a teacher, and there is none",
                    "teacher.use is none, so the student already trains on boxes alone",
                    "--set teacher.use=still",
                )
            return [self._student_stage("student", None, data.train)]
        stages = []
        teacher: Teacher
        if self._brought:
            teacher = self._brought_teacher()[0]
        else:
            teacher = self._new_teacher()
            stages.append(self._teacher_stage(teacher, data.train))
        stages.append(self._student_stage("student", teacher, data.train))
        if control:
            stages.append(self._student_stage("control", None, data.train))
        return stages

    @property
    def _brought(self) -> bool:
        return self.config.teacher.use == "still" and bool(self.config.teacher.black_box)

    def _brought_teacher(self) -> tuple[Teacher, dict[str, Any]]:
        return brought_teacher(self.config.teacher, len(CLASSES), self._still_io())

    def _new_teacher(self) -> Teacher:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed + 1)
            return Teacher(StillDetector(self.config.teacher, len(CLASSES)))

    def _teacher_stage(self, teacher: Teacher, train: SampleSet) -> Stage:
        """On frames and what is in them: it will be shown the frames that the student forecasts."""

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            raw, sizes = teacher.raw(batch["frames"][:, 0])
            return detection_terms(raw, sizes, batch["support"], self.config.loss)

        return self._stage("teacher", "teacher", teacher, step, train, self.config.teacher.epochs)

    def _student_stage(self, name: str, teacher: nn.Module | None, train: SampleSet) -> Stage:
        student, config = self.student(self.io_spec()), self.config
        starts_from = _started(student, config.student.init) if config.student.init else {}

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            frames, now = batch["frames"], batch["support"]
            forecast = config.student.forecast
            if isinstance(student, StreamDetector):
                raw, sizes = student.raw(frames, config.train.past_gradient)
            else:
                raw, sizes = student.raw(frames[:, 0])
            with torch.no_grad():
                said = None if teacher is None else teacher(batch["next_frame"] if forecast else frames[:, 0])
            truth = batch["boxes"] if forecast else now
            return detection_terms(raw, sizes, truth, config.loss, now if forecast else None, said)

        frozen = {} if teacher is None else {"teacher": teacher}
        return self._stage(name, name, student, step, train, config.train.epochs, frozen, starts_from)

    def _stage(
        self,
        name: str,
        role: str,
        model: nn.Module,
        step: Callable[[Batch], dict[str, torch.Tensor]],
        samples: SampleSet,
        epochs: int,
        frozen: Mapping[str, nn.Module] | None = None,
        starts_from: Mapping[str, Any] | None = None,
    ) -> Stage:
        train = self.config.train

        def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            found = list(parameters)
            weights, others = [p for p in found if p.dim() > 1], [p for p in found if p.dim() <= 1]
            rate = train.learning_rate * train.batch_size / NOMINAL_BATCH
            groups: list[dict[str, Any]] = [
                {"params": weights, "weight_decay": train.weight_decay},  # neither norms nor biases shrink
                {"params": others},
            ]
            return torch.optim.SGD(groups, lr=rate, momentum=train.momentum, nesterov=train.momentum > 0)

        def schedule(optimizer: torch.optim.Optimizer, steps: int) -> Any:
            warm = round(steps * min(1.0, train.warm_up / epochs))
            return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.rate(step, warm, steps))

        def decay(step: int) -> float:
            return train.average * (1 - math.exp(-step / train.average_ramp))

        return Stage(
            name=name,
            role=role,
            model=model,
            step=step,
            optimizer=optimizer,
            schedule=schedule,
            epochs=epochs,
            batch_size=train.batch_size,
            frozen=frozen or {},
            starts_from=starts_from or {},
            samples=Rescaled(samples, train.scales, epochs, self.config.seed) if train.scales else samples,
            average=decay if train.average else None,
        )

    def rate(self, step: int, warm: int, steps: int) -> float:
        """The learning rate of step ``step`` (0 ...) as a share of the highest.

        The authors ask for a cosine after the quadratic warm-up. But they also switch augmentation off for as many
        epochs as there are, and their scheduler gives such epochs the final rate: ``constant``.
        """
        train = self.config.train
        if step < warm:
            return ((step + 1) / warm) ** 2
        if train.schedule == "constant":
            return train.final
        done = (step - warm) / max(1, steps - warm)
        return train.final + (1 - train.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _started(student: nn.Module, init: str) -> dict[str, Any]:
    load_weights(student, Path(init))
    return {"source": Path(init).name, "sha256": sha256_file(Path(init)), "license": "not known to edgekd"}
