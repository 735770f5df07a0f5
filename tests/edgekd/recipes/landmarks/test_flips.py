from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

from edgekd.recipes.landmarks.faces import draw_face, mean_face
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


def mirrored(points):
    return points * (-1, 1)


@lru_cache(maxsize=1)
def drawn():
    return draw_face(5, 0, 100)[1]


def mirror_error(points_of, flip):
    """How far a drawn face that is mirrored and then annotated is from its annotation, mirrored and relabelled.

    The annotations are made from iBUG's 68 points, whose own flip is checked by geometry below.
    """
    face = drawn()
    want = points_of(mirrored(face)[flip_permutation(68)])
    return np.abs(mirrored(points_of(face))[flip] - want).max()


@pytest.mark.parametrize("kind", ["cofw", "wflw"])
def test_left_and_right_of_a_mirrored_face_correspond(kind, points_of):
    own = points_of[kind]
    flip = flip_permutation(len(own(np.zeros((68, 2)))))
    assert mirror_error(own, flip) < 1e-3  # of a face of 100 px
    for k in np.flatnonzero(flip > np.arange(len(flip))):  # any pair that a table lacks is found
        lacking = flip.copy()
        lacking[[k, flip[k]]] = k, flip[k]
        assert mirror_error(own, lacking) > 1


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [("wflw", {24: 24}), ("wflw", {9: 9, 23: 23}), ("wflw", {63: 63, 69: 69}), ("cofw", {4: 4, 6: 6})],
)
def test_the_defects_of_the_authors_tables_would_be_found(kind, wrong, points_of):
    """WFLW's assigns 8 twice and leaves 9 and inner corners of the eyes out, COFW's omits pairs (A12)."""
    flip = flip_permutation({"wflw": 98, "cofw": 29}[kind]).copy()
    flip[list(wrong)] = list(wrong.values())
    assert mirror_error(points_of[kind], flip) > 1


def test_the_68_points_of_a_straight_face_are_their_own_mirror_image():
    face = mean_face()
    face = face - face[27] * (1, 0)
    np.testing.assert_allclose(mirrored(face)[flip_permutation(68)], face, atol=0.01 * np.ptp(face[:, 0]))


def test_the_points_on_the_middle_line_stay():
    assert set(np.flatnonzero(np.arange(98) == FLIP_98)) == {16, 51, 52, 53, 54, 57, 79, 85, 90, 94}
    assert set(np.flatnonzero(np.arange(29) == FLIP_29)) == {20, 21, 24, 25, 26, 27, 28}


def test_pairs_that_the_authors_table_has_wrong_or_lacks():
    assert [FLIP_98[k] for k in (8, 9, 63, 65, 67)] == [24, 23, 69, 75, 73]
    assert [FLIP_29[k] for k in (4, 5, 12, 13)] == [6, 7, 14, 15]


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="21 points"):
        flip_permutation(21)
