import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd.errors import MachineError
from edgekd.recipes.landmarks import detector
from edgekd.recipes.landmarks.detector import detector_box, detector_rectangle, find_faces, points_box


def test_the_crop_is_a_square_around_the_lower_middle_of_the_rectangle():
    box = detector_box(100, 50, 199, 149)  # 100 px wide, as dlib counts
    np.testing.assert_allclose(box, [80, 38, 220, 178])
    assert box.dtype == np.float32


@pytest.mark.parametrize("rectangle", [(0, 0, 79, 79), (-12, 30, 120, 162), (500, 431, 900, 831)])
def test_the_rectangle_comes_back_from_its_crop(rectangle):
    assert detector_rectangle(detector_box(*rectangle)) == rectangle


def test_the_crop_of_known_points_is_a_square_with_a_margin_around_them():
    points = np.array([[10, 20], [50, 20], [30, 70]], np.float32)
    x0, y0, x1, y1 = points_box(points)
    assert x1 - x0 == pytest.approx(y1 - y0) == pytest.approx(1.33 * 50, rel=1e-5)
    assert (x0 + x1) / 2 == pytest.approx(30)
    assert (y0 + y1) / 2 == pytest.approx(45)


def test_without_dlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dlib", None)
    detector._detector.cache_clear()
    try:
        with pytest.raises(MachineError, match=r"edgekd\[demo\]"):
            find_faces(np.zeros((100, 100, 3), np.uint8))
    finally:
        detector._detector.cache_clear()


def portrait() -> np.ndarray:
    pytest.importorskip("dlib", reason="finding faces needs dlib (extra demo)")
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("the portrait is in scikit-image (extra demo)")
    return np.asarray(Image.open(Path(spec.origin).parent / "data" / "astronaut.png").convert("RGB"))


def test_the_face_is_found_and_a_round_patch_is_not_taken_for_one():
    [box] = find_faces(portrait())
    middle, side = (box[:2] + box[2:]) / 2, box[2] - box[0]
    np.testing.assert_allclose(middle, [221, 129], atol=10)
    assert 110 < side < 140


@pytest.mark.parametrize("side", [60, 300, 512, 1700])
def test_boxes_are_in_the_pictures_own_pixels_at_every_size(side):
    picture = Image.fromarray(portrait()).crop((131, 19, 331, 219)) if side == 60 else Image.fromarray(portrait())
    scale = side / picture.width
    [box] = find_faces(np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)))
    middle = (box[:2] + box[2:]) / 2 / scale + ((131, 19) if side == 60 else (0, 0))
    np.testing.assert_allclose(middle, [221, 129], atol=12)


def test_a_picture_without_faces_gives_none():
    portrait()
    assert find_faces(np.full((300, 300, 3), 128, np.uint8)) == []
