from __future__ import annotations

import numpy as np
import pytest

from edgekd.errors import InputError
from edgekd.measuring.inputs import rotation

RNG = np.random.default_rng(0)
FACES = [{"image": RNG.integers(0, 255, (6, 5, 3), dtype=np.uint8)} for _ in range(5)]


def _bytes(samples):
    return [b"".join(v.tobytes() for v in sample.values()) for sample in samples]


def test_few_samples_become_64_different_ones_and_the_originals_are_among_them():
    found = rotation(FACES, seed=1)
    assert (len(found.samples), found.originals, found.jittered, found.seed) == (64, 5, 59, 1)
    assert len(set(_bytes(found.samples))) == 64
    assert set(_bytes(FACES)) <= set(_bytes(found.samples))


def test_many_samples_are_used_as_they_are():
    many = [{"x": np.full(3, i + 1.0)} for i in range(70)]
    found = rotation(many, seed=1)
    assert (len(found.samples), found.jittered) == (70, 0)
    assert sorted(_bytes(found.samples)) == sorted(_bytes(many))


def test_variants_stay_close_to_their_original_and_in_its_range():
    floats = [{"x": np.linspace(-1, 1, 50, dtype=np.float32)}]
    for sample in rotation(floats, seed=2).samples:
        assert sample["x"].dtype == np.float32
        assert np.abs(sample["x"] - floats[0]["x"]).max() < 0.01
        assert -1 <= sample["x"].min() <= sample["x"].max() <= 1
    pixels = [{"image": np.array([0, 1, 254, 255], dtype=np.uint8)}]
    for sample in rotation(pixels, seed=2).samples:
        assert np.abs(sample["image"].astype(int) - pixels[0]["image"]).max() <= 2


def test_indices_and_truth_values_are_never_jittered():
    raw = {"x": np.ones(2, np.float32) * [1, 2], "token": np.arange(4), "mask": np.array([True, False])}
    for sample in rotation([raw], seed=3).samples:
        np.testing.assert_array_equal(sample["token"], raw["token"])
        np.testing.assert_array_equal(sample["mask"], raw["mask"])


def test_order_is_a_function_of_the_seed():
    assert _bytes(rotation(FACES, 4).samples) == _bytes(rotation(FACES, 4).samples)
    assert _bytes(rotation(FACES, 4).samples) != _bytes(rotation(FACES, 5).samples)


def test_frames_of_a_sequence_keep_their_order():
    found = rotation(FACES, seed=6, least=3, in_sequence=True)
    assert _bytes(found.samples) == _bytes(FACES)


def test_zeros_are_refused_and_so_is_nothing():
    with pytest.raises(InputError, match="sample 1 is all zeros"):
        rotation([FACES[0], {"image": np.zeros((2, 2), np.uint8)}], seed=0)
    with pytest.raises(InputError, match="no sample"):
        rotation([], seed=0)
