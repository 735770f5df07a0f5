"""One stage under Lightning's Trainer: the step's terms, the scores, and what is logged."""

from __future__ import annotations

import csv
import hashlib
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from edgekd.errors import GateError
from edgekd.recipes.contract import Batch, SampleSet, Stage
from edgekd.recipes.weights import save_weights
from edgekd.storage import whole_file
from edgekd.training.judge import Judge
from edgekd.training.precision import sum_terms


class StageModule(pl.LightningModule):
    """Trains ``stage.model``. Frozen teachers are held outside the module: no checkpoint carries them.

    Keeps ``metrics.csv`` and ``best.safetensors`` in ``folder`` up to date.
    """

    def __init__(self, stage: Stage, judge: Judge, val: SampleSet, seed: int, folder: Path) -> None:
        super().__init__()
        self.model = stage.model
        self._stage, self._judge, self._val, self._seed = stage, judge, val, seed
        self._frozen, self._folder = dict(stage.frozen), folder
        self._sums: dict[str, float] = {}
        self._batches = self._images = 0
        self._busy_s = 0.0
        self.stage_name = stage.name
        self.history: list[dict[str, float]] = []
        self.images_per_second = 0.0

    def configure_optimizers(self) -> Any:
        optimizer = self._stage.optimizer(p for p in self.model.parameters() if p.requires_grad)
        if self._stage.schedule is None:
            return optimizer
        scheduler = self._stage.schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        for teacher in self._frozen.values():
            teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        # Dropout's noise, too, is a function of (seed, stage, epoch): resumed epochs draw the same.
        name = int.from_bytes(hashlib.sha256(self._stage.name.encode()).digest()[:4], "big")
        torch.manual_seed((self._seed * 1_000_003 + name + self.current_epoch) % 2**63)
        self._sums, self._batches, self._images, self._busy_s = {}, 0, 0, 0.0
        self._mark = time.perf_counter()

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        terms = self._stage.step(batch)
        loss = sum_terms(terms)
        if not torch.isfinite(loss):
            raise GateError(
                f"training of {self._stage.name} diverged: the loss is {loss.item()}",
                f"epoch {self.current_epoch + 1}, batch {index + 1}",
                "distil again with a lower learning rate and --overwrite",
            )
        for name, value in {**terms, "loss": loss}.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        self._batches += 1
        self._images += len(next(iter(batch.values())))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        self._busy_s += now - self._mark
        self._mark = now

    def on_train_epoch_end(self) -> None:
        self.images_per_second = self._images / self._busy_s
        scores = self._judge.score(self.model, self._val)
        row = {f"train/{name}": value / self._batches for name, value in self._sums.items()}
        row |= {f"val/{name}": value for name, value in scores.items()}
        row["images_per_second"] = self.images_per_second
        row["learning_rate"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.history.append({"epoch": self.current_epoch, **row})
        write_curves(self._folder / "metrics.csv", self.history, int(self.trainer.num_training_batches))
        if self.kept() is self.history[-1]:
            save_weights(self.model, self._folder / "best.safetensors")
        self.log_dict(row, on_epoch=True, on_step=False)

    def kept(self) -> dict[str, float]:
        """The first row of the history that no other one beats on the validation set; or the last one."""
        if self._stage.keeps == "last":
            return self.history[-1]
        primary, sign = f"val/{self._judge.metrics.primary}", -1 if self._judge.metrics.higher_is_better else 1
        return min(self.history, key=lambda row: math.inf if math.isnan(row[primary]) else sign * row[primary])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])


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
