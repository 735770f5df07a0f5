import shutil

import numpy as np
import pytest
from PIL import Image

from edgekd import config
from edgekd.errors import InputError
from edgekd.recipes.landmarks import published_faces
from edgekd.recipes.landmarks.augment import AugmentConfig
from edgekd.recipes.landmarks.data import datasets
from edgekd.recipes.landmarks.metrics import METRICS
from edgekd.recipes.landmarks.published import SETS
from edgekd.recipes.landmarks.published_faces import validation_split

KINDS = ("300w", "cofw", "wflw")


@pytest.fixture(autouse=True)
def readable(request):
    if "cofw" in request.node.name:
        pytest.importorskip("h5py", reason="COFW needs h5py (extra datasets)")


def resolved(folder, *more, kind=None, preset="paper"):
    settings = [f'data.source=["{kind or folder.name}:{folder}"]', "student.input_size=64", *more]
    return config.resolve("landmarks", preset, settings=settings)


def made(folder, *more, tell=lambda what, share: None):
    return datasets(resolved(folder, *more), folder.parent / "cache", tell)


@pytest.mark.parametrize("kind", KINDS)
def test_the_crop_that_a_student_sees_has_the_face_where_its_labels_say(kind, write_set, faces, points_of):
    """The photo's own pixels and annotations, cropped by hand, are what the sets give."""
    sets = made(write_set(kind))
    assert (len(sets.train) // SETS[kind].factor, len(sets.test)) == (8 - len(sets.val), 5)
    for k, (picture, points) in enumerate(faces[8:]):
        own = points_of[kind](points)
        sample = sets.test.sample(k)
        box, truth = sample.raw["box"], sample.truth["landmarks"]
        # the box in the photo: what the points' places in crop and photo say of it
        scale = np.ptp(own, axis=0) / np.ptp((truth - box[:2]) / (box[2:] - box[:2]), axis=0)
        low = own.min(axis=0) - ((truth - box[:2]) / (box[2:] - box[:2])).min(axis=0) * scale
        seen = sets.test.batch([(0, k)])["image"][0].permute(1, 2, 0).numpy() * 255
        by_hand = Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR, box=(*low, *(low + scale)))
        assert np.abs(seen - np.asarray(by_hand)).mean() < 7
        assert np.ptp(truth, axis=0) == pytest.approx(np.ptp(own, axis=0) * (96 / (1.5 * scale.max())), rel=1e-4)
        margin = {"300w": 5, "wflw": 3}.get(kind)
        if margin:
            np.testing.assert_allclose(low, own.min(axis=0) - margin, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_the_longer_side_of_the_crop_is_the_students_and_proportions_are_the_photos(kind, write_set):
    sets = made(write_set(kind))
    for k in range(5):
        box = sets.test.sample(k).raw["box"]
        assert (box[2:] - box[:2]).max() == pytest.approx(64, abs=0.01)
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, [48, 48], atol=0.01)


def test_samples_say_which_subsets_they_are_in(write_set):
    test = made(write_set("wflw")).test
    assert [bool(test.sample(k).truth["subset/pose"]) for k in range(5)] == [True, False, False, True, False]
    assert {name for name in test.sample(0).truth if name.startswith("subset/")} == {
        f"subset/{name}" for name in ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
    }
    truths = [test.sample(k).truth for k in range(5)]
    scores = METRICS.compute(truths, truths)
    assert {"nme/blur", "nme_pupils/pose", "authors_nme"} <= set(scores)


@pytest.mark.parametrize("kind", KINDS)
def test_training_crops_hold_all_points_at_the_authors_augmentation(kind, write_set):
    train = made(write_set(kind)).train
    assert isinstance(train.augment, AugmentConfig)
    labels = train.batch([(epoch, k) for epoch in range(6) for k in range(6)])["landmarks"].abs()
    assert labels.max() < 0.5
    assert labels.max() > 0.4


# --- validation


def test_validation_takes_70_faces_of_a_large_set_and_a_tenth_of_a_small_one():
    for count, wanted in ((3148, 70), (1345, 70), (120, 12), (8, 1), (2, 1)):
        train, val = validation_split([str(k) for k in range(count)], 0, SETS["300w"])
        assert len(val) == wanted
        assert sorted([*train, *val]) == list(range(count))


def test_validation_depends_on_the_seed_alone_and_shares_no_photo():
    photos = [f"photo {k // 3}" for k in range(300)]
    one, again, other = (validation_split(photos, seed, SETS["wflw"])[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert set(one) != set(other)
    train, val = validation_split(photos, 1, SETS["wflw"])
    assert not {photos[k] for k in train} & {photos[k] for k in val}
    assert len(val) == 30


def test_faces_of_one_photo_alone_cannot_be_validated():
    with pytest.raises(InputError, match="3 training faces of one photo"):
        validation_split(["a", "a", "a"], 0, SETS["wflw"])
    assert len(validation_split(["a", "a", "a", "b"], 0, SETS["wflw"])[0]) in (1, 3)


def test_another_seed_reads_no_picture_again(write_set, monkeypatch):
    folder = write_set("300w")
    first = made(folder)
    monkeypatch.setattr(published_faces, "_squared", pytest.fail)
    again, other = made(folder), made(folder, "seed=4")
    assert again.val.fingerprint == first.val.fingerprint
    assert other.test.fingerprint == first.test.fingerprint


# --- cache and progress


def test_what_is_read_is_told_and_kept_until_a_file_changes(write_set, monkeypatch):
    folder = write_set("wflw")
    told = []
    before = made(folder, tell=lambda what, share: told.append((what, share)))
    assert [share for what, share in told if what == "reading WFLW train"] == [k / 8 for k in range(1, 9)]
    assert told[-1] == ("reading WFLW test", 1.0)
    picture = folder / "WFLW_images" / "shared.jpg"
    Image.new("RGB", (210, 150), (9, 90, 9)).save(picture)
    after = made(folder)
    assert {after.train.fingerprint, after.val.fingerprint} != {before.train.fingerprint, before.val.fingerprint}
    assert after.test.fingerprint == before.test.fingerprint


def test_pictures_stay_on_disk(write_set):
    train = made(write_set("300w")).train
    assert isinstance(train.images._array, np.memmap)


# --- provenance


def test_a_part_of_a_set_is_called_so_and_the_whole_by_its_name(write_set, monkeypatch):
    folder = write_set("wflw")
    [source] = made(folder).provenance["sources"]
    assert source["source"] == "WFLW in part (8 of 7500 training and 5 of 2500 test faces)"
    assert source["faces"] == {"train": 8, "test": 5}
    assert source["subsets"]["pose"] == 2
    assert "non-commercial" in source["licence"]
    assert source["folder"] == "wflw"
    whole(monkeypatch, "wflw", 8, 5, source["subsets"])
    assert made(folder).provenance["sources"][0]["source"] == "WFLW"
    whole(monkeypatch, "wflw", 8, 5, {**source["subsets"], "pose": 3})  # a list with other attributes
    assert "in part" in made(folder).provenance["sources"][0]["source"]


def whole(monkeypatch, kind, train, test, subsets):
    """As if the set had been published as small as our folder."""
    own = SETS[kind].__class__(**{**vars(SETS[kind]), "train": train, "test": test, "subsets": subsets})
    monkeypatch.setattr(published_faces, "published_set", lambda source: own)


# --- what cannot be used


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_is_not_there_is_named_with_the_layout(kind, tmp_path):
    with pytest.raises(InputError, match=rf"nowhere does not exist(.|\n)*{SETS[kind].name} is expected as"):
        datasets(resolved(tmp_path / "nowhere", kind=kind), tmp_path, lambda what, share: None)


def test_a_home_that_nobody_has_is_said_to_be_none(tmp_path):
    with pytest.raises(InputError, match=r"'300w:~nobody-here/x' cannot be found"):
        datasets(resolved("~nobody-here/x", kind="300w"), tmp_path, lambda what, share: None)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["data.points=98"], "300W has 68 points, not 98(.|\n)*--set data.points=68"),
        (["teacher.black_box=dlib68"], "300W needs no black-box teacher"),
        (['data.source=["300w:x", "drawn"]'], "mixes 300W with 1 other source"),
        (['data.source=["images:x", "300w:x"]'], "mixes 300W with 1 other source"),
    ],
)
def test_settings_that_contradict_a_published_set_are_refused(tmp_path, settings, complaint):
    with pytest.raises(InputError, match=complaint):
        datasets(resolved(tmp_path, *settings, kind="300w"), tmp_path / "cache", lambda what, share: None)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_read_is_named_and_leaves_no_store(write_set):
    folder = write_set("300w")
    file = folder / "ibug" / "image_003_1.jpg"
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(InputError, match=r"image_003_1\.jpg"):
        made(folder)
    assert len(list((folder.parent / "cache").iterdir())) == 1  # the training set's, which is whole


def test_points_outside_of_their_picture_are_said_to_be(write_set):
    folder = write_set("300w")
    Image.new("RGB", (9, 9)).save(folder / "ibug" / "image_003_1.jpg")
    with pytest.raises(InputError, match=r"image_003_1\.pts: the face cannot be cropped(.|\n)*do not belong together"):
        made(folder)


def test_the_test_set_is_looked_at_before_the_training_set_is_read(write_set, monkeypatch):
    folder = write_set("300w")
    shutil.rmtree(folder / "ibug")
    monkeypatch.setattr(published_faces, "_squared", pytest.fail)
    with pytest.raises(InputError, match="ibug is missing"):
        made(folder)


FILES = {
    "300w": "ibug/image_003_1.pts",
    "cofw": "COFW_test_color.mat",
    "wflw": "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_test.txt",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_in_words(kind, write_set):
    folder = write_set(kind)
    file, rng = folder / FILES[kind], np.random.default_rng(0)
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    said = []
    for _ in range(60):
        bent = whole.copy()
        bent[rng.integers(0, min(len(bent), 6000), 12)] = rng.integers(0, 256, 12)
        file.write_bytes(bent[: rng.integers(1, len(bent))].tobytes() if rng.random() < 0.2 else bent.tobytes())
        try:
            for face in published_faces.READERS[kind](folder, "test").faces:
                face.read()
        except InputError as error:
            said.append(error.what)
    assert len(said) > 20
    assert all(str(folder) in what for what in said)
