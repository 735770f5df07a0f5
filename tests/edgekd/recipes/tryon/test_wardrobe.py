import numpy as np
import pytest
import torch

from edgekd.errors import InputError
from edgekd.recipes.tryon import wardrobe, wardrobe_scene
from edgekd.recipes.tryon.metrics import ssim, warp_error
from edgekd.recipes.tryon.wardrobe import draw_garment, draw_person
from edgekd.recipes.tryon.wardrobe_fabric import paint

SIZE = (128, 96)
MANY = range(24)


@pytest.fixture(scope="module")
def dressed():
    return [draw_person(7, k, 1000 + k, SIZE) for k in MANY]


@pytest.fixture(scope="module")
def garments():
    return [draw_garment(7, 1000 + k, SIZE) for k in MANY]


def sampled(picture, grid):
    """(H, W, C) looked up as the student does."""
    x = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].float()
    grid = torch.from_numpy(grid)[None]
    found = torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=True)
    return found[0].permute(1, 2, 0).numpy()


def moved(grid, x_px, y_px):
    return grid + np.float32([2 * x_px / (SIZE[1] - 1), 2 * y_px / (SIZE[0] - 1)])


def test_a_drawing_is_a_function_of_its_arguments(dressed):
    again = draw_person(7, 3, 1003, SIZE)
    for field in ("image", "label", "part", "points", "grid", "seen"):
        np.testing.assert_array_equal(getattr(again, field), getattr(dressed[3], field))
    assert (draw_person(8, 3, 1003, SIZE).image != dressed[3].image).any()


def test_people_stand_before_white_and_are_told_apart_from_it():
    for k in MANY:
        person = draw_person(7, k, 1000 + k, SIZE)
        white = (person.image == 255).all(-1)
        assert not white[person.seen > 0].all()
        assert white[:, 0].mean() > 0.5, "the left edge of the picture"
        assert (person.label[white] > 0).mean() < 0.05


def test_the_truth_is_where_the_fabric_comes_from(monkeypatch):
    """Without light, a person's garment is the flat fabric looked up at the true grid, and nowhere else."""
    monkeypatch.setattr(wardrobe_scene.Light, "on", lambda self, nx, ny, nz, slope=None: np.ones_like(nx))
    monkeypatch.setattr(wardrobe_scene.Canvas, "darken", lambda *_: None)
    monkeypatch.setattr(wardrobe, "_camera", lambda rng, rgb, bare: rgb)
    monkeypatch.setattr(wardrobe._Drawing, "_bust", lambda self, window: 0.0)
    plain = wardrobe_scene.Light(np.float32([0, 0, 1]), 1.0, np.ones(3, np.float32))
    monkeypatch.setattr(wardrobe_scene, "sample_light", lambda rng: plain)
    true, off = [], []
    for k in MANY:
        person, garment = draw_person(7, k, 1000 + k, SIZE), wardrobe._garment(7, 1000 + k)
        u, v = garment.cut.plane(SIZE)
        flat = paint(garment, u.ravel(), v.ravel(), 1 / (SIZE[0] * garment.cut.scale)).reshape(*SIZE, 3)
        seen = person.seen > 0
        for grid, errors in ((person.grid, true), (moved(person.grid, 3, 3), off)):
            errors.append(np.abs(sampled(flat, grid)[seen] - person.image[seen]).mean())
    assert np.median(true) < 0.03  # what is left is bilinear look-up of a coarse texture
    assert np.median(off) > 2 * np.median(true)


def test_what_is_seen_is_on_the_garment_and_in_its_picture(dressed, garments):
    for person, (_, mask) in zip(dressed, garments, strict=True):
        seen = person.seen > 0
        assert seen.sum() > 0.04 * seen.size
        assert (person.label[seen] == wardrobe_scene.CLOTHES).all()
        assert np.abs(person.grid[seen]).max() <= 1
        inside = sampled(mask[..., None].astype(np.float32) / 255, person.grid)[seen]
        assert (inside > 0.5).mean() > 0.98


def test_most_of_a_worn_garment_is_seen_in_its_flat_picture(dressed):
    shares = [(d.seen > 0).sum() / (d.label == wardrobe_scene.CLOTHES).sum() for d in dressed]
    assert 0.75 < np.mean(shares) < 0.98  # the rest is the back, an edge, or below a seam


def test_warping_is_needed(dressed):
    """Even the affine map that fits the truth best is far off: mean error in px of a 256 x 192 picture."""
    left = []
    for person in dressed:
        rows, columns = np.nonzero(person.seen)
        places = np.stack([columns, rows, np.ones_like(rows)], 1).astype(np.float64)
        fit = np.linalg.lstsq(places, person.grid[rows, columns].astype(np.float64), rcond=None)[0]
        guess = person.grid.copy()
        guess[rows, columns] = places @ fit
        left.append(warp_error(guess, person.grid, person.seen))
    assert np.mean(left) > 5
    assert np.percentile(left, 10) > 1.5


def test_a_garment_pasted_on_its_box_is_not_a_try_on(dressed, garments):
    """The garment stretched over the box of what is worn, against the truth where the garment is worn."""
    scores = []
    for person, (garment, mask) in zip(dressed, garments, strict=True):
        worn = person.label == wardrobe_scene.CLOTHES
        (top, left), (low, right) = (f(np.argwhere(worn), 0) for f in (np.min, np.max))
        (y0, x0), (y1, x1) = (f(np.argwhere(mask), 0) for f in (np.min, np.max))
        rows = np.interp(np.arange(SIZE[0]), [top, low], [y0, y1]).round().astype(int)
        columns = np.interp(np.arange(SIZE[1]), [left, right], [x0, x1]).round().astype(int)
        pasted = np.where(worn[..., None], garment[rows][:, columns], person.image)
        box = (slice(top, low + 1), slice(left, right + 1))
        scores.append(ssim(pasted[box], person.image[box]))
    assert np.mean(scores) < 0.8


def test_the_same_person_in_another_garment_changes_where_garments_are():
    one, other = (draw_person(7, 5, garment, SIZE) for garment in (1, 2))
    np.testing.assert_array_equal(one.points, other.points)
    # Beyond both garments, their shadows and what they bare, nothing may differ: the wall is the same.
    wall = (one.label == 0) & (other.label == 0) & (one.part == 0) & (other.part == 0)
    assert wall.mean() > 0.2
    assert (one.image[wall] == other.image[wall]).mean() > 0.98
    worn = (one.label == wardrobe_scene.CLOTHES) & (other.label == wardrobe_scene.CLOTHES)
    assert np.abs(one.image[worn].astype(int) - other.image[worn]).mean() > 10


def test_body_parts_and_points_tell_nothing_about_the_garment():
    """As a teacher that is told about them must not know from them what it is to draw."""
    for person in range(12):
        one, *others = (draw_person(7, person, garment, SIZE) for garment in range(20, 25))
        for other in others:
            np.testing.assert_array_equal(one.part, other.part)
            np.testing.assert_array_equal(one.points, other.points)


def test_a_drawing_is_the_same_at_every_size(dressed):
    large = draw_person(7, 4, 1004, (256, 192))
    halved = large.image.reshape(128, 2, 96, 2, 3).mean((1, 3))
    assert np.abs(halved - dressed[4].image).mean() < 7
    np.testing.assert_allclose(large.points[:, :2] / 2, dressed[4].points[:, :2], atol=1e-3)
    both = (large.seen[::2, ::2] > 0) & (dressed[4].seen > 0)
    middles = sampled(large.grid, np.stack(np.meshgrid(*(_centres(n) for n in (96, 128))), -1).astype(np.float32))
    off = np.abs(middles - dressed[4].grid)[both] * np.float32([96 / 2, 128 / 2])
    assert np.median(off) < 0.5


def _centres(count):
    """Middles of ``count`` pixels, -1..1 of a picture twice as large (align_corners=True)."""
    return (2 * np.arange(count) + 0.5) * 2 / (2 * count - 1) - 1


def test_labels_are_those_that_the_teacher_reads(dressed):
    labels = set(np.unique(np.stack([d.label for d in dressed])))
    assert {0, 1, 4, 8, 11, 12, 13} <= labels <= {0, 1, 4, 8, 9, 10, 11, 12, 13}
    parts = set(np.unique(np.stack([d.part for d in dressed])))
    assert {0, 2, 3, 4, 17, 18, 21, 22, 23, 24} <= parts <= set(range(25))


def test_points_lie_on_the_parts_that_they_name(dressed):
    def part_at(person, point):
        x, y, there = person.points[point]
        return person.part[int(y), int(x)] if there else None

    on_head = [part_at(d, 0) in (23, 24) for d in dressed if d.points[0, 2]]
    assert np.mean(on_head) > 0.9
    right, left = ([part_at(d, point) for d in dressed] for point in (4, 7))
    assert np.mean([p in (3, 22) for p in right if p]) > 0.5  # a crossed arm hides the other's hand
    assert np.mean([p in (4, 21) for p in left if p]) > 0.5


def test_people_and_garments_vary(dressed, garments):
    for pictures in ([d.image for d in dressed], [g for g, _ in garments]):
        spread = np.stack([p[::8, ::8] for p in pictures]).astype(float).std(0).mean()
        assert spread > 25
    covered = [mask.mean() / 255 for _, mask in garments]
    assert np.ptp(covered) > 0.15
    poses = {tuple(d.points[4:8:3, :2].round(-1).ravel()) for d in dressed}
    assert len(poses) > len(dressed) / 2


def test_garments_lie_whole_in_their_pictures_on_white(garments):
    for picture, mask in garments:
        assert set(np.unique(mask)) == {0, 255}
        for border in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
            assert not border.any()
        assert picture[0].mean() > 225


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (128, 128)])
def test_a_garment_fits_into_a_picture_of_any_proportions(size):
    for index in range(12):
        _, mask = draw_garment(7, index, size)
        assert mask.any()
        assert not any(border.any() for border in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


@pytest.mark.parametrize("arguments", [(-1, 0, 0, SIZE), (0, -1, 0, SIZE), (0, 0, -1, SIZE), (0, 0, 0, (16, 12))])
def test_what_cannot_be_drawn_is_refused(arguments):
    with pytest.raises(InputError, match="nothing can be drawn"):
        draw_person(*arguments)
