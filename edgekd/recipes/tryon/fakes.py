"""What the student is trained on: the person in another garment. Nobody has that photo, so the teacher draws it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from edgekd.contracts import Array, Arrays
from edgekd.recipes.contract import Batch, Key, Progress, Sample, SampleSet
from edgekd.recipes.rows import Fields, store_folder, stored_rows
from edgekd.recipes.tryon.teacher import Teacher


@torch.no_grad()
def draw_fakes(teacher: Teacher, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 3, H, W) each person in the batch's other garment, and where that covers them, (B, 1, H, W)."""
    warping = teacher.warping
    grid = warping.flows(batch["condition"], batch["other_clothes"]).grid
    warped = warping.cloth_warp(batch["other_clothes"], grid)
    edge = warping.edge_warp(batch["other_edge"], grid)
    return teacher.render(batch["preserve"], batch["dense_preserve"], warped, edge).tryon, edge


class StudentSet:
    """A set's samples, with the epoch, and with the teacher's pictures where those are kept.

    Args:
        samples: the recipe's.
        kept: other garments for each sample; epochs go round them. 0 keeps none.
    """

    def __init__(self, samples: SampleSet, kept: int) -> None:
        self._samples, self._kept = samples, kept
        self._fakes: Mapping[str, Array] | None = None

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def fingerprint(self) -> str:
        return self._samples.fingerprint

    def sample(self, index: int) -> Sample:
        return self._samples.sample(index)

    def batch(self, keys: Sequence[Key]) -> Batch:
        """The samples' batch, ``epoch`` (B,), and where they are kept ``fake`` and ``fake_edge``."""
        drawn = [(epoch % self._kept, index) for epoch, index in keys] if self._kept else keys
        batch = {**self._samples.batch(drawn), "epoch": torch.tensor([epoch for epoch, _ in keys])}
        if self._fakes is not None:
            rows = [epoch * len(self) + index for epoch, index in drawn]
            picture, edge = (torch.from_numpy(self._fakes[name][rows]).float() for name in ("picture", "edge"))
            batch |= {"fake": picture / 127.5 - 1, "fake_edge": edge / 255}
        return batch

    def keep(self, teacher: Teacher, cache: Path, tell: Progress) -> None:
        """Draws what ``kept`` asks for, unless ``cache`` has it of this teacher and these samples, and maps it.

        A picture is kept in 8 bits a channel, as the student will see one.

        Raises:
            MachineError: the cache cannot be written.
            InputError: it was changed.
        """
        if not self._kept:
            return
        teacher.eval()
        device = next(teacher.parameters()).device

        def make(row: int) -> Arrays:
            batch = self._samples.batch([divmod(row, len(self))])
            fake, edge = draw_fakes(teacher, {name: value.to(device) for name, value in batch.items()})
            return {"picture": _bytes((fake + 1) * 127.5), "edge": _bytes(edge * 255)}

        height, width = self._samples.batch([(0, 0)])["person"].shape[2:]
        fields: Fields = {"picture": ((3, height, width), "uint8"), "edge": ((1, height, width), "uint8")}
        key = {"teacher": _sha256(teacher), "data": self.fingerprint, "kept": self._kept}
        rows = self._kept * len(self)
        folder = store_folder(cache, "fakes", key)
        self._fakes = stored_rows(folder, fields, rows, make, lambda share: tell("the teacher's pictures", share))


def _bytes(values: torch.Tensor) -> Array:
    array: Array = values[0].round().clamp(0, 255).byte().cpu().numpy()
    return array


def _sha256(teacher: Teacher) -> str:
    digest = hashlib.sha256()
    for value in teacher.state_dict().values():
        digest.update(np.ascontiguousarray(value.cpu().numpy()).data)
    return digest.hexdigest()
