from itertools import pairwise

import numpy as np
import pytest

from edgekd.recipes.landmarks.flips import FLIP_29, FLIP_98, flip_permutation
from edgekd.recipes.landmarks.metrics import CORNERS, EYE_PAIRS
from edgekd.recipes.landmarks.overlay import CONTOURS


@pytest.mark.parametrize("points", [29, 68, 98])
def test_mirroring_twice_changes_nothing(points):
    flip = flip_permutation(points)
    assert flip.shape == (points,)
    np.testing.assert_array_equal(flip[flip], np.arange(points))


@pytest.mark.parametrize("points", [29, 68, 98])
def test_the_outer_eye_corners_change_places(points):
    left, right = EYE_PAIRS[points][CORNERS]
    assert flip_permutation(points)[left] == right


@pytest.mark.parametrize("points", [29, 68, 98])
def test_a_mirrored_face_has_the_same_lines(points):
    def edges(numbers, closed):
        ring = [*numbers, numbers[0]] if closed else numbers
        return {frozenset(pair) for pair in pairwise(ring)}

    flip = flip_permutation(points)
    lines = set().union(*(edges(*contour) for contour in CONTOURS[points]))
    assert {frozenset(int(flip[k]) for k in edge) for edge in lines} == lines


def test_the_points_on_the_middle_line_stay():
    assert set(np.flatnonzero(np.arange(98) == FLIP_98)) == {16, 51, 52, 53, 54, 57, 79, 85, 90, 94}
    assert set(np.flatnonzero(np.arange(29) == FLIP_29)) == {20, 21, 24, 25, 26, 27, 28}


def test_pairs_that_the_authors_table_has_wrong_or_lacks():
    assert [FLIP_98[k] for k in (8, 9, 63, 65, 67)] == [24, 23, 69, 75, 73]
    assert [FLIP_29[k] for k in (4, 5, 12, 13)] == [6, 7, 14, 15]


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="21 points"):
        flip_permutation(21)
