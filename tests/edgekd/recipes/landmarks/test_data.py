import numpy as np
import pytest
import torch
from PIL import Image

from edgekd.contracts import ImageSpec, IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.landmarks import data
from edgekd.recipes.landmarks.config import AugmentConfig, Config
from edgekd.recipes.landmarks.data import FaceSet, datasets
from edgekd.recipes.landmarks.pipeline import Pipeline

NONE = AugmentConfig(rotation=0, scale=0, shift=0, flip=0, color=0, blur=0, noise=0, occlusion=0)


def face_set(augment=None, count=6, side=80, size=64, seed=1, points=68):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (count, 9, 9, 3), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in coarse])
    own = rng.uniform(0.2, 0.8, (count, points, 2)).astype(np.float32) * side
    boxes = (np.float32([0.1, 0.15, 0.9, 0.95]) * side) + rng.uniform(-3, 3, (count, 4)).astype(np.float32)
    return FaceSet(images, own, boxes, augment=augment, seed=seed, input_size=size)


def pipeline(size=64, points=68):
    return Pipeline(
        IoSpec(
            inputs=(TensorSpec(name="image", shape=(1, 3, size, size), layout="NCHW", image=ImageSpec()),),
            outputs=(TensorSpec(name="landmarks", shape=(1, 2 * points)),),
        )
    )


def test_unaugmented_batches_are_what_the_pipeline_feeds_and_labels_what_it_would_have_to_answer():
    faces, pipe = face_set(), pipeline()
    batch = faces.batch([(0, k) for k in range(6)])
    assert batch["image"].dtype == batch["landmarks"].dtype == torch.float32
    assert batch["image"].shape == (6, 3, 64, 64)
    assert batch["landmarks"].shape == (6, 136)
    for k in range(6):
        sample = faces.sample(k)
        np.testing.assert_allclose(batch["image"][k], pipe.preprocess(sample.raw)["image"][0], atol=1e-6)
        back = pipe.postprocess({"landmarks": batch["landmarks"][k : k + 1].numpy()}, sample.raw)
        np.testing.assert_allclose(back["landmarks"], sample.truth["landmarks"], atol=1e-3)


def test_the_augmenting_path_without_changes_agrees_with_the_pipeline():
    plain, augmenting = (
        face_set(None).batch([(0, k) for k in range(6)]),
        face_set(NONE).batch([(0, k) for k in range(6)]),
    )
    np.testing.assert_allclose(augmenting["landmarks"], plain["landmarks"], atol=1e-5)
    difference = (augmenting["image"] - plain["image"]).abs()
    assert difference.mean() < 0.004
    assert difference.max() < 0.04


def test_a_batch_depends_on_its_keys_and_the_seed_not_on_what_came_before():
    faces, again, other = (
        face_set(AugmentConfig()),
        face_set(AugmentConfig()),
        face_set(AugmentConfig(), seed=2),
    )
    keys = [(4, 2), (4, 0), (5, 2)]
    want = faces.batch(keys)
    again.batch([(0, 1), (1, 3)])
    for name, value in again.batch(keys).items():
        assert torch.equal(value, want[name])
    assert not torch.equal(other.batch(keys)["image"], want["image"])
    assert not torch.equal(want["image"][0], want["image"][2])  # another epoch, another change


def test_a_sample_is_the_same_whatever_batch_it_is_in():
    faces = face_set(AugmentConfig(color=1, blur=1, noise=1, occlusion=1))
    keys = [(0, k) for k in range(6)]
    together = faces.batch(keys)
    for k, key in enumerate(keys):
        alone = faces.batch([key])
        np.testing.assert_allclose(alone["image"][0], together["image"][k], atol=1e-5)
        np.testing.assert_array_equal(alone["landmarks"][0], together["landmarks"][k])


def test_samples_are_copies_so_that_no_reader_changes_the_set():
    faces = face_set()
    before = faces.fingerprint
    sample = faces.sample(0)
    sample.raw["image"][:] = 0
    sample.truth["landmarks"][:] = 0
    assert face_set().fingerprint == before
    assert faces.sample(0).raw["image"].any()


def test_the_fingerprint_sees_every_picture_point_and_box():
    want = face_set().fingerprint
    for name in ("images", "points", "boxes"):
        faces = face_set()
        getattr(faces, name)[-1].reshape(-1)[-1] += 1
        assert faces.fingerprint != want
    assert len(want) == 64


def test_arrays_that_do_not_belong_together_are_refused():
    faces = face_set()
    with pytest.raises(ValueError, match="do not fit"):
        FaceSet(faces.images[:3], faces.points, faces.boxes, augment=None, seed=0, input_size=64)


# --- drawn faces


def small(**changes):
    own = {"train": 5, "val": 2, "test": 3} | changes
    return Config.model_validate({"data": own, "student": {"input_size": 32}})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return datasets(small(), cache, lambda what, share: None), cache


def test_drawn_sets_have_the_asked_sizes_and_share_no_face(drawn):
    sets, _ = drawn
    parts = (sets.train, sets.val, sets.test)
    assert [len(part) for part in parts] == [5, 2, 3]
    pictures = [part.sample(k).raw["image"].tobytes() for part in parts for k in range(len(part))]
    assert len(set(pictures)) == 10


def test_only_training_labels_carry_annotator_noise(drawn):
    noisy, cache = drawn
    exact = datasets(small(label_noise=0), cache, lambda what, share: None)
    assert not np.allclose(noisy.train.points, exact.train.points)
    np.testing.assert_array_equal(noisy.test.points, exact.test.points)
    np.testing.assert_array_equal(noisy.val.points, exact.val.points)
    np.testing.assert_array_equal(noisy.train.boxes, exact.train.boxes)


def test_only_training_faces_are_augmented(drawn):
    sets, _ = drawn
    assert not torch.equal(sets.train.batch([(0, 0)])["image"], sets.train.batch([(1, 0)])["image"])
    for part in (sets.val, sets.test):
        assert torch.equal(part.batch([(0, 0)])["image"], part.batch([(1, 0)])["image"])


def test_a_second_run_draws_nothing_and_gives_the_same_faces(drawn, monkeypatch):
    sets, cache = drawn
    monkeypatch.setattr("edgekd.recipes.landmarks.faces.draw_faces", lambda *args: pytest.fail("drawn again"))
    again = datasets(small(), cache, lambda what, share: None)
    assert again.train.fingerprint == sets.train.fingerprint


def test_more_training_faces_leave_the_test_faces_as_they_are(drawn):
    sets, cache = drawn
    more = datasets(small(train=6), cache, lambda what, share: None)
    assert more.test.fingerprint == sets.test.fingerprint
    np.testing.assert_array_equal(more.train.images[:5], sets.train.images)


def test_the_crop_of_a_drawn_face_holds_all_its_points(drawn):
    sets, _ = drawn
    labels = sets.test.batch([(0, k) for k in range(3)])["landmarks"]
    assert labels.abs().max() < 0.5
    assert labels.abs().amax(dim=1).min() > 0.3  # and is filled by them


def test_progress_names_each_set_and_ends_at_one(tmp_path):
    seen = {}
    datasets(small(), tmp_path, seen.__setitem__)
    assert seen == {f"drawing {name} faces": 1.0 for name in ("train", "val", "test")}


def test_provenance_of_drawn_faces_says_so(drawn):
    provenance = drawn[0].provenance
    assert provenance["sources"][0]["source"] == "drawn"
    assert provenance["split"] == {"train": 5, "val": 2, "test": 3}
    assert provenance["labels"]["noise_on_training_labels"] == 0.03


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"source": []}, "no data source"),
        ({"source": ["drawn", "images:x"]}, "mixes drawn faces"),
        ({"points": 98}, "no 98 points"),
        ({"source": ["images:x"]}, "no teacher for pictures"),
        ({"source": ["photos"]}, "no teacher for pictures"),
    ],
)
def test_data_that_cannot_be_had_is_refused_with_a_fix(tmp_path, changes, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        datasets(small(**changes), tmp_path, lambda what, share: None)
    assert caught.value.fix
    assert data.FIRST_DRAWN.keys() == {"train", "val", "test"}
