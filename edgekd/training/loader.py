"""Data order as a function of (seed, epoch, position), so that a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from edgekd.errors import InputError
from edgekd.recipes.contract import Key, SampleSet
from edgekd.training.ranks import ALONE, Ranks


class _Keyed(Dataset[Any]):
    """Fetches a whole batch by its keys, because augmentation is done on batches."""

    def __init__(self, samples: SampleSet) -> None:
        self._samples = samples

    def __getitem__(self, key: Key) -> Any:
        return self._samples.batch([key])

    def __getitems__(self, keys: list[Key]) -> Any:
        return self._samples.batch(keys)


class EpochSampler(Sampler[Key]):
    """(epoch, index) keys in the permutation of (seed, epoch). Lightning calls ``set_epoch``.

    The permutation is cut into whole batches and each batch into one equal piece per rank: together the ranks take
    the step that one process would take.
    """

    def __init__(self, size: int, batch_size: int, seed: int, ranks: Ranks = ALONE) -> None:
        self._size, self._seed, self._ranks, self._epoch = size, seed, ranks, 0
        self._batches, self._piece = size // batch_size, batch_size // ranks.count

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._size)
        whole = order[: self._batches * self._piece * self._ranks.count]
        own = whole.reshape(self._batches, self._ranks.count, self._piece)[:, self._ranks.rank]
        return iter([(self._epoch, int(index)) for index in own.reshape(-1)])

    def __len__(self) -> int:
        return self._batches * self._piece


def fitting_batch(size: int, batch_size: int, ranks: Ranks = ALONE) -> int:
    """The batch size of a step over all ranks: ``batch_size``, or all samples where there are fewer.

    Raises:
        InputError: the ranks cannot share it equally.
    """
    fitting = min(batch_size, size)
    if fitting % ranks.count:
        raise InputError(
            f"a batch of {fitting} cannot be shared by {ranks.count} processes",
            "train.batch_size is that of a whole step, and every process takes an equal part of it"
            if fitting == batch_size
            else f"there are only {size} training samples",
            f"--set train.batch_size={max(1, fitting // ranks.count) * ranks.count}",
        )
    return fitting


def training_loader(
    samples: SampleSet, batch_size: int, seed: int, workers: int, ranks: Ranks = ALONE
) -> DataLoader[Any]:
    """Drops the last, smaller batch when there is a whole one: BatchNorm on two samples only adds noise."""
    batch_size = fitting_batch(len(samples), batch_size, ranks)
    return DataLoader(
        _Keyed(samples),
        batch_size=batch_size // ranks.count,
        sampler=EpochSampler(len(samples), batch_size, seed, ranks),
        collate_fn=_as_fetched,
        num_workers=workers,
        persistent_workers=workers > 0,
        # A generator of its own: drawing the workers' base seed must not move the global one.
        generator=torch.Generator().manual_seed(seed),
    )


def _as_fetched(batch: Any) -> Any:
    return batch
