from __future__ import annotations

import numpy as np
import pytest

from edgekd.bundle.distance import distance


def test_the_three_figures_by_hand():
    found = distance(np.array([1.0, 2.0, 4.5]), np.array([1.0, 2.0, 4.0]))
    assert found.relative_max == pytest.approx(0.5 / 4)
    assert found.sqnr_db == pytest.approx(10 * np.log10(21 / 0.25))
    assert found.cosine == pytest.approx(23 / np.sqrt(25.25 * 21))


def test_small_values_are_compared_absolutely():
    assert distance(np.array([0.01]), np.array([0.02])).relative_max == pytest.approx(0.01)


def test_equal_is_zero_with_no_sqnr():
    value = np.arange(6.0).reshape(2, 3)
    found = distance(value, value)
    assert (found.relative_max, found.sqnr_db) == (0, None)
    assert found.cosine == pytest.approx(1)
    zeros = distance(np.zeros(3), np.zeros(3))
    assert (zeros.relative_max, zeros.sqnr_db, zeros.cosine) == (0, None, 1)


def test_an_error_where_there_should_be_nothing_is_not_called_equal():
    found = distance(np.array([0.5, 0.0]), np.zeros(2))
    assert found.relative_max == 0.5
    assert found.sqnr_db == -np.inf
    assert found.cosine == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_nan_or_infinity_on_either_side_is_infinitely_far(bad):
    good, broken = np.array([1.0, 2.0]), np.array([1.0, bad])
    for pair in ((broken, good), (good, broken), (broken, broken)):
        found = distance(*pair)
        assert found.relative_max == np.inf
        assert max(found.relative_max, 0.0) == np.inf  # and no max over outputs hides it


def test_another_shape_is_infinitely_far_even_of_the_same_size():
    assert distance(np.zeros(4), np.zeros(5)).relative_max == np.inf
    assert distance(np.zeros((2, 3)), np.zeros((3, 2))).relative_max == np.inf


def test_integers_and_booleans_do_not_wrap_around():
    assert distance(np.array([0], np.uint8), np.array([255], np.uint8)).relative_max == 1
    assert distance(np.array([True]), np.array([False])).relative_max == 1


def test_float32_of_great_size_does_not_overflow():
    assert np.isfinite(distance(np.full(3, 3e38, np.float32), np.full(3, 2e38, np.float32)).sqnr_db)


def test_what_is_counted_also_gets_the_share_that_is_equal():
    assert distance(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])).equal == 0.75
    assert distance(np.array([True, False]), np.array([True, False])).equal == 1.0
    assert distance(np.array([1.0]), np.array([1.0])).equal is None
    assert distance(np.array([1]), np.array([1, 2])).equal is None  # another shape has nothing in common
