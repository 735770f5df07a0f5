"""A stage under Lightning's Trainer, from nothing or from its last checkpoint."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import DDPStrategy

from edgekd.errors import InputError
from edgekd.recipes.contract import Datasets, Stage
from edgekd.recipes.weights import load_weights
from edgekd.storage import read_json, whole_file, write_json
from edgekd.training.judge import Judge
from edgekd.training.loader import training_loader
from edgekd.training.precision import faster_precision
from edgekd.training.ranks import ALONE, Processes, Ranks
from edgekd.training.stage_module import StageModule

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
ONE = Processes()


@dataclass(frozen=True)
class Outcome:
    """``best`` and ``last`` are validation scores; the stage's model holds the best epoch's weights."""

    best_epoch: int
    best: dict[str, float]
    last: dict[str, float]
    images_per_second: float
    precision: str


class _WholeCheckpoints(TorchCheckpointIO):
    """Renamed into place: Lightning's own way passes by another file system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with whole_file(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


class _Tell(pl.Callback):
    """Says after every batch what is trained and how far it is; after every epoch the score changes."""

    def __init__(self, primary: str, tell: Callable[[str, float], None]) -> None:
        self._primary, self._tell = primary, tell

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *rest: Any) -> None:
        assert isinstance(module, StageModule)
        epoch, epochs = trainer.current_epoch, trainer.max_epochs or 1
        score = ""
        if module.history:
            row = module.history[-1]
            rate = row["images_per_second"]
            score = f", val {self._primary} {row['val/' + self._primary]:.4g}, {rate:.0f} samples/s"
        done = (trainer.fit_loop.batch_idx + 1) / int(trainer.num_training_batches)
        self._tell(f"{module.stage_name}: epoch {epoch + 1}/{epochs}{score}", (epoch + done) / epochs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's hints are for people who write loops; edgekd shows progress in one place."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning.*")
        warnings.filterwarnings("ignore", module="lightning_fabric.*")
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
        yield


@_quiet()
def fit(
    stage: Stage,
    datasets: Datasets,
    judge: Judge,
    folder: Path,
    config: Any,
    teachers: dict[str, dict[str, float]],
    tell: Callable[[str, float], None],
    processes: Processes = ONE,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Trains ``stage.model`` and leaves the weights of the epoch that the stage keeps in it, on every rank.

    Rank 0 writes ``last.ckpt`` (after every epoch), ``best.safetensors``, ``metrics.csv`` and TensorBoard events to
    ``folder``; an existing ``last.ckpt`` is gone on from.

    Raises:
        GateError: the loss is no number.
        InputError: parameters without a gradient, where several ranks wait for it.
        PeerGoneError: another rank ended.
    """
    torch.manual_seed(config.seed)
    seed = config.seed
    module = StageModule(stage, judge, datasets.val, seed, folder, ranks)
    loader = training_loader(stage.samples or datasets.train, stage.batch_size, seed, config.train.workers, ranks)
    precision = ranks.once(lambda: _precision(stage, datasets, folder, config.train.precision, processes.on_gpu))
    # The newest is kept after every epoch. (``save_last`` with ``save_top_k=0`` writes nothing before the end.)
    saver = ModelCheckpoint(
        dirpath=folder, filename="last", save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    board = TensorBoardLogger(folder, name="", version="tensorboard")
    for name, scores in teachers.items():
        board.log_metrics({f"teacher/{name}/{k}": v for k, v in scores.items()}, step=0)
    trainer = pl.Trainer(
        max_epochs=stage.epochs,
        accelerator=processes.accelerator,
        devices=processes.devices,
        num_nodes=processes.nodes,
        strategy=_strategy(processes),
        use_distributed_sampler=False,  # ours knows its rank
        precision=precision,  # type: ignore[arg-type]
        gradient_clip_val=stage.clip,
        logger=board,
        callbacks=[saver, _Tell(judge.metrics.primary, tell)],
        plugins=[_WholeCheckpoints(), ranks.environment or LightningEnvironment()],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10**9,
        default_root_dir=folder,
        num_sanity_val_steps=0,
    )
    last = folder / "last.ckpt"
    # The layout that convolutions are fastest in, with the same numbers up to rounding.
    stage.model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with ranks.together():
            trainer.fit(module, loader, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    except RuntimeError as error:
        if "find_unused_parameters" not in str(error):
            raise
        raise InputError(
            f"a step of {stage.name} leaves some of its parameters without a gradient",
            "several processes wait for each other's gradients, of all of them",
            "--strategy ddp_find_unused_parameters_true",
        ) from error
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from None
    stage.model.cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    ranks.wait()  # rank 0 has written the best
    load_weights(stage.model, folder / "best.safetensors")
    stage.model.zero_grad(set_to_none=True)  # the last step's gradients would be held as long as the model
    top = module.kept()
    return Outcome(
        best_epoch=int(top["epoch"]),
        best=_scores(top),
        last=_scores(module.history[-1]),
        images_per_second=float(sum(r["images_per_second"] for r in module.history) / len(module.history)),
        precision=precision,
    )


def _strategy(processes: Processes) -> Any:
    if processes.count == 1:
        return "auto"
    # Every process keeps running statistics of its own and they are averaged once per epoch: rank 0's alone, sent out
    # before every step as is the default, would know its share of the data only.
    return DDPStrategy(
        find_unused_parameters=processes.strategy == "ddp_find_unused_parameters_true", broadcast_buffers=False
    )


def _precision(stage: Stage, datasets: Datasets, folder: Path, asked: str, on_gpu: bool) -> str:
    """The decision is kept: a resumed stage must not decide anew."""
    note = folder / "precision.json"
    if note.is_file():
        return str(read_json(note)["precision"])
    if asked == "auto" and not on_gpu:
        samples = stage.samples or datasets.train
        count = min(stage.batch_size, len(samples))
        chosen = faster_precision(stage, samples.batch([(0, i) for i in range(count)]))
    else:
        chosen = PRECISIONS["bf16" if asked == "auto" else asked]
    write_json(note, {"precision": chosen, "asked": asked})
    return chosen


def _scores(row: dict[str, float]) -> dict[str, float]:
    return {name.removeprefix("val/"): value for name, value in row.items() if name.startswith("val/")}
