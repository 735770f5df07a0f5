import numpy as np

from edgekd.recipes.tryon.drawing import GAP, sheet, side_by_side


def flat(height, width, tone):
    return np.full((height, width, 3), tone, np.uint8)


def test_pictures_side_by_side_are_as_high_as_the_first():
    drawn = np.asarray(side_by_side([flat(40, 30, 10), flat(20, 10, 90)]))
    assert drawn.shape == (40, 30 + GAP + 20, 3)
    assert (drawn[:, :30] == 10).all()
    assert (drawn[:, 30 + GAP :] == 90).all()
    assert (drawn[:, 30 : 30 + GAP] == 255).all()


def test_one_picture_is_drawn_as_it_is():
    np.testing.assert_array_equal(np.asarray(side_by_side([flat(7, 5, 3)])), flat(7, 5, 3))


def test_a_sheet_shows_the_garment_without_its_background():
    mask = np.zeros((40, 30), np.uint8)
    mask[10:30] = 255
    raw = {"person": flat(40, 30, 1), "clothes": flat(40, 30, 2), "clothes_edge": mask}
    prediction = {"warped_cloth": flat(40, 30, 3), "tryon": flat(40, 30, 4)}
    drawn = np.asarray(sheet([raw], [prediction], [{"tryon": flat(40, 30, 5)}]))
    columns = [drawn[20, (30 + GAP) * k + 15, 0] for k in range(5)]
    assert columns == [1, 2, 3, 4, 5]
    assert drawn[5, 30 + GAP + 15, 0] == 255
