"""Which vertices train, which select, which judge. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.recipes.hypergraph.config import DataConfig
from edgekd.recipes.hypergraph.sources import NONE, Labelled

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Vertex ids, ascending. ``unseen`` is the part of ``test`` that training does not see at all."""

    train: Ints
    val: Ints
    test: Ints
    unseen: Ints


def split(data: Labelled, config: DataConfig, seed: int) -> Split:
    """Random: so many vertices per class to train and to select with, the rest of the labelled ones judges.
    Published: the file's own train list; every other labelled vertex judges and none selects.

    Raises:
        InputError: a class has too few labelled vertices, or the fold is not there.
    """
    rng = np.random.default_rng([seed, 0x5B])
    labelled = np.flatnonzero(data.labels != NONE)
    if config.split == "published":
        train, val = _published(data, config.fold), np.empty(0, np.int64)
    else:
        train, val = _random(data, config, rng)
    test = np.setdiff1d(labelled, np.concatenate([train, val]))
    if config.test and len(test) > config.test:
        test = np.sort(rng.permutation(test)[: config.test])
    if not len(test):
        raise InputError(
            "no labelled vertex is left to test on",
            f"{len(train)} train and {len(val)} select, of {len(labelled)}",
            "--set data.val_per_class=10",
        )
    count = round(config.unseen * len(test)) if config.setting == "production" else 0
    if config.setting == "production" and not 0 < count < len(test):
        raise InputError(
            f"data.unseen = {config.unseen:g} of {len(test)} test vertices leaves one of the two parts empty",
            fix="--set data.unseen=0.5",
        )
    return Split(train, val, test, np.sort(rng.permutation(test)[:count]))


def _published(data: Labelled, fold: int) -> Ints:
    if not data.splits:
        raise InputError("the data has no published split", "it has no train_splits", "--set data.split=random")
    if fold >= len(data.splits):
        raise InputError(f"there is no fold {fold}", f"the data has {len(data.splits)}, from 0", "--set data.fold=0")
    return data.splits[fold]


def _random(data: Labelled, config: DataConfig, rng: np.random.Generator) -> tuple[Ints, Ints]:
    train, val = [], []
    for kind, name in enumerate(data.classes):
        own = rng.permutation(np.flatnonzero(data.labels == kind))
        wanted = config.train_per_class + config.val_per_class
        if len(own) < wanted:
            raise InputError(
                f"class {name} has {len(own)} labelled vertices",
                f"{config.train_per_class} are to train and {config.val_per_class} to select",
                "--set data.train_per_class=N --set data.val_per_class=N",
            )
        train.append(own[: config.train_per_class])
        val.append(own[config.train_per_class : wanted])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(val))
