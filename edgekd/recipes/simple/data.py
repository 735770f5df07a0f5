"""Data sets in memory: arrays by name, or any torch ``Dataset`` that fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from edgekd.contracts import Array
from edgekd.errors import InputError
from edgekd.recipes.contract import Batch, Key, Sample
from edgekd.storage import sha256_arrays

Augment = Callable[[dict[str, Array], np.random.Generator], dict[str, Array]]


class ArraySet:
    """``contract.SampleSet`` over arrays (N, ...).

    Args:
        inputs: by the io spec's names.
        targets: by other names; into the batch as they are, and into a sample's truth.
        augment: (one sample's inputs, a generator of its epoch and index) to changed inputs of the same shapes;
            for training only.
        seed: of the generators.

    Raises:
        InputError: arrays of different lengths, or a name that is both.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array],
        targets: Mapping[str, Array],
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.inputs, self.targets = dict(inputs), dict(targets)
        self._augment, self._seed = augment, seed
        lengths = {name: len(value) for name, value in (*inputs.items(), *targets.items())}
        if len(set(lengths.values())) != 1 or set(inputs) & set(targets):
            raise InputError("these arrays are no data set", f"their lengths are {lengths}", "one row per sample each")

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def batch(self, keys: Sequence[Key]) -> Batch:
        chosen = [index for _, index in keys]
        inputs = {name: value[chosen] for name, value in self.inputs.items()}
        if self._augment is not None:
            rows = [
                self._augment({n: v[k] for n, v in inputs.items()}, np.random.default_rng([self._seed, *key]))
                for k, key in enumerate(keys)
            ]
            inputs = {name: np.stack([row[name] for row in rows]).astype(v.dtype) for name, v in inputs.items()}
        targets = {name: value[chosen] for name, value in self.targets.items()}
        return {name: torch.from_numpy(value) for name, value in {**inputs, **targets}.items()}

    def sample(self, index: int) -> Sample:
        inputs, targets = ({n: np.asarray(v[index]) for n, v in part.items()} for part in (self.inputs, self.targets))
        return Sample(inputs, targets)

    @cached_property
    def fingerprint(self) -> str:
        return sha256_arrays({**self.inputs, **self.targets})

    def part(self, rows: Array, augment: Augment | None = None, seed: int = 0) -> ArraySet:
        """The given rows as a set of their own."""
        inputs, targets = ({n: v[rows] for n, v in part.items()} for part in (self.inputs, self.targets))
        return ArraySet(inputs, targets, augment, seed)


def stacked(dataset: Any) -> tuple[Array, Array]:
    """(inputs, targets) of a torch ``Dataset`` of pairs, read once from first to last into memory."""
    pairs = [dataset[index] for index in range(len(dataset))]
    return np.stack([np.asarray(x) for x, _ in pairs]), np.stack([np.asarray(y) for _, y in pairs])


def split(samples: ArraySet, val: float = 0.1, test: float = 0.2) -> tuple[Array, Array, Array]:
    """Rows of train, val and test, at random but always the same. Equal inputs stay together.

    Raises:
        InputError: one of them would be empty.
    """
    flat = np.concatenate([np.reshape(v, (len(samples), -1)) for v in samples.inputs.values()], axis=1)
    _, group = np.unique(flat, axis=0, return_inverse=True)
    count = int(group.max()) + 1
    place = np.random.default_rng(0).permutation(count)[group.reshape(-1)]
    ends = round(val * count), round(val * count) + round(test * count)
    parts = place >= ends[1], place < ends[0], (place >= ends[0]) & (place < ends[1])
    train_rows, val_rows, test_rows = (np.flatnonzero(part) for part in parts)
    if not (len(train_rows) and len(val_rows) and len(test_rows)):
        raise InputError("too few samples for three sets", f"{len(samples)} samples", "give more data")
    return train_rows, val_rows, test_rows
