from __future__ import annotations

import numpy as np
import pytest

from edgekd.conversion.calibration import RunCalibration
from edgekd.errors import InputError
from edgekd.recipes.landmarks.pipeline import Pipeline
from edgekd.run import open_run
from edgekd.storage import read_arrays, write_arrays


@pytest.fixture
def run(tiny_run):
    return open_run(tiny_run)


def test_feeds_are_the_training_pictures_as_the_device_sees_them(run):
    pipeline = Pipeline(run.record.io)
    calibration = RunCalibration(run, pipeline)
    raw = run.calibration()
    assert len(calibration) == len(raw["image"]) > 0
    feeds = list(calibration)
    assert len(feeds) == len(calibration)
    for index in (0, len(feeds) - 1):
        expected = pipeline.preprocess({name: value[index] for name, value in raw.items()})
        assert feeds[index].keys() == expected.keys()
        np.testing.assert_array_equal(feeds[index]["image"], expected["image"])


def test_it_is_streamed_and_may_be_read_again(run):
    made = []

    class Counting(Pipeline):
        def preprocess(self, raw):
            made.append(1)
            return super().preprocess(raw)

    calibration = RunCalibration(run, Counting(run.record.io))
    assert not made
    first = iter(calibration)
    next(first)
    next(first)
    assert len(made) == 2
    assert len(list(calibration)) == len(calibration)


def test_the_hash_is_of_the_content(run, tiny_run, copy_of):
    pipeline = Pipeline(run.record.io)
    one = RunCalibration(run, pipeline).sha256
    assert one == RunCalibration(run, pipeline).sha256
    assert len(one) == 64
    copied = copy_of(tiny_run)
    arrays = read_arrays(copied / "calibration.npz")
    arrays["raw/image"][3, 0, 0, 0] ^= 1
    write_arrays(copied / "calibration.npz", arrays)
    assert RunCalibration(type(run)(copied, run.record), pipeline).sha256 != one


def test_a_held_out_picture_among_the_training_ones_is_refused_however_it_is_framed(run, tiny_run, copy_of):
    copied = copy_of(tiny_run)
    arrays, heldout = read_arrays(copied / "calibration.npz"), run.heldout()
    for index in (5, 9):
        arrays["raw/image"][index] = heldout.raw["image"][2]
    if "raw/box" in arrays:
        arrays["raw/box"][5] += 1
    write_arrays(copied / "calibration.npz", arrays)
    with pytest.raises(InputError, match=r"calibration\.npz: 2 of \d+ samples are held-out samples"):
        RunCalibration(type(run)(copied, run.record), Pipeline(run.record.io))
