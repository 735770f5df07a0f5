from __future__ import annotations

import pytest
import torch

from edgekd.recipes.streaming.scales import Rescaled


class Frames:
    """Two frames of 96 by 160, white where their box is."""

    fingerprint = "frames"

    def __len__(self) -> int:
        return 2

    def batch(self, keys):
        frames = torch.zeros(len(keys), 4, 3, 96, 160)
        frames[..., 32:64, 40:120] = 255
        boxes = torch.tensor([[[2, 80.0, 48.0, 80.0, 32.0], [-1, 0, 0, 0, 0]]]).repeat(len(keys), 1, 1)
        return {"frames": frames, "next_frame": frames[:, 0], "boxes": boxes, "support": boxes.clone()}

    def sample(self, index):
        raise NotImplementedError


def sizes(spread: float, epoch: int = 0, epochs: int = 2, seed: int = 0) -> list[tuple[int, int]]:
    scaled = Rescaled(Frames(), spread, epochs, seed)
    return [tuple(scaled.batch([(epoch, index)])["frames"].shape[-2:]) for index in range(40)]


def test_widths_are_the_authors_steps_and_heights_follow():
    assert {width for _, width in sizes(0.2)} == {128, 144, 160, 176, 192}
    assert all(height == 16 * int(width / 16 * 0.6) for height, width in sizes(0.2))


def test_sizes_depend_on_the_keys_and_the_seed_alone():
    assert sizes(0.2) == sizes(0.2)
    assert sizes(0.2, epoch=1, epochs=3) != sizes(0.2, epochs=3)
    assert sizes(0.2, seed=1) != sizes(0.2)


def test_the_last_epoch_has_the_sets_own_size():
    assert set(sizes(0.2, epoch=1, epochs=2)) == {(96, 160)}


@pytest.mark.parametrize("index", range(6))
def test_boxes_stay_on_what_they_are_around(index):
    batch = Rescaled(Frames(), 0.3, 2, 0).batch([(0, index), (0, index)])
    assert batch["frames"].shape[:3] == (2, 4, 3)
    frame, (kind, x, y, width, height) = batch["next_frame"][1, 0], batch["boxes"][1, 0].tolist()
    white = (frame > 127).nonzero().float()
    assert kind == 2
    assert white.mean(0).tolist() == pytest.approx([y - 0.5, x - 0.5], abs=0.6)
    assert (white.amax(0) - white.amin(0) + 1).tolist() == pytest.approx([height, width], abs=1.5)
    assert batch["support"][0, 1].tolist() == [-1, 0, 0, 0, 0]
