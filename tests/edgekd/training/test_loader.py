import numpy as np
import pytest
import torch

from edgekd.errors import InputError
from edgekd.recipes.landmarks.config import AugmentConfig
from edgekd.recipes.landmarks.data import FaceSet
from edgekd.training.loader import EpochSampler, training_loader
from edgekd.training.ranks import Ranks


class Keys:
    """A set whose batches are its keys."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def batch(self, keys):
        return {"key": torch.tensor(keys)}


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def keys_of(loader, epoch):
    return torch.cat([batch["key"] for batch in epoch_of(loader, epoch)]).tolist()


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (6, 40, 40, 3), dtype=np.uint8)
    points = rng.uniform(5, 35, (6, 68, 2)).astype(np.float32)
    boxes = np.tile(np.array([4, 4, 36, 36], np.float32), (6, 1))
    return FaceSet(images, points, boxes, augment=AugmentConfig(), seed=3, input_size=32)


def test_every_epoch_is_a_permutation_of_the_whole_set():
    for epoch in range(3):
        keys = list(keys_of(training_loader(Keys(20), 5, 0, 0), epoch))
        assert {e for e, _ in keys} == {epoch}
        assert sorted(index for _, index in keys) == list(range(20))


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_that_went_before():
    straight = training_loader(Keys(20), 5, 0, 0)
    orders = [keys_of(straight, epoch) for epoch in range(4)]
    assert keys_of(training_loader(Keys(20), 5, 0, 0), 3) == orders[3]
    indices = [[index for _, index in order] for order in orders]
    assert len({tuple(order) for order in indices}) == 4
    assert keys_of(training_loader(Keys(20), 5, 1, 0), 3) != orders[3]


def test_the_order_does_not_depend_on_how_it_is_cut_into_batches():
    assert keys_of(training_loader(Keys(20), 5, 0, 0), 1) == keys_of(training_loader(Keys(20), 4, 0, 0), 1)


def test_a_smaller_last_batch_is_dropped_but_never_the_only_one():
    assert [len(b["key"]) for b in epoch_of(training_loader(Keys(11), 4, 0, 0), 0)] == [4, 4]
    assert [len(b["key"]) for b in epoch_of(training_loader(Keys(3), 4, 0, 0), 0)] == [3]


def test_a_loading_process_gives_the_batches_of_the_main_one(faces):
    alone, helped = (epoch_of(training_loader(faces, 2, 7, workers), 1) for workers in (0, 1))
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["landmarks"], other["landmarks"])


def test_augmentation_is_a_function_of_the_key_whatever_the_batch(faces):
    together = faces.batch([(2, index) for index in range(6)])
    for index in range(6):
        for keys in ([(2, index)], [(0, 1), (2, index)], [(2, index), (2, index), (5, 0)]):
            row = keys.index((2, index))
            own = faces.batch(keys)
            assert torch.equal(own["image"][row], together["image"][index])
            assert torch.equal(own["landmarks"][row], together["landmarks"][index])
    another = faces.batch([(3, 0)])
    assert not torch.equal(another["image"][0], together["image"][0])


def test_loading_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    epoch_of(training_loader(Keys(9), 4, 0, 0), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("size", "batch", "count"), [(13, 4, 1), (13, 4, 2), (24, 6, 3)])
def test_the_ranks_batches_together_are_the_one_process_batches(size, batch, count):
    alone = [b["key"].tolist() for b in epoch_of(training_loader(Keys(size), batch, 5, 0), 2)]
    loaders = [training_loader(Keys(size), batch, 5, 0, Ranks(rank, count)) for rank in range(count)]
    shares = [[b["key"].tolist() for b in epoch_of(loader, 2)] for loader in loaders]
    together = [[key for piece in pieces for key in piece] for pieces in zip(*shares, strict=True)]
    assert together == alone
    assert {len(piece) for share in shares for piece in share} == {batch // count}
    assert [len(loader) for loader in loaders] == [len(alone)] * count


@pytest.mark.parametrize(("size", "batch", "said"), [(20, 5, "batch_size=4"), (3, 8, "only 3 training samples")])
def test_a_batch_that_the_ranks_cannot_share_equally_is_refused(size, batch, said):
    with pytest.raises(InputError, match=rf"cannot be shared by 2 processes(.|\n)*{said}"):
        training_loader(Keys(size), batch, 0, 0, Ranks(0, 2))


def test_the_sampler_has_the_length_of_its_whole_batches():
    assert len(EpochSampler(13, 4, 0)) == len(list(EpochSampler(13, 4, 0))) == 12
