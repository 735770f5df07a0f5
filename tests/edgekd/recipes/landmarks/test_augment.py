import numpy as np
import pytest
import torch

from edgekd.recipes.landmarks import augment
from edgekd.recipes.landmarks.config import AugmentConfig
from edgekd.recipes.landmarks.flips import FLIP_29

NONE = AugmentConfig(rotation=0, scale=0, shift=0, flip=0, color=0, blur=0, noise=0, occlusion=0)
KEYS = [(3, k) for k in range(64)]
BOXES = np.tile(np.float32([20, 30, 120, 110]), (64, 1))
POINTS = np.random.default_rng(1).uniform([30, 40], [110, 100], (64, 29, 2)).astype(np.float32)


def only(**changes):
    return NONE.model_copy(update=changes)


def test_a_samples_draws_depend_on_seed_epoch_and_index_alone():
    whole, alone = augment.draws(5, [(0, 1), (2, 7), (0, 9)]), augment.draws(5, [(2, 7)])
    assert all(whole[name][1] == alone[name][0] for name in whole)
    for other in (augment.draws(6, [(2, 7)]), augment.draws(5, [(3, 7)]), augment.draws(5, [(2, 8)])):
        assert other["rotation"] != alone["rotation"]


def test_draws_of_different_parameters_are_independent_and_uniform():
    draw = augment.draws(0, [(0, k) for k in range(2000)])
    table = np.stack(list(draw.values()))
    assert table.min() >= 0
    assert table.max() < 1
    np.testing.assert_allclose(table.mean(axis=1), 0.5, atol=0.04)
    correlation = np.corrcoef(table) - np.eye(len(table))
    assert np.abs(correlation).max() < 0.12


def test_without_changes_the_crop_is_the_box():
    matrix, centre, flipped = augment.geometry(augment.draws(0, KEYS), BOXES, POINTS, NONE)
    np.testing.assert_allclose(matrix, np.tile(np.diag([100.0, 80.0]), (64, 1, 1)))
    np.testing.assert_allclose(centre, np.tile([70.0, 70.0], (64, 1)))
    assert not flipped.any()


def test_ranges_are_symmetric_and_reached_but_not_exceeded():
    keys = [(0, k) for k in range(3000)]
    boxes = np.tile(np.float32([0, 0, 100, 100]), (3000, 1))
    config = only(rotation=0.5, scale=0.1, shift=0.06, flip=0.5)
    matrix, centre, flipped = augment.geometry(augment.draws(1, keys), boxes, np.tile(POINTS[:1], (3000, 1, 1)), config)
    angle = np.arctan2(-matrix[:, 0, 1], matrix[:, 1, 1])
    area = np.sqrt(np.abs(np.linalg.det(matrix))) / 100
    shift = (centre - 50) / 100
    for values, reach in ((angle, 0.5), (area - 1, 0.1), (shift[:, 0], 0.06), (shift[:, 1], 0.06)):
        assert 0.95 * reach < values.max() < 1.01 * reach + 0.003
        assert -1.01 * reach - 0.003 < values.min() < -0.95 * reach
        assert abs(values.mean()) < 0.08 * reach
    assert 0.46 < flipped.mean() < 0.54
    np.testing.assert_array_equal(np.linalg.det(matrix) < 0, flipped)


def crop_coordinates(config, keys=KEYS):
    matrix, centre, flipped = augment.geometry(augment.draws(2, keys), BOXES, POINTS, config)
    own = augment.crop_coordinates(POINTS, matrix, centre, flipped, FLIP_29).reshape(64, 29, 2)
    sides = np.sqrt((matrix**2).sum(axis=1))  # px along the crop's own axes
    return own, sides, flipped


def test_a_crop_fitted_to_the_points_leaves_the_boxs_room_around_them_however_they_are_turned():
    own, sides, flipped = crop_coordinates(only(rotation=0.5, flip=0.5, fit="points"))
    room = np.stack([(own.min(axis=1) + 0.5) * sides, (0.5 - own.max(axis=1)) * sides], axis=1)
    room[flipped, :, 0] = room[flipped, ::-1, 0]
    low, high = POINTS.min(axis=1) - BOXES[:, :2], BOXES[:, 2:] - POINTS.max(axis=1)
    np.testing.assert_allclose(room, np.stack([low, high], axis=1), atol=1e-3)
    assert np.ptp(sides[:, 0]) > 5  # a turned face is wider or narrower

    kept, sides, _ = crop_coordinates(only(rotation=0.5, fit="box"))
    np.testing.assert_allclose(sides, np.tile([100.0, 80.0], (64, 1)))
    assert not np.allclose(kept.min(axis=1), own.min(axis=1), atol=0.01)


def test_a_face_that_is_not_turned_has_the_same_crop_either_way():
    one, other = (crop_coordinates(only(fit=fit, flip=0.5, scale=0.1, shift=0.05))[0] for fit in ("box", "points"))
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("fit", ["box", "points"])
def test_labels_follow_the_pixels_through_rotation_scale_shift_and_flip(fit):
    """A spot is painted at a point; where the changed crop shows it, the changed label must be."""
    rng = np.random.default_rng(0)
    points = rng.uniform([50, 45], [90, 95], (64, 29, 2)).astype(np.float32)
    images = np.zeros((64, 150, 150, 3), np.uint8)
    for k in range(64):
        ys, xs = np.mgrid[:150, :150] + 0.5
        far = (xs - points[k, 0, 0]) ** 2 + (ys - points[k, 0, 1]) ** 2
        images[k] = (255 * np.exp(-far / 18)).astype(np.uint8)[..., None]
    config = only(rotation=0.5, scale=0.15, shift=0.06, flip=0.5, fit=fit)
    matrix, centre, flipped = augment.geometry(augment.draws(2, KEYS), BOXES, points, config)
    x = augment.sample_crops(torch.from_numpy(images), matrix, centre, 96)[:, 0].numpy()
    ticks = (np.arange(96) + 0.5) / 96 - 0.5
    mass = x.sum(axis=(1, 2))
    seen = np.stack([(x.sum(axis=1) * ticks).sum(axis=1), (x.sum(axis=2) * ticks).sum(axis=1)], axis=1) / mass[:, None]
    labels = augment.crop_coordinates(points, matrix, centre, flipped, FLIP_29).reshape(64, 29, 2)
    own = np.where(flipped[:, None], labels[:, FLIP_29[0]], labels[:, 0])  # point 0 is another one's mirror image
    assert flipped.any()
    assert not flipped.all()
    np.testing.assert_allclose(own, seen, atol=0.006)


@pytest.mark.parametrize("what", ["color", "blur", "noise", "occlusion"])
def test_each_change_changes_about_its_share_of_the_samples_and_stays_in_range(what):
    x = torch.rand(64, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    before = x.clone()
    draw = augment.draws(0, KEYS)
    augment.change_pixels(x, draw, only(**{what: 0.5}), augment.noise_pool(0))
    touched = (x != before).flatten(1).any(dim=1)
    assert 20 <= touched.sum() <= 44
    np.testing.assert_array_equal(touched.numpy(), draw[what] < 0.5)
    assert x.min() >= 0
    assert x.max() <= 1
    assert torch.isfinite(x).all()


def test_blur_leaves_an_even_picture_even_and_takes_contrast_from_others():
    draw = augment.draws(0, KEYS)
    even = torch.full((64, 3, 48, 48), 0.4)
    augment.change_pixels(even, draw, only(blur=1), augment.noise_pool(0))
    np.testing.assert_allclose(even, 0.4, atol=1e-5)
    x = torch.rand(64, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    augment.change_pixels(x, draw, only(blur=1), augment.noise_pool(0))
    assert x.flatten(1).std(dim=1).max() < 0.25  # uniform noise has 0.29


def test_a_blur_does_not_move_the_picture():
    x = torch.zeros(64, 3, 64, 64)
    x[:, :, 30:34, 30:34] = 1
    augment.change_pixels(x, augment.draws(0, KEYS), only(blur=1), augment.noise_pool(0))
    ticks = torch.arange(64) + 0.5
    middle = (x[:, 0].sum(1) * ticks).sum(1) / x[:, 0].sum((1, 2))
    np.testing.assert_allclose(middle, 32, atol=0.6)


def test_noise_is_grain_or_salt_and_pepper():
    x = torch.full((64, 3, 48, 48), 0.5)
    draw = augment.draws(0, KEYS)
    augment.change_pixels(x, draw, only(noise=1), augment.noise_pool(0))
    for k in range(64):
        extreme = float(((x[k] == 0) | (x[k] == 1)).float().mean())
        if draw["noise_kind"][k] < 0.6:
            assert 0.005 < x[k].std() < 0.1
        else:
            assert 0.001 < extreme < 0.13


def test_a_grey_picture_stays_grey_under_colour_changes_where_it_was_made_grey():
    x = torch.rand(64, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    draw = augment.draws(0, KEYS)
    augment.change_pixels(x, draw, only(color=1), augment.noise_pool(0))
    grey = (x.amax(dim=1) - x.amin(dim=1)).flatten(1).amax(dim=1) < 1e-5
    np.testing.assert_array_equal(grey.numpy(), draw["grey"] < 0.25)
