"""Drawn faces: what is drawn lies on the points, the points move like a head's, all is seeded."""

import numpy as np
import pytest
from PIL import Image

from edgekd.errors import InputError
from edgekd.recipes.landmarks import face_cover, face_person, face_scene, face_skin, faces
from edgekd.recipes.landmarks.faces import FLIP_68, annotator_noise, draw_face, draw_faces, mean_face

SIZE = 160


@pytest.fixture(scope="module")
def crowd():
    return draw_faces(seed=3, start=0, count=150, size=48)


@pytest.fixture
def plain(monkeypatch):
    """Faces without hair, hats, glasses, things in front, body, and with a faultless camera on black."""
    monkeypatch.setattr(face_cover, "sample_covers", lambda rng, look: [])
    monkeypatch.setattr(face_scene, "background", lambda rng, side: Image.new("RGB", (side, side)))
    monkeypatch.setattr(face_scene, "body", lambda rng, picture, *rest: picture)
    monkeypatch.setattr(face_scene, "glasses", lambda rng, picture, *rest: picture)
    monkeypatch.setattr(face_scene, "in_front", lambda rng, picture, *rest: picture)
    monkeypatch.setattr(
        face_scene,
        "camera",
        lambda rng, picture, resolved, size: np.array(picture.resize((size, size), Image.Resampling.BILINEAR)),
    )
    bright = faces._Light(np.array([0.0, 0.0, 1.0]), np.full(3, 0.2, np.float32), np.full(3, 0.8, np.float32), 0.0)
    monkeypatch.setattr(faces, "_sample_light", lambda rng: bright)


def sharp_indices(wanted: int) -> list[int]:
    """Faces of seed 5 that are drawn at full resolution."""
    found = [k for k in range(4 * wanted) if faces._streams(5, k)[2].random() >= 0.28]
    return found[:wanted]


def person(index: int):
    return face_person.sample_person(faces._streams(5, index)[0])


def depth_inside(polygon: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Signed distance of ``at`` (n, 2) to a closed polygon (m, 2); positive inside."""
    a, b = polygon[None], np.roll(polygon, -1, 0)[None]
    p = at[:, None]
    t = np.clip(((p - a) * (b - a)).sum(2) / np.maximum(((b - a) ** 2).sum(2), 1e-9), 0, 1)
    distance = np.linalg.norm(p - a - t[..., None] * (b - a), axis=2).min(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = a[..., 0] + (p[..., 1] - a[..., 1]) / (b[..., 1] - a[..., 1]) * (b[..., 0] - a[..., 0])
    crossed = ((a[..., 1] > p[..., 1]) != (b[..., 1] > p[..., 1])) & (p[..., 0] < x)
    return np.where(crossed.sum(1) % 2 == 1, distance, -distance)


def changed_pixels(monkeypatch, index: int, attribute: str, spot: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the pixels that differ when one colour of the look changes, and the face's points."""
    original = face_skin.sample_look
    pictures = []
    for color in ((0.0, 1.0, 0.0), (1.0, 0.0, 1.0)):

        def recoloured(rng, color=color):
            look = original(rng)
            setattr(look, attribute, np.array(color, np.float32))
            return look

        monkeypatch.setattr(face_skin, "sample_look", recoloured)
        picture, points = draw_face(5, index, SIZE)
        pictures.append(picture.astype(int))
    monkeypatch.setattr(face_skin, "sample_look", original)
    rows, columns = np.nonzero(np.abs(pictures[0] - pictures[1]).max(2) > spot)
    return np.stack([columns, rows], 1) + 0.5, points


# --- a pure function ---


def test_a_face_is_a_function_of_seed_and_index_alone():
    images, points = draw_faces(seed=11, start=4, count=3, size=64)
    for k in (2, 0, 1):
        image, own = draw_face(11, 4 + k, 64)
        np.testing.assert_array_equal(image, images[k])
        np.testing.assert_array_equal(own, points[k])
    assert images.shape == (3, 64, 64, 3)
    assert images.dtype == np.uint8
    assert points.shape == (3, 68, 2)
    assert points.dtype == np.float32


def test_seed_and_index_each_change_the_face():
    base, other_seed, other_index = (draw_face(*key, 48)[1] for key in ((1, 2), (2, 2), (1, 3)))
    swapped = draw_face(2, 1, 48)[1]
    for other in (other_seed, other_index, swapped):
        assert np.abs(base - other).max() > 1


def test_the_same_face_at_another_size_has_scaled_points():
    for index in range(4):
        np.testing.assert_allclose(draw_face(9, index, 96)[1], 2 * draw_face(9, index, 48)[1], rtol=1e-6)


def test_progress_ends_at_one():
    shares: list[float] = []
    draw_faces(1, 0, 4, 32, shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("arguments", [(-1, 0, 64), (0, -1, 64), (0, 0, 8)])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(InputError):
        draw_face(*arguments)


def test_negative_count_is_refused():
    with pytest.raises(InputError):
        draw_faces(0, 0, -1, 64)


# --- iBUG order and its mirror ---


def test_flip_is_an_involution_that_moves_all_but_the_midline():
    np.testing.assert_array_equal(FLIP_68[FLIP_68], np.arange(68))
    assert set(np.flatnonzero(np.arange(68) == FLIP_68)) == {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}


def test_flip_exchanges_the_eyes_corner_by_corner():
    assert [int(FLIP_68[k]) for k in (36, 37, 38, 39, 40, 41)] == [45, 44, 43, 42, 47, 46]
    assert (FLIP_68[0], FLIP_68[17], FLIP_68[31], FLIP_68[48], FLIP_68[60]) == (16, 26, 35, 54, 64)


def test_the_mirrored_mean_face_is_itself_after_the_flip():
    mean = mean_face()
    mirrored = mean * (-1, 1)
    np.testing.assert_allclose(mirrored[FLIP_68], mean, atol=2e-3)
    assert np.abs(mirrored - mean).max() > 1  # and not without it


def test_points_are_in_ibug_order():
    mean = mean_face()
    x, y = mean.T
    assert (np.diff(x[:17]) > 0).all()  # jaw from the viewer's left to the right
    assert y[:17].argmax() == 8
    assert (np.diff(x[17:27]) > 0).all()
    assert (np.diff(y[27:31]) > 0).all()
    assert (np.diff(x[31:36]) > 0).all()
    for eye in (36, 42):  # corner, two on the upper lid, corner, two on the lower lid backwards
        assert x[eye] < x[eye + 1] < x[eye + 2] < x[eye + 3]
        assert x[eye + 5] < x[eye + 4]
        assert max(y[eye + 1 : eye + 3]) < min(y[eye + 4 : eye + 6])
    assert x[39] < 0 < x[42]
    assert (np.diff(x[48:55]) > 0).all()
    assert (np.diff(x[55:60]) < 0).all()
    assert y[51] < y[62] < y[66] < y[57]
    assert y[17:27].max() < y[36:48].min() < y[31:36].min() < y[48:68].min() < y[8]


# --- the picture and the points agree ---


def test_marks_painted_on_the_head_appear_at_the_points(plain, monkeypatch):
    """A mark on the surface, splatted, downscaled, is centred within 0.75 px of its point."""
    marks = (36, 39, 42, 45, 21, 22, 48, 54, 57, 30)
    for index in sharp_indices(6):
        posed = person(index)
        for mark in marks:
            if mark == 30 and abs(posed.yaw) > 0.4:
                continue  # the far flank of the nose is hidden: the visible part has another centre

            def dot(canvas, posed, look, covers, rng, light_x, mark=mark):
                x, y = posed.inner[mark]
                away = np.hypot(canvas.x - x, canvas.y - y)
                canvas.albedo[:] = (np.clip(1 - away / 0.06, 0, 1) * (np.cos(canvas.s) > 0))[..., None]
                canvas.gloss[:] = 0

            monkeypatch.setattr(faces, "_paint", dot)
            picture, points = draw_face(5, index, SIZE)
            weight = picture.mean(2)
            if weight.sum() < 200:
                continue  # turned away
            rows, columns = np.indices(weight.shape) + 0.5
            centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
            assert np.linalg.norm(centre - points[mark]) < 0.75, (index, mark)


def test_the_iris_lies_inside_the_lids(plain, monkeypatch):
    seen = 0
    for index in sharp_indices(12):
        at, points = changed_pixels(monkeypatch, index, "iris")
        if not len(at):
            continue  # both eyes shut
        eyes = np.maximum(depth_inside(points[36:42], at), depth_inside(points[42:48], at))
        assert eyes.min() > -1.3, index  # lids are curves outside of the polygon of their points
        assert np.mean(eyes > 0) > 0.85, index
        seen += 1
    assert seen >= 8


def test_the_lips_fill_the_mouth_outline(plain, monkeypatch):
    for index in sharp_indices(8):
        at, points = changed_pixels(monkeypatch, index, "lips")
        outline = points[48:60]
        assert np.mean(depth_inside(outline, at) > -1.5) > 0.97, index
        # Each point of the outline has lip within a pixel and a half of it.
        if abs(person(index).yaw) < 0.45:
            nearest = np.linalg.norm(outline[:, None] - at[None], axis=2).min(1)
            assert nearest.max() < 2.0, index


def test_the_jaw_points_lie_on_the_outline_of_the_head(plain, monkeypatch):
    def white(canvas, posed, look, covers, rng, light_x):
        canvas.albedo[:], canvas.gloss[:] = 1, 0

    monkeypatch.setattr(faces, "_paint", white)
    checked = 0
    for index in sharp_indices(40):
        posed = person(index)
        # The far side is outline whatever the yaw; the near one only from the front, and below the ears.
        # A lifted chin shows what is under the jaw, and the outline is no longer the jaw's.
        if not -0.2 < posed.pitch < 0.06 or abs(posed.yaw) > 0.6:
            continue
        frontal = abs(posed.yaw) < 0.12
        wanted = range(4, 13) if frontal else (range(4, 7) if posed.yaw < 0 else range(10, 13))
        picture, points = draw_face(5, index, SIZE)
        head = picture.max(2) > 40
        for k in wanted:
            along = points[k + 1] - points[k - 1]
            out = np.array([-along[1], along[0]]) / np.linalg.norm(along)  # x to the right, y down
            inside, outside = points[k] - 2.0 * out, points[k] + 2.0 * out
            assert head[int(inside[1]), int(inside[0])], (index, k)
            assert not head[int(outside[1]), int(outside[0])], (index, k)
            checked += 1
    assert checked > 40


# --- framed like a detector's crop, and varied ---


def test_faces_are_framed_with_margin(crowd):
    _, points = crowd
    low, high = points.min(1) / 48, points.max(1) / 48
    extent = (high - low).max(1)
    assert extent.min() > 0.55
    assert extent.max() < 0.80
    assert extent.std() > 0.02
    inside = ((low > 0) & (high < 1)).all(1)
    assert inside.mean() > 0.99
    assert ((low + high) / 2).std(0).min() > 0.015


def test_heads_turn_and_eyes_and_mouths_move(crowd):
    _, points = crowd
    eyes = points[:, 45] - points[:, 36]
    distance = np.linalg.norm(eyes, axis=1)
    roll = np.rad2deg(np.arctan2(eyes[:, 1], eyes[:, 0]))
    assert 5 < roll.std() < 15
    assert np.abs(roll).max() < 40
    axis = eyes / distance[:, None]
    nose = ((points[:, 30] - (points[:, 36] + points[:, 45]) / 2) * axis).sum(1) / distance
    assert nose.std() > 0.10
    assert nose.min() < -0.2
    assert nose.max() > 0.2
    lids = np.linalg.norm(points[:, 37] - points[:, 41], axis=1) / np.linalg.norm(points[:, 36] - points[:, 39], axis=1)
    assert np.mean(lids < 0.15) > 0.03
    assert np.mean(lids > 0.3) > 0.4
    gape = np.linalg.norm(points[:, 62] - points[:, 66], axis=1) / distance
    assert np.mean(gape > 0.08) > 0.15
    assert np.mean(gape < 0.03) > 0.3


def test_the_far_cheek_is_foreshortened():
    """Turning towards the viewer's right brings the jaw line closer to the nose there, and not beyond it."""
    for index in range(60):
        posed = person(index)
        if abs(posed.yaw) < 0.4:
            continue
        points = draw_face(5, index, 48)[1]
        to_left = np.linalg.norm(points[30] - points[2])
        to_right = np.linalg.norm(points[30] - points[14])
        assert (to_left > 1.6 * to_right) if posed.yaw > 0 else (to_right > 1.6 * to_left)


def test_pictures_vary_in_tone_and_some_are_gray(crowd):
    images, _ = crowd
    middle = images[:, 20:30, 20:30].reshape(150, -1, 3).astype(float).mean(1)
    assert middle.mean(1).std() > 25
    gray = np.array([(np.ptp(image.astype(int), axis=2) == 0).all() for image in images])
    assert 0.1 < gray.mean() < 0.4


def test_the_crop_alone_does_not_give_the_points_away(crowd):
    """The best constant answer must be far off, or a network could ignore the picture."""
    _, points = crowd
    distance = np.linalg.norm(points[:, 36] - points[:, 45], axis=1)
    error = np.linalg.norm(points - points.mean(0), axis=2).mean(1) / distance
    assert error.mean() > 0.10


# --- annotator noise ---


def test_noise_has_the_stated_mean_distance(crowd):
    _, points = crowd
    eyes = np.linalg.norm(points[:, 36] - points[:, 45], axis=1)
    for share in (0.01, 0.03):
        moved = annotator_noise(points, 5, share) - points
        assert np.mean(np.linalg.norm(moved, axis=2) / eyes[:, None]) == pytest.approx(share, rel=0.03)
        assert np.abs(moved.mean((0, 1))).max() < 0.05 * share * eyes.mean()  # no direction is preferred
        assert moved[..., 0].std() == pytest.approx(moved[..., 1].std(), rel=0.05)


def test_noise_depends_on_its_seed_alone(crowd):
    _, points = crowd
    np.testing.assert_array_equal(annotator_noise(points, 5, 0.03), annotator_noise(points, 5, 0.03))
    assert np.abs(annotator_noise(points, 5, 0.03) - annotator_noise(points, 6, 0.03)).max() > 0.1
    np.testing.assert_array_equal(annotator_noise(points, 5, 0.0), points)
    assert annotator_noise(points[0], 5, 0.03).shape == (68, 2)


def test_negative_noise_is_refused(crowd):
    with pytest.raises(InputError):
        annotator_noise(crowd[1], 5, -0.1)
