from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.errors import InputError
from edgekd.recipes.streaming.config import Config
from edgekd.recipes.streaming.data import StreamSet, datasets
from edgekd.recipes.streaming.pipeline import GREY

SIZE = (48, 30)


def training(clips, **options):
    return StreamSet(clips, SIZE, judged=False, **options)


def test_frames_are_newest_first_and_the_oldest_is_repeated_at_the_start(clips):
    batch = training(clips).batch([(0, 0), (0, 2), (0, 4)])
    assert batch["frames"].shape == (3, 4, 3, 30, 48)
    assert batch["frames"].dtype == torch.float32
    assert batch["frames"][:, :, 0, 0, 0].tolist() == [[0, 0, 0, 0], [20, 10, 0, 0], [40, 30, 20, 10]]
    assert batch["next_frame"][:, 0, 0, 0].tolist() == [10, 30, 50]


def test_boxes_are_of_the_next_frame_and_support_of_this_one(clips):
    batch = training(clips).batch([(0, 2)])
    assert batch["boxes"][0, 0].tolist() == [2, 14, 12.5, 10, 15]
    assert batch["support"][0, 0].tolist() == [2, 11, 12.5, 10, 15]


def test_the_last_frame_of_a_sequence_is_its_own_next_one_in_training_and_never_meets_the_next_sequence(clips):
    samples = training(clips)
    batch = samples.batch([(0, 5), (0, 6)])
    assert batch["next_frame"][0, 0, 0, 0] == batch["frames"][0, 0, 0, 0, 0] == 50
    assert torch.equal(batch["boxes"][0], batch["support"][0])
    assert batch["frames"][1, :, 0, 0, 0].tolist() == [100] * 4
    assert len(samples) == 10


def test_a_judged_set_leaves_out_frames_without_a_next_one(clips):
    samples = StreamSet(clips, SIZE)
    assert len(samples) == 8
    found = [samples.sample(k) for k in range(len(samples))]
    assert [(int(s.raw["sequence"]), int(s.raw["frame"])) for s in found] == [
        *((0, k) for k in range(5)),
        *((1, k) for k in range(3)),
    ]
    assert found[4].truth["boxes"][0].tolist() == [2, 15, 5, 25, 20]
    assert found[4].truth["current"][0].tolist() == [2, 12, 5, 22, 20]
    assert {key: value.shape for key, value in found[0].truth.items()} == {
        "boxes": (1, 5), "current": (1, 5), "sequence": (), "frame": (), "fps": (),
    }  # fmt: skip


def test_a_gap_in_the_frame_numbers_ends_a_run(clips, clip):
    gapped = [clip(0, ids=[0, 1, 2, 7, 8, 9])]
    batch = training(gapped).batch([(0, 2), (0, 3)])
    assert batch["next_frame"][0, 0, 0, 0] == 20
    assert batch["frames"][1, :, 0, 0, 0].tolist() == [30] * 4
    assert [int(StreamSet(gapped, SIZE).sample(k).raw["frame"]) for k in range(4)] == [0, 1, 7, 8]


def test_all_frames_of_a_sample_share_one_flip_that_seed_epoch_and_index_decide(clip):
    moving = clip(0)
    for k in range(6):
        moving.frames.array[k, :, : 3 * k + 10] = 200  # the picture follows the box
    samples = training([moving], flip=0.5, seed=1)
    keys = [(epoch, 3) for epoch in range(30)]
    batch = samples.batch(keys)
    left = batch["frames"][:, :, 0, 10, 0] > 190
    assert (left == left[:, :1]).all()
    assert 5 < int(left[:, 0].sum()) < 25
    for row in range(30):
        edge = batch["boxes"][row, 0, 1] - 5
        assert edge.item() == pytest.approx(12 if left[row, 0] else 48 - 22)
    assert torch.equal(samples.batch(keys[7:8])["frames"][0], batch["frames"][7])


def test_pictures_fit_in_with_their_proportions_and_grey_beside_them(clips):
    batch = StreamSet(clips, (64, 64), judged=False).batch([(0, 1)])
    ratio = 64 / 48
    assert batch["frames"][0, 0, 0, 39, 0] == 10
    assert batch["frames"][0, 0, 0, 40:].unique().tolist() == [GREY]
    assert batch["support"][0, 0].tolist() == pytest.approx([2, 8 * ratio, 12.5 * ratio, 10 * ratio, 15 * ratio])


def test_padded_rows_hold_no_box(clips):
    clips[0].boxes[0] = np.zeros((0, 5), np.float32)
    clips[0].boxes[1] = np.repeat(clips[0].boxes[1], 3, axis=0)
    batch = training(clips).batch([(0, 0), (0, 1)])
    assert batch["support"][:, :, 0].tolist() == [[-1, -1, -1], [2, 2, 2]]


def test_samples_of_clips_of_several_sizes_have_one_shape_and_no_box_moves(clip):
    samples = StreamSet([clip(0), clip(1, size=(40, 36))], SIZE)
    one, other = samples.sample(0), samples.sample(5)
    assert one.raw["image"].shape == other.raw["image"].shape == (36, 48, 3)
    assert (other.raw["image"][:, 40:] == GREY).all()
    assert other.truth["current"][0].tolist() == [2, 0, 5, 10, 20]


def test_the_fingerprint_follows_pictures_boxes_and_order(clips, clip):
    first = StreamSet(clips, SIZE).fingerprint
    assert StreamSet([clip(0), clip(1, frames=4)], SIZE).fingerprint == first
    clips[0].frames.array[2, 3, 4, 0] += 1
    changed = StreamSet(clips, SIZE).fingerprint
    clips[0].boxes[0][0, 1] += 1
    assert len({first, changed, StreamSet(clips, SIZE).fingerprint, StreamSet(clips[::-1], SIZE).fingerprint}) == 4


def test_drawn_sets_share_no_street(tmp_path):
    config = Config(
        data={"train": 1, "val": 1, "test": 1, "frames": 3}, student={"input_width": 64, "input_height": 40}
    )
    found = datasets(config, tmp_path, lambda *_: None)
    assert [len(own) for own in (found.train, found.val, found.test)] == [3, 2, 2]
    pictures = [own.sample(0).raw["image"] for own in (found.train, found.val, found.test)]
    assert all((a != b).mean() > 0.5 for a, b in ((pictures[0], pictures[1]), (pictures[1], pictures[2])))
    assert found.provenance["split"] == {"test": 2, "val": 2, "train": 3}


@pytest.mark.parametrize("source", [(), ("street", "street"), ("movie:x",), ("coco:",)])
def test_an_unknown_source_names_those_there_are(tmp_path, source):
    with pytest.raises(InputError, match="unknown data source"):
        datasets(Config(data={"source": source}), tmp_path, lambda *_: None)
