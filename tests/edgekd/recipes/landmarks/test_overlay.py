import numpy as np
import pytest
from PIL import Image

from edgekd.recipes.landmarks.overlay import CONTOURS, PREDICTION, REFERENCE, contact_sheet, draw_landmarks


def ring(points, centre, radius):
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + centre


def changed(picture, drawn):
    before = np.asarray(Image.fromarray(picture).resize(drawn.size, Image.Resampling.BICUBIC), int)
    return np.abs(np.asarray(drawn, int) - before).sum(axis=2)


def nearest_share(drawn, color):
    """Share of pixels that are almost the colour."""
    return (np.abs(np.asarray(drawn, int) - np.array(color)).sum(axis=2) < 60).mean()


GREY = np.full((200, 200, 3), 90, np.uint8)
ALL = np.array([0, 0, 200, 200], np.float32)


@pytest.mark.parametrize("points", [68, 98, 29, 5])
def test_something_is_drawn_at_every_point_and_the_corners_stay(points):
    where = ring(points, (100, 100), 60)
    drawn = draw_landmarks(GREY, [ALL], [where])
    difference = changed(GREY, drawn)
    scale = drawn.width / 200
    for x, y in where * scale:
        assert difference[round(y - 0.5), round(x - 0.5)] > 100
    assert difference[:40, :40].max() < 10


@pytest.mark.parametrize("points", [68, 98, 29])
def test_contours_name_existing_points_and_lines_join_them(points):
    numbers = [k for line, _ in CONTOURS[points] for k in line]
    assert max(numbers) < points
    line = list(CONTOURS[points][0][0])
    where = np.full((points, 2), 20.0)
    where[line] = np.stack([np.linspace(40, 160, len(line)), np.full(len(line), 150)], axis=1)
    drawn = draw_landmarks(GREY, [ALL], [where])
    x, y = (where[line[0]] + where[line[1]]) / 2 * drawn.width / 200
    assert changed(GREY, drawn)[round(y) - 1 : round(y) + 1, round(x)].max() > 100


def test_a_reference_has_its_own_colour():
    truth, guess = ring(68, (100, 100), 80), ring(68, (100, 100), 30)
    alone, both = draw_landmarks(GREY, [ALL], [guess]), draw_landmarks(GREY, [ALL], [guess], [truth])
    assert nearest_share(alone, REFERENCE) == 0
    assert nearest_share(both, REFERENCE) > 0.002
    assert nearest_share(both, PREDICTION) > 0.002


def test_a_small_picture_is_enlarged_and_a_large_one_kept_in_bounds():
    tiny = np.full((25, 20, 3), 90, np.uint8)
    drawn = draw_landmarks(tiny, [np.array([0, 0, 20, 25])], [ring(68, (10, 12), 8)])
    assert max(drawn.size) == 640
    assert drawn.size[0] < drawn.size[1]
    large = np.zeros((1000, 3000, 3), np.uint8)
    assert max(draw_landmarks(large, [np.array([0, 0, 3000, 1000])], [ring(68, (9, 9), 5)]).size) == 1280


def test_a_small_face_in_a_large_picture_is_shown_close_up():
    picture = np.zeros((1000, 1000, 3), np.uint8)
    picture[480:520, 480:520] = 255
    drawn = draw_landmarks(picture, [np.array([450, 450, 550, 550])], [ring(68, (500, 500), 45)])
    white = (np.asarray(drawn).min(axis=2) > 250).mean()
    assert white == pytest.approx((40 / 170) ** 2, rel=0.2)


def test_a_prediction_without_numbers_leaves_the_picture_as_it_is():
    drawn = draw_landmarks(GREY, [ALL], [np.full((68, 2), np.nan)])
    assert changed(GREY, drawn).max() == 0


def test_a_sheet_has_a_cell_for_every_picture_in_reading_order():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sheet = contact_sheet([Image.new("RGB", (30, 30), c) for c in colors], 2, cell=50, gap=10)
    assert sheet.size == (2 * 60 + 10, 2 * 60 + 10)
    assert [sheet.getpixel(at) for at in ((35, 35), (95, 35), (35, 95))] == colors
    assert sheet.getpixel((95, 95)) not in colors


def test_labels_are_written_below_and_cut_to_the_cell():
    images = [Image.new("RGB", (50, 30))] * 2
    plain, named = (contact_sheet(images, 2, labels, cell=80) for labels in (None, ["a", "a name far too long" * 3]))
    assert named.height > plain.height
    below = np.asarray(named)[plain.height :]
    assert below.max() > 150  # text
    assert below[:, 84:90].max() < 60  # not in the gap between the cells


def test_a_sheet_of_nothing_or_with_too_few_labels_is_refused():
    with pytest.raises(ValueError, match="0 images"):
        contact_sheet([], 3)
    with pytest.raises(ValueError, match="1 labels"):
        contact_sheet([Image.new("RGB", (9, 9))] * 2, 3, ["one"])


def test_all_faces_of_a_picture_are_shown_and_drawn():
    picture = np.full((1000, 1000, 3), 128, np.uint8)
    boxes = [np.array([50, 50, 150, 150]), np.array([850, 850, 950, 950])]
    drawn = np.asarray(draw_landmarks(picture, boxes, [ring(68, (100, 100), 45), ring(68, (900, 900), 45)]))
    half = drawn.shape[0] // 2
    assert np.ptp(drawn[:half, :half]) > 50
    assert np.ptp(drawn[half:, half:]) > 50
    assert np.ptp(drawn[:half, half:]) == 0
