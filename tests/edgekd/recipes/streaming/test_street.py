from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edgekd.recipes.streaming.classes import CLASSES, PADDING
from edgekd.recipes.streaming.metrics import METRICS
from edgekd.recipes.streaming.street import drive
from edgekd.recipes.streaming.street_backdrop import Backdrop, View
from edgekd.recipes.streaming.street_solids import Camera, Light, Solid, extruded, paint
from edgekd.recipes.streaming.street_traffic import cast, layout, ride

SIZE = (160, 100)
LIGHT = Light(np.array([0.0, -1.0, 0.0]), 0.5, 0.5, (200.0, 200.0, 200.0), 300.0)
CAMERA = Camera(100.0, (80.0, 50.0), SIZE, 1.5)


@pytest.fixture(scope="module")
def drives():
    return {number: [*drive(3, number, 12, SIZE)] for number in range(4)}


def test_a_drive_is_a_function_of_seed_and_number(drives):
    again = [*drive(3, 1, 12, SIZE)]
    assert all((a == b).all() and (c == d).all() for (a, c), (b, d) in zip(drives[1], again, strict=True))
    assert (drives[0][0][0] != drives[1][0][0]).mean() > 0.5
    assert (next(drive(4, 1, 12, SIZE))[0] != again[0][0]).mean() > 0.5


def test_resolution_only_decides_how_finely_it_is_drawn(drives):
    coarse, fine = drives[0][3], [*drive(3, 0, 12, (320, 200))][3]
    shrunk = fine[0].reshape(100, 2, 160, 2, 3).mean((1, 3))
    assert np.abs(shrunk - coarse[0]).mean() < 12  # noise is the sensor's
    for kind, *corners in coarse[1]:
        same = fine[1][fine[1][:, 0] == kind, 1:] / 2
        assert np.abs(same - corners).max(axis=1).min() < 1.0


def test_boxes_lie_in_the_picture_and_are_of_the_eight_classes(drives):
    boxes = np.concatenate([own for frames in drives.values() for _, own in frames])
    assert set(boxes[:, 0]) <= set(range(len(CLASSES)))
    assert boxes[:, 1:].min() >= 0
    assert (boxes[:, 3:] <= SIZE).all()
    assert (boxes[:, 3:] - boxes[:, 1:3] >= 3).all()


def test_every_class_is_on_the_streets():
    seen = set()
    for number in range(24):
        street = layout(np.random.default_rng([0, number, 0]))
        own, lane = ride(np.random.default_rng([0, number, 1]), 60, street)
        seen |= {thing.kind for thing in cast(np.random.default_rng([0, number, 2]), street, own, lane)}
    assert seen == {PADDING, *range(len(CLASSES))}


def test_a_frame_of_delay_costs_and_standing_still_is_no_answer(drives):
    pairs = [(now, after) for frames in drives.values() for (_, now), (_, after) in pairwise(frames)]

    def score(which):
        said = [{"boxes": pair[which], "scores": np.ones(len(pair[which]))} for pair in pairs]
        return METRICS.figures(METRICS.evidence(said, [{"boxes": after} for _, after in pairs]))["sap"]

    assert score(1) == pytest.approx(100)
    assert 20 < score(0) < 90


def test_nobody_is_where_the_camera_is():
    for number in range(6):
        street = layout(np.random.default_rng([1, number, 0]))
        own, lane = ride(np.random.default_rng([1, number, 1]), 60, street)
        for thing in cast(np.random.default_rng([1, number, 2]), street, own, lane):
            inside = (np.abs(thing.d - own.d) < 0.9) & (np.abs(thing.s - own.s) < 0.8)
            assert thing.kind == PADDING or not inside.any()


# --- solids


def block(width=2.0, height=2.0, length=2.0):
    corners = [(-length / 2, 0.0), (-length / 2, height), (length / 2, height), (length / 2, 0.0)]
    return Solid(extruded(corners, width, [(200, 0, 0), (0, 200, 0), (0, 0, 200), (9, 9, 9)], (200, 200, 0)))


def test_a_solids_extent_is_its_projection():
    patch = paint(block(), (0.0, 11.0), 0.0, CAMERA, LIGHT)
    # the near face is 10 m ahead, 1 m to each side, from the ground 1.5 m below the camera to 0.5 m above it
    assert patch.extent == pytest.approx((70, 45, 90, 65))
    inside = patch.alpha[:, 1:-1]
    assert inside[1:-1].min() == 1.0
    assert patch.alpha.sum() == pytest.approx(20 * 20, rel=0.02)


def test_its_back_is_not_seen_and_turned_round_it_is():
    red = paint(block(), (0.0, 11.0), 0.0, CAMERA, LIGHT).color[10, 10]
    blue = paint(block(), (0.0, 11.0), np.pi, CAMERA, LIGHT).color[10, 10]
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_what_comes_nearer_than_the_lens_is_cut_off_and_what_is_behind_is_gone():
    beside = paint(block(length=30.0), (3.0, 10.0), 0.0, CAMERA, LIGHT)  # from 5 m behind the camera to 25 m ahead
    assert beside.extent[0] == pytest.approx(80 + 100 * 2 / 25)
    assert beside.left + beside.alpha.shape[1] == 160
    assert paint(block(), (0.0, -5.0), 0.0, CAMERA, LIGHT) is None
    assert paint(block(), (60.0, 10.0), 0.0, CAMERA, LIGHT) is None


# --- houses


def test_columns_end_at_the_wall_that_is_there():
    street = layout(np.random.default_rng(0))
    backdrop = Backdrop(np.random.default_rng(0), street, 50.0)
    view = View(s=1e6, d=0.0, curvature=0.0, yaw=0.0, pitch=0.0, heading=0.0)  # beyond every crossing
    left, right = street.walls
    z = backdrop.depths(CAMERA, view)
    rays = (np.arange(160) + 0.5 - 80.0) / 100.0
    assert z == pytest.approx(np.where(rays > 0, right / rays, left / rays))
    bent = backdrop.depths(CAMERA, View(1e6, 0.0, 0.02, 0.0, 0.0, 0.0))
    hit = rays * bent - 0.01 * bent**2  # d at the hit, which lies on one of the walls
    assert (np.isclose(hit, left) | np.isclose(hit, right)).all()
