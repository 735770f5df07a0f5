"""The samples that a worker rotates through: real ones, then seeded variants of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekd.contracts import Array, Arrays
from edgekd.errors import InputError

ROTATION = 64  # the least number of different samples
JITTER_PIXELS = 2  # of 255
JITTER_SHARE = 0.01  # of a floating-point array's standard deviation


@dataclass(frozen=True)
class Rotation:
    """``samples`` in the order of use; ``originals`` of them are real, ``jittered`` are variants."""

    samples: tuple[dict[str, Array], ...]
    originals: int
    jittered: int
    seed: int


def rotation(raws: Sequence[Arrays], seed: int, least: int = ROTATION, in_sequence: bool = False) -> Rotation:
    """At least ``least`` samples: every real one, and where they are fewer, jittered variants of them.

    A variant differs from its original by noise of at most 2 grey levels, or 1 % of the standard deviation,
    and stays within the original's own range. Integers that are no pixels, and truth values, are left alone.

    Args:
        in_sequence: keep the order (frames for a model with state); otherwise it is shuffled by ``seed``.

    Raises:
        InputError: no sample, or one that is all zeros, on which some kernels are faster than on pictures.
    """
    if not raws:
        raise InputError("there is no sample to measure on", "the artefact has none", "export the run again")
    originals = [{name: np.asarray(value) for name, value in raw.items()} for raw in raws]
    for index, raw in enumerate(originals):
        if not any(np.any(value) for value in raw.values()):
            raise InputError(f"sample {index} is all zeros", "it represents nothing", "export real samples")

    rng = np.random.default_rng(seed)
    samples = list(originals)
    while len(samples) < least:
        source = originals[len(samples) % len(originals)]
        samples.append({name: _jittered(value, rng) for name, value in source.items()})
    if not in_sequence:
        samples = [samples[i] for i in rng.permutation(len(samples))]
    return Rotation(tuple(samples), len(originals), len(samples) - len(originals), seed)


def _jittered(value: Array, rng: np.random.Generator) -> Array:
    if value.dtype == np.uint8:
        noise = rng.integers(-JITTER_PIXELS, JITTER_PIXELS, value.shape, dtype=np.int16, endpoint=True)
        return np.clip(value.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    if np.issubdtype(value.dtype, np.floating):
        share = rng.uniform(-1, 1, value.shape) * JITTER_SHARE * float(value.std())
        return np.clip(value + share, value.min(), value.max()).astype(value.dtype)
    return value
