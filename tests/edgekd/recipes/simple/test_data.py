import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from edgekd.errors import InputError
from edgekd.recipes.simple.data import ArraySet, split, stacked


def some(count=40):
    x = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    return ArraySet({"x": x}, {"label": np.arange(count)})


def test_a_batch_has_the_rows_of_its_keys_and_a_sample_is_one_of_them():
    samples = some()
    batch = samples.batch([(0, 5), (7, 2)])
    assert batch["x"].tolist() == [[15, 16, 17], [6, 7, 8]]
    assert batch["label"].tolist() == [5, 2]
    assert samples.sample(5).raw["x"].tolist() == [15, 16, 17]
    assert samples.sample(5).truth["label"] == 5


def test_augmentation_is_a_function_of_seed_and_key_and_never_of_the_batch():
    def shaken(inputs, generator):
        return {"x": inputs["x"] + generator.normal(size=3)}

    samples = some().part(np.arange(40), shaken, seed=3)
    one = samples.batch([(1, 4)])["x"][0]
    assert torch.equal(one, samples.batch([(1, 0), (1, 4)])["x"][1])
    assert not torch.equal(one, samples.batch([(2, 4)])["x"][0])
    assert one.dtype == torch.float32
    assert samples.sample(4).raw["x"].tolist() == [12, 13, 14]


def test_the_splits_cover_all_rows_once_and_equal_inputs_stay_together():
    x = np.repeat(np.random.default_rng(0).normal(size=(50, 2)), 2, axis=0).astype(np.float32)
    parts = split(ArraySet({"x": x}, {"y": x[:, :1]}))
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    seen = [{x[i].tobytes() for i in part} for part in parts]
    assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])
    assert [len(part) for part in parts] == [70, 10, 20]


def test_the_fingerprint_changes_with_a_value():
    one, other = some(), some()
    other.inputs["x"][3, 1] += 1
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == some().fingerprint


def test_a_torch_data_set_is_stacked_in_its_order():
    x, y = stacked(TensorDataset(torch.arange(6).reshape(3, 2), torch.tensor([2, 0, 1])))
    assert x.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert y.tolist() == [2, 0, 1]


def test_arrays_that_do_not_belong_together_and_too_few_samples_are_refused():
    with pytest.raises(InputError, match="no data set"):
        ArraySet({"x": np.zeros((3, 1))}, {"y": np.zeros(4)})
    with pytest.raises(InputError, match="too few samples"):
        split(some(2))
