"""What the student is trained on: a photo of the person in another garment, which nobody has, so the teacher draws it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from edgekd.errors import InputError, MachineError
from edgekd.recipes.contract import Batch, Key, Progress, Sample, SampleSet
from edgekd.recipes.tryon.teacher import Teacher
from edgekd.storage import locked, whole_file

DRAWN_AT_ONCE = 8


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
        self._fakes: np.ndarray | None = None  # (kept, n, 4, H, W) uint8, mapped

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def fingerprint(self) -> str:
        return self._samples.fingerprint

    def sample(self, index: int) -> Sample:
        return self._samples.sample(index)

    def batch(self, keys: Sequence[Key]) -> Batch:
        """The samples' batch, ``epoch`` (B,), and where they are kept ``fake`` and ``fake_edge``."""
        if self._kept:
            batch = self._samples.batch([(epoch % self._kept, index) for epoch, index in keys])
        else:
            batch = self._samples.batch(keys)
        batch = {**batch, "epoch": torch.tensor([epoch for epoch, _ in keys])}
        if self._fakes is not None:
            chosen = np.stack([self._fakes[epoch % self._kept, index] for epoch, index in keys])
            pictures = torch.from_numpy(chosen).float()
            batch |= {"fake": pictures[:, :3] / 127.5 - 1, "fake_edge": pictures[:, 3:] / 255}
        return batch

    def keep(self, teacher: Teacher, cache: Path, tell: Progress) -> None:
        """Draws the pictures, unless ``cache`` has those of this teacher and these samples, and maps the file.

        A picture is kept in 8 bits a channel, as the student will see one.
        """
        if not self._kept:
            return
        key = {"teacher": _sha256(teacher), "data": self.fingerprint, "kept": self._kept}
        path = cache / f"fakes-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.npy"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with locked(path.with_name(f".{path.name}.lock")):
                if not path.is_file():
                    with whole_file(path) as temporary:
                        self._draw(teacher, temporary, tell)
        except OSError as error:
            raise MachineError(
                f"the teacher's pictures cannot be kept in {path}",
                error.strerror or str(error),
                "free space there, or keep none: --set train.fakes=0",
            ) from error
        try:
            self._fakes = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} was changed", str(error), f"delete {path}") from None

    def _draw(self, teacher: Teacher, path: Path, tell: Progress) -> None:
        device = next(teacher.parameters()).device
        total, done = self._kept * len(self), 0
        fakes: np.ndarray | None = None
        for epoch in range(self._kept):
            for start in range(0, len(self), DRAWN_AT_ONCE):
                keys = [(epoch, index) for index in range(start, min(start + DRAWN_AT_ONCE, len(self)))]
                batch = {name: value.to(device) for name, value in self._samples.batch(keys).items()}
                fake, edge = draw_fakes(teacher, batch)
                pictures = torch.cat([(fake + 1) * 127.5, edge * 255], 1).round().clamp(0, 255).byte().cpu().numpy()
                if fakes is None:
                    shape = (self._kept, len(self), *pictures.shape[1:])
                    fakes = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
                fakes[epoch, start : start + len(keys)] = pictures
                done += len(keys)
                tell("the teacher's pictures", done / total)
        assert fakes is not None
        fakes.flush()


def _sha256(teacher: Teacher) -> str:
    digest = hashlib.sha256()
    for value in teacher.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
