import numpy as np
import pytest
import torch

from edgekd.errors import InputError
from edgekd.recipes.rows import store_folder
from edgekd.recipes.tryon import data
from edgekd.recipes.tryon.data import datasets, draw_share, parse_source
from edgekd.recipes.tryon.pipeline import Pipeline
from edgekd.recipes.tryon.samples import Photo, point_maps, representation

SIZE = (96, 64)
KEYS = [(0, 0), (0, 3), (2, 3)]


def quiet(what, share):
    pass


def test_a_batch_has_what_teacher_and_student_are_trained_on(wardrobe):
    batch = wardrobe.train.batch(KEYS)
    channels = {name: value.shape[1] for name, value in batch.items()}
    assert channels == {
        "person": 3, "clothes": 3, "clothes_edge": 1, "other_clothes": 3, "other_edge": 1,
        "worn": 1, "condition": 45, "preserve": 3, "dense_preserve": 1, "true_grid": 2, "seen": 1,
    }  # fmt: skip
    for name, value in batch.items():
        assert value.dtype == torch.float32
        assert value.shape[0] == len(KEYS)
        assert value.shape[2:] == SIZE
        if name in ("clothes_edge", "other_edge", "worn", "dense_preserve"):
            assert set(value.unique().tolist()) <= {0.0, 1.0}
        assert value.min() >= -1
        assert value.max() <= 1


def test_the_garments_background_is_mid_grey(wardrobe):
    batch = wardrobe.train.batch(KEYS)
    for clothes, edge in (("clothes", "clothes_edge"), ("other_clothes", "other_edge")):
        outside = batch[edge].expand(-1, 3, -1, -1) == 0
        assert outside.any()
        assert (batch[clothes][outside] == 0).all()


def test_a_batch_depends_on_its_keys_alone(wardrobe):
    one, other = wardrobe.train.batch(KEYS), wardrobe.train.batch(KEYS[::-1])
    for name in one:
        assert torch.equal(one[name], other[name].flip(0))


def test_the_other_garment_is_anothers_and_changes_with_the_epoch(wardrobe):
    for index in range(len(wardrobe.train)):
        others = [wardrobe.train._other(epoch, index) for epoch in range(40)]
        assert index not in others
        assert set(others) == set(range(len(wardrobe.train))) - {index}


def test_the_condition_is_two_masks_the_parts_and_the_points():
    label = np.zeros((8, 6), np.uint8)
    label[0], label[1], label[2], label[3], label[4], label[5] = 1, 12, 8, 7, 11, 4
    part = np.zeros((8, 6), np.uint8)
    part[4], part[5], part[6] = 3, 17, 24
    points = np.zeros((18, 3), np.float32)
    points[2] = [4.5, 6.5, 1]
    picture = np.full((8, 6, 3), 255, np.uint8)
    told = {name: value[0].numpy() for name, value in representation([Photo(picture, label, part, points)]).items()}
    face, others, parts, maps = np.split(told["condition"], [1, 2, 27])
    np.testing.assert_array_equal(face[0, :, 0], [1, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(others[0, :, 0], [0, 0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(parts.argmax(0), part)
    assert (parts.sum(0) == 1).all()
    np.testing.assert_array_equal(told["worn"][0, :, 0], [0, 0, 0, 1, 0, 1, 0, 0])  # 7 counts as upper clothes
    np.testing.assert_array_equal(told["preserve"][0, :, 0], [1, 1, 1, 0, 1, 0, 0, 0])  # 4: an arm's hand
    np.testing.assert_array_equal(told["dense_preserve"][0, :, 0], [0, 0, 0, 0, 0, 1, 0, 0])
    assert maps[2, 6, 4] == 1
    assert (maps[[0, 1, *range(3, 18)]] == -1).all()


def test_a_points_square_is_eleven_pixels_at_the_papers_size():
    points = np.zeros((18, 3), np.float32)
    points[0], points[1] = [50.2, 60.7, 1], [1, 1, 1]
    maps = point_maps(points, (256, 192))
    rows, columns = np.nonzero(maps[0] == 1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (55, 65, 45, 55)
    assert (maps[1] == 1).sum() == 7 * 7  # cut off by the corner


def test_a_sample_is_another_garments_person_and_its_truth(wardrobe):
    for samples in (wardrobe.test, wardrobe.train):
        sample = samples.sample(1)
        assert sample.raw["person"].shape == sample.truth["tryon"].shape == (*SIZE, 3)
        assert (sample.raw["person"] != sample.truth["tryon"]).any()
        batch = samples.batch([(0, 1)])
        seen = ((batch["person"][0].permute(1, 2, 0) + 1) * 127.5).round().numpy().astype(np.uint8)
        np.testing.assert_array_equal(seen, sample.truth["tryon"])
        np.testing.assert_array_equal(batch["worn"][0, 0].numpy() * 255, sample.truth["worn"])
        assert sample.truth["seen"].any()
        assert not sample.truth["seen"][sample.truth["worn"] == 0].any()


def test_samples_of_a_set_have_one_shape(wardrobe):
    first, *rest = (wardrobe.test.sample(k) for k in range(len(wardrobe.test)))
    for other in rest:
        assert {k: v.shape for k, v in other.raw.items()} == {k: v.shape for k, v in first.raw.items()}
        assert {k: v.shape for k, v in other.truth.items()} == {k: v.shape for k, v in first.truth.items()}


def test_the_pipeline_gives_what_a_batch_holds(wardrobe, io):
    feeds = Pipeline(io).preprocess(wardrobe.test.sample(2).raw)
    batch = wardrobe.test.batch([(0, 2)])
    for name in ("clothes", "clothes_edge"):
        np.testing.assert_allclose(feeds[name], batch[name].numpy(), atol=1e-6)


def test_sets_share_nobody_and_depend_on_the_seed(wardrobe, tmp_path):
    first = [wardrobe.train.sample(0), wardrobe.val.sample(0), wardrobe.test.sample(0)]
    for k in range(3):
        assert (first[k].truth["tryon"] != first[k - 1].truth["tryon"]).any()
    other = datasets(["wardrobe:2"], SIZE, 1, {"val": 2, "test": 4}, tmp_path, quiet)
    assert other.test.fingerprint != wardrobe.test.fingerprint
    more = datasets(["wardrobe:3"], SIZE, 0, {"val": 2, "test": 4}, tmp_path, quiet)
    assert more.test.fingerprint == wardrobe.test.fingerprint  # it does not depend on how many are trained on


def test_drawing_in_shares_gives_the_same_sets(wardrobe, tmp_path, monkeypatch):
    held = {"val": 2, "test": 4}
    for part in range(2):
        draw_share(["wardrobe:6"], SIZE, 0, held, tmp_path, quiet, (part, 2))
    monkeypatch.setattr(data, "draw_person", pytest.fail)
    shared = datasets(["wardrobe:6"], SIZE, 0, held, tmp_path, quiet)
    assert shared.train.fingerprint == wardrobe.train.fingerprint


def test_what_is_drawn_is_cached_by_version(tmp_path, monkeypatch):
    before = data._store("train", 2, SIZE, 0, tmp_path, quiet)[0]
    monkeypatch.setattr(data, "WARDROBE_VERSION", data.WARDROBE_VERSION + 1)
    assert data._store("train", 2, SIZE, 0, tmp_path, quiet)[0] != before
    assert before.parent == store_folder(tmp_path, "wardrobe", {}).parent


@pytest.mark.parametrize(
    ("sources", "what"),
    [
        ([], "names 0 sources"),
        (["wardrobe:5", "viton:x"], "names 2 sources"),
        (["wardrob:5"], "unknown data source"),
        (["wardrobe"], "no number of people"),
        (["wardrobe:1"], "no number of people"),
        (["wardrobe:-3"], "no number of people"),
        (["viton:"], "names no folder"),
    ],
)
def test_a_source_that_is_none_is_refused(sources, what):
    with pytest.raises(InputError, match=what) as caught:
        parse_source(sources)
    assert "--data" in caught.value.fix


def test_provenance_names_source_licence_and_counts(wardrobe):
    assert wardrobe.provenance["split"] == {"train": 6, "val": 2, "test": 4}
    assert wardrobe.provenance["sources"][0]["licence"]
