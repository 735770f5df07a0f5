"""Data order as a function of (seed, epoch, position), so that a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from edgekd.recipes.contract import Key, SampleSet


class _Keyed(Dataset[Any]):
    """Fetches a whole batch by its keys, because augmentation is done on batches."""

    def __init__(self, samples: SampleSet) -> None:
        self._samples = samples

    def __getitem__(self, key: Key) -> Any:
        return self._samples.batch([key])

    def __getitems__(self, keys: list[Key]) -> Any:
        return self._samples.batch(keys)


class EpochSampler(Sampler[Key]):
    """(epoch, index) keys in the permutation of (seed, epoch). Lightning calls ``set_epoch``."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed, self._epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._size)
        return iter([(self._epoch, int(index)) for index in order])

    def __len__(self) -> int:
        return self._size


def training_loader(samples: SampleSet, batch_size: int, seed: int, workers: int) -> DataLoader[Any]:
    """Drops the last, smaller batch when there is a whole one: BatchNorm on two samples only adds noise."""
    return DataLoader(
        _Keyed(samples),
        batch_size=min(batch_size, len(samples)),
        sampler=EpochSampler(len(samples), seed),
        drop_last=True,
        collate_fn=_as_fetched,
        num_workers=workers,
        persistent_workers=workers > 0,
        # A generator of its own: drawing the workers' base seed must not move the global one.
        generator=torch.Generator().manual_seed(seed),
    )


def _as_fetched(batch: Any) -> Any:
    return batch
