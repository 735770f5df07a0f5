"""A recipe from a network and arrays: the student learns from labels and, where there is one, from a teacher."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.contracts import Array, IoSpec
from edgekd.distillers.soft_targets import soft_target_loss
from edgekd.errors import InputError
from edgekd.recipes.contract import Batch, Datasets, Stage
from edgekd.recipes.simple.config import Config
from edgekd.recipes.simple.data import ArraySet, Augment, split, stacked
from edgekd.recipes.teachers import network_teacher

Outputs = tuple[torch.Tensor, ...]


class SimpleRecipe(ABC):
    """``contract.Recipe``. A subclass says ``io``, ``examples`` and ``make_student``; the rest may be overridden."""

    io: IoSpec
    augment: Augment | None = None

    def __init__(self, config: Config) -> None:
        self.config = config

    # --- a user's own

    @abstractmethod
    def examples(self) -> tuple[Any, Any] | Any:
        """(inputs, targets): arrays (N, ...), or dictionaries of them by name; or a torch ``Dataset`` of such pairs."""

    @abstractmethod
    def make_student(self) -> nn.Module:
        """A fresh student. The random state is seeded around the call."""

    def make_teacher(self) -> nn.Module | None:
        """A fresh teacher, to be trained first; None: only ``--teacher`` brings one."""
        return None

    @abstractmethod
    def label_loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor: ...

    @abstractmethod
    def teacher_loss(self, outputs: Outputs, taught: Outputs) -> torch.Tensor: ...

    @property
    @abstractmethod
    def target_names(self) -> Sequence[str]:
        """Of ``examples``' targets where they are bare arrays."""

    # --- the contract

    def datasets(self, cache: Path, progress: Callable[[str, float], None]) -> Datasets:
        given = self.examples()
        inputs, targets = given if isinstance(given, tuple) else stacked(given)
        dtypes = {t.name: t.dtype for t in self.io.inputs}
        named = _by_name(inputs, list(dtypes))
        samples = ArraySet(
            {name: np.ascontiguousarray(named[name], dtype) for name, dtype in dtypes.items()},
            _by_name(targets, list(self.target_names)),
        )
        train, val, test = split(samples)
        provenance: dict[str, Any] = {"split": {"train": len(train), "val": len(val), "test": len(test)}}
        if self.config.teacher.black_box:
            provenance["teacher"] = self._brought_teacher()[1]
        return Datasets(
            samples.part(train, self.augment, self.config.seed), samples.part(val), samples.part(test), provenance
        )

    def io_spec(self) -> IoSpec:
        return self.io

    def student(self, io: IoSpec) -> nn.Module:
        return self._seeded(self.make_student, 0)

    def stages(self, data: Datasets, control: bool) -> Sequence[Stage]:
        config, stages = self.config, []
        teacher = self._brought_teacher()[0] if config.teacher.black_box else self._seeded(self.make_teacher, 1)
        if teacher is not None and not config.teacher.black_box:
            stages.append(self._stage("teacher", "teacher", teacher, config.teacher.epochs, None))
        stages.append(self._stage("student", "student", self.student(self.io), config.train.epochs, teacher))
        if control and teacher is None:
            raise InputError("--control compares with a teacher, and there is none", fix="--teacher brings one")
        if control:
            stages.append(self._stage("control", "control", self.student(self.io), config.train.epochs, None))
        return stages

    def _brought_teacher(self) -> tuple[nn.Module, dict[str, Any]]:
        return network_teacher(self.config.teacher.black_box, self.io)

    def _seeded(self, make: Callable[[], Any], offset: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed + offset)
            return make()

    def _stage(self, name: str, role: str, model: nn.Module, epochs: int, teacher: nn.Module | None) -> Stage:
        train, loss = self.config.train, self.config.loss
        names = [t.name for t in self.io.inputs]

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            inputs = [batch[name] for name in names]
            outputs = _tuple(model(*inputs))
            if teacher is None:
                return {"labels": self.label_loss(outputs, batch)}
            with torch.no_grad():
                taught = _tuple(teacher(*inputs))
            return {
                "labels": (1 - loss.weight) * self.label_loss(outputs, batch),
                "teacher": loss.weight * self.teacher_loss(outputs, taught),
            }

        return Stage(
            name=name,
            role=role,
            model=model,
            step=step,
            optimizer=lambda parameters: torch.optim.AdamW(
                parameters, lr=train.learning_rate, weight_decay=train.weight_decay
            ),
            schedule=lambda optimizer, steps: torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
            ),
            epochs=epochs,
            batch_size=train.batch_size,
            frozen={} if teacher is None else {"teacher": teacher},
        )


class Classification(SimpleRecipe):
    """Targets are labels 0 ... C-1; the only output is (B, C) logits. The teacher's softened ones are learned (KD)."""

    target_names = ("label",)

    def label_loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(outputs[0].float(), batch["label"].long())

    def teacher_loss(self, outputs: Outputs, taught: Outputs) -> torch.Tensor:
        return soft_target_loss(outputs[0], taught[0], self.config.loss.temperature)


class Regression(SimpleRecipe):
    """Targets are the outputs' own arrays; both losses are mean squared errors, summed over the outputs."""

    @property
    def target_names(self) -> Sequence[str]:
        return [t.name for t in self.io.outputs]

    def label_loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        return _squared(outputs, tuple(batch[t.name] for t in self.io.outputs))

    def teacher_loss(self, outputs: Outputs, taught: Outputs) -> torch.Tensor:
        return _squared(outputs, taught)


def _squared(outputs: Outputs, wanted: Outputs) -> torch.Tensor:
    errors = [F.mse_loss(y.float(), w.float()) for y, w in zip(outputs, wanted, strict=True)]
    return torch.stack(errors).sum()


def _tuple(outputs: Any) -> Outputs:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def _by_name(given: Any, names: list[str]) -> dict[str, Array]:
    """Arrays by name; a bare one has the only name there is."""
    arrays = given if isinstance(given, dict) else {names[0]: given} if len(names) == 1 else {}
    if set(arrays) != set(names):
        raise InputError(
            "the examples are not the recipe's", f"it has {', '.join(names)}", "give arrays by these names"
        )
    return {name: np.asarray(value) for name, value in arrays.items()}
