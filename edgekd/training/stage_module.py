"""One stage under Lightning's Trainer: the step's terms, the scores, and what is logged."""

from __future__ import annotations

import csv
import hashlib
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from edgekd.errors import GateError
from edgekd.recipes.contract import Batch, SampleSet, Stage
from edgekd.recipes.weights import copied_state, save_state
from edgekd.storage import whole_file
from edgekd.training.averaging import MovingAverage
from edgekd.training.judge import Judge
from edgekd.training.precision import sum_terms
from edgekd.training.ranks import ALONE, Ranks

READ_EVERY = 64  # steps whose terms are read at once: reading one waits for the GPU to have computed it


class StageModule(pl.LightningModule):
    """Trains ``stage.model``. Frozen teachers are held outside the module: no checkpoint carries them.

    Keeps ``metrics.csv`` and ``best.safetensors`` in ``folder`` up to date. The kept epoch's weights are in the
    checkpoint, too: the two files are written one after the other, and a process may be killed between them.
    """

    def __init__(
        self, stage: Stage, judge: Judge, val: SampleSet, seed: int, folder: Path, ranks: Ranks = ALONE
    ) -> None:
        super().__init__()
        self.model = stage.model
        self._stage, self._judge, self._val, self._seed, self._ranks = stage, judge, val, seed, ranks
        self._frozen, self._folder = dict(stage.frozen), folder
        self._terms: list[dict[str, torch.Tensor]] = []  # of the last steps, not yet read
        self._sums: dict[str, float] = {}
        self._batches = self._images = 0
        self._best: dict[str, torch.Tensor] = {}
        self._average = MovingAverage(stage.model, stage.average) if stage.average else None
        self.stage_name = stage.name
        self.history: list[dict[str, float]] = []

    def configure_optimizers(self) -> Any:
        optimizer = self._stage.optimizer(p for p in self.model.parameters() if p.requires_grad)
        if self._stage.schedule is None:
            return optimizer
        scheduler = self._stage.schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        for teacher in self._frozen.values():
            teacher.to(self.device)
        if self._average:
            self._average.to(self.device)

    def on_train_epoch_start(self) -> None:
        # Dropout's noise, too, is a function of (seed, stage, epoch, rank): resumed epochs draw the same.
        name = int.from_bytes(hashlib.sha256(self._stage.name.encode()).digest()[:4], "big")
        seed = self._seed * 1_000_003 + name + self.current_epoch + self._ranks.rank * 2**40
        torch.manual_seed(seed % 2**63)
        self._terms, self._sums, self._batches, self._images = [], {}, 0, 0
        self._began = time.perf_counter()

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        terms = self._stage.step(batch)
        loss = sum_terms(terms)
        self._terms.append({name: value.detach() for name, value in terms.items()} | {"loss": loss.detach()})
        self._images += len(next(iter(batch.values())))
        if len(self._terms) == READ_EVERY:
            self._read_terms()
        return loss

    def on_train_batch_end(self, *rest: Any) -> None:
        if self._average:
            self._average.update(self.model)

    def on_train_epoch_end(self) -> None:
        self._read_terms()
        images_per_second = self._images * self._ranks.count / (time.perf_counter() - self._began)
        self._ranks.average_buffers(self.model)
        means = self._ranks.mean([value / self._batches for value in self._sums.values()])
        with self._average.instead(self.model) if self._average else nullcontext():
            self._judge_epoch(images_per_second, means)

    def _judge_epoch(self, images_per_second: float, means: list[float]) -> None:
        if self._average:
            self._ranks.average_buffers(self.model)
        scores = self._ranks.once(lambda: self._judge.score(self.model, self._val))
        row = {f"train/{name}": mean for name, mean in zip(self._sums, means, strict=True)}
        row |= {f"val/{name}": value for name, value in scores.items()}
        row["images_per_second"] = images_per_second
        row["learning_rate"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.history.append({"epoch": self.current_epoch, **row})
        if self.kept() is self.history[-1]:
            self._best = copied_state(self.model)
            self._write_best()
        if self._ranks.first:
            write_curves(self._folder / "metrics.csv", self.history, int(self.trainer.num_training_batches))
        self.log_dict(row, on_epoch=True, on_step=False)

    def kept(self) -> dict[str, float]:
        """The first row of the history that no other one beats on the validation set; or the last one."""
        if self._stage.keeps == "last":
            return self.history[-1]
        primary, sign = f"val/{self._judge.metrics.primary}", -1 if self._judge.metrics.higher_is_better else 1
        return min(self.history, key=lambda row: math.inf if math.isnan(row[primary]) else sign * row[primary])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["best"] = self.history, self._best
        if self._average:
            checkpoint["average"] = self._average.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self._best = list(checkpoint["history"]), dict(checkpoint["best"])
        if self._average:
            self._average.restore(checkpoint["average"])
        self._write_best()

    def _read_terms(self) -> None:
        """Adds the last steps' terms up, and stops where the loss was no number."""
        names = dict.fromkeys(name for terms in self._terms for name in terms)
        for name in names:
            values = torch.stack([terms[name] for terms in self._terms if name in terms]).double().tolist()
            if name == "loss" and not all(map(math.isfinite, values)):
                first = next(i for i, value in enumerate(values) if not math.isfinite(value))
                raise GateError(
                    f"training of {self._stage.name} diverged: the loss is {values[first]}",
                    f"epoch {self.current_epoch + 1}, batch {self._batches + first + 1}",
                    "distil again with a lower learning rate and --overwrite",
                )
            self._sums[name] = self._sums.get(name, 0.0) + sum(values)
        self._batches += len(self._terms)
        self._terms = []

    def _write_best(self) -> None:
        if self._ranks.first:
            save_state(self._best, self._folder / "best.safetensors")


def write_curves(path: Path, history: list[dict[str, float]], steps_per_epoch: int) -> None:
    """``metrics.csv`` (epoch, step, name, value): whole after every epoch, resumed runs included."""
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "name", "value"])
        for row in history:
            epoch = int(row["epoch"])
            for name, value in row.items():
                if name != "epoch":
                    writer.writerow([epoch, (epoch + 1) * steps_per_epoch, name, repr(value)])
