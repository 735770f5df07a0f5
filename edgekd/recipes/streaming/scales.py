"""Training at several sizes: a batch's frames and boxes grow or shrink together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from edgekd.recipes.contract import Batch, Key, Sample, SampleSet

STEP = 16  # px by which the width changes


class Rescaled:
    """``contract.SampleSet`` whose batches have another size each; the last epoch's have the set's own.

    The authors draw a width of 16 · (50 ... 70) for frames 960 wide, every ten steps, for all GPUs alike; here it is
    drawn for every batch, so that it depends on the batch's keys alone.

    Args:
        samples: the set; its frames are all of one size.
        spread: share of the width by which it may grow or shrink.
        epochs: of the stage.
        seed: of the sizes.
    """

    def __init__(self, samples: SampleSet, spread: float, epochs: int, seed: int) -> None:
        self._samples, self._spread, self._epochs, self._seed = samples, spread, epochs, seed

    def __len__(self) -> int:
        return len(self._samples)

    def batch(self, keys: Sequence[Key]) -> Batch:
        batch, (epoch, index) = self._samples.batch(keys), keys[0]
        if epoch + 1 >= self._epochs:
            return batch
        height, width = (int(n) for n in batch["frames"].shape[-2:])
        columns, most = width // STEP, round(width / STEP * self._spread)
        drawn = int(np.random.default_rng([self._seed, epoch, index]).integers(-most, most + 1)) + columns
        size = STEP * max(2, int(drawn * height / width)), STEP * max(2, drawn)
        scale = batch["boxes"].new_tensor([1.0, size[1] / width, size[0] / height, size[1] / width, size[0] / height])
        return {
            "frames": _resized(batch["frames"], size),
            "next_frame": _resized(batch["next_frame"], size),
            "boxes": batch["boxes"] * scale,
            "support": batch["support"] * scale,
        }

    def sample(self, index: int) -> Sample:
        return self._samples.sample(index)

    @property
    def fingerprint(self) -> str:
        return self._samples.fingerprint


def _resized(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(..., 3, H, W), bilinear."""
    flat = frames.flatten(0, -4) if frames.dim() > 4 else frames
    return F.interpolate(flat, size=size, mode="bilinear", align_corners=False).unflatten(0, frames.shape[:-3])
