import json

import numpy as np
import pytest
from PIL import Image

from edgekd.errors import InputError
from edgekd.recipes.tryon.data import datasets
from edgekd.recipes.tryon.viton import PICTURE, read_points

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = PICTURE


def picture(path, seed=0, size=PICTURE):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size[::-1]).save(path)


def mask(path, empty=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(PICTURE, np.uint8)
    values[60:200, 40:150] = 0 if empty else 255
    Image.fromarray(values).save(path)


def labels(folder, stem):
    for part in ("label", "densepose", "pose"):
        (folder / f"train_{part}").mkdir(parents=True, exist_ok=True)
    parsing = np.zeros(PICTURE, np.uint8)
    parsing[:40], parsing[60:120], parsing[120:140], parsing[200:] = 12, 4, 7, 8
    Image.fromarray(parsing).save(folder / "train_label" / f"{stem}.png")
    body = np.zeros(PICTURE, np.uint8)
    body[60:140] = 2
    np.save(folder / "train_densepose" / f"{stem}.npy", body)
    points = [[100.0, 30.0, 0.9], *([[0.0, 0.0, 0.0]] * 17)]
    pose = {"people": [{"pose_keypoints": list(np.ravel(points))}]}
    (folder / "train_pose" / f"{stem}.json").write_text(json.dumps(pose))


@pytest.fixture
def viton(tmp_path):
    """A set of 5 training and 2 test pairs in the published layout."""
    train, test = tmp_path / "VITON_traindata", tmp_path / "VITON_test"
    lines = []
    for k in range(5):
        person, garment = f"{k:06d}_0.jpg", f"{k:06d}_1.jpg"
        picture(train / "train_img" / person, k)
        picture(train / "train_color" / garment, 100 + k)
        mask(train / "train_edge" / garment)
        labels(train, f"{k:06d}_0")
        lines.append(f"{person} {garment}")
    (train / "train_pairs.txt").write_text("\n".join(lines) + "\n")
    lines = []
    for k in range(2):
        picture(test / "test_img" / f"{k}_0.jpg", 200 + k)
        picture(test / "test_color" / f"{k}_1.jpg", 300 + k)
        mask(test / "test_edge" / f"{k}_1.jpg")
        lines.append(f"{k}_0.jpg {1 - k}_1.jpg")  # another's garment
    (test / "test_pairs.txt").write_text("\n".join(lines))
    return tmp_path


def load(root, kind="viton-clean", size=PICTURE, held=2):
    return datasets([f"{kind}:{root}"], size, 0, {"val": held, "test": 1}, root / "cache", lambda what, share: None)


def test_the_published_layout_is_read(viton):
    sets = load(viton)
    assert (len(sets.train), len(sets.val), len(sets.test)) == (3, 2, 2)
    batch = sets.train.batch([(0, 0), (0, 1)])
    assert batch["condition"].shape == (2, 45, *PICTURE)
    assert batch["worn"][0, 0, 60:140].min() == 1  # 4, and 7 with it
    assert batch["worn"].mean() == pytest.approx(80 / HEIGHT)
    assert batch["condition"][0, 27, 30, 100] == 1
    assert (batch["condition"][0, 28:] == -1).all()
    assert batch["clothes_edge"][0, 0, 100, 100] == 1


def test_train_and_val_share_nobody(viton):
    sets = load(viton)
    seen = [sets.train.sample(k).truth["tryon"].tobytes() for k in range(3)]
    assert all(sets.val.sample(k).truth["tryon"].tobytes() not in seen for k in range(2))


def test_a_test_person_tries_the_listed_garment_on(viton):
    sample = load(viton).test.sample(0)
    expected = np.asarray(Image.open(viton / "VITON_test" / "test_color" / "1_1.jpg"))
    np.testing.assert_array_equal(sample.raw["clothes"], expected)
    np.testing.assert_array_equal(sample.raw["person"], sample.truth["tryon"])
    assert not sample.truth["seen"].any()
    assert not sample.truth["worn"].any()


def test_everything_is_given_at_the_size_asked_for(viton):
    sets = load(viton, size=(128, 96))
    batch = sets.train.batch([(0, 0)])
    assert {tuple(v.shape[2:]) for v in batch.values()} == {(128, 96)}
    assert batch["condition"][0, 27, 15, 50] == 1  # the point moved with the picture
    assert sets.test.sample(0).raw["person"].shape == (128, 96, 3)


def test_other_names_of_the_same_parts_are_read(viton):
    test, train = viton / "VITON_test", viton / "VITON_traindata"
    (test / "test_color").rename(test / "test_clothes")
    for pose in (train / "train_pose").iterdir():
        pose.rename(pose.with_name(f"{pose.stem}_keypoints.json"))
    for path in (*train.iterdir(), *test.iterdir()):
        path.rename(viton / path.name)
    assert len(load(viton).test) == 2


def test_the_fingerprint_follows_the_files(viton):
    before = load(viton).train.fingerprint
    assert load(viton).train.fingerprint == before
    for k in range(5):
        labels(viton / "VITON_traindata", f"{k:06d}_0")
    assert load(viton).train.fingerprint == before
    for k in range(5):
        picture(viton / "VITON_traindata" / "train_img" / f"{k:06d}_0.jpg", 900 + k)
    assert load(viton).train.fingerprint != before


def test_provenance_says_who_may_use_it_and_whether_it_is_complete(viton):
    source = load(viton).provenance["sources"][0]
    assert "no commercial use" in source["licence"]
    assert source["published_pairs"] == {"train": 6824, "test": 416}
    assert source["complete"] is False


def spoil(root, how):
    train = root / "VITON_traindata"
    match how:
        case "no pairs file":
            (train / "train_pairs.txt").unlink()
        case "empty pairs file":
            (train / "train_pairs.txt").write_text("\n")
        case "three names":
            (train / "train_pairs.txt").write_text("a b c\n")
        case "unknown garment":
            (train / "train_pairs.txt").write_text("000000_0.jpg 9_1.jpg\n")
        case "path":
            (train / "train_pairs.txt").write_text("../x.jpg 000000_1.jpg\n")
        case "no mask":
            (train / "train_edge" / "000001_1.jpg").unlink()
        case "no pose folder":
            for file in (train / "train_pose").iterdir():
                file.unlink()
            (train / "train_pose").rmdir()
        case "size":
            picture(train / "train_img" / "000002_0.jpg", 2, (512, 384))
        case "no picture":
            (train / "train_img" / "000002_0.jpg").write_text("no")


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("no pairs file", "is not laid out as VITON"),
        ("empty pairs file", "holds no pair"),
        ("three names", "pairs.txt:1 is no pair"),
        ("unknown garment", r"9_1\.jpg is missing"),
        ("path", r"names '\.\./x\.jpg'"),
        ("no mask", r"train_edge.000001_1\.jpg is missing"),
        ("no pose folder", "is missing"),
        ("size", r"000002_0\.jpg has another size"),
        ("no picture", r"000002_0\.jpg is not a picture"),
    ],
)
def test_a_set_that_is_not_whole_names_what_is_wrong(viton, how, what):
    spoil(viton, how)
    with pytest.raises(InputError, match=what) as caught:
        load(viton)
    assert caught.value.fix


def test_an_empty_mask_is_named_when_it_is_used(viton):
    for k in range(5):
        mask(viton / "VITON_traindata" / "train_edge" / f"{k:06d}_1.jpg", empty=True)
    with pytest.raises(InputError, match="is empty"):
        load(viton).train.batch([(0, 0)])


def test_too_few_people_for_validation_are_refused(viton):
    with pytest.raises(InputError, match="holds too few people"):
        load(viton, held=4)


def test_a_person_whom_nobody_found_has_no_points(tmp_path):
    (tmp_path / "pose.json").write_text('{"people": []}')
    assert not read_points(tmp_path / "pose.json").any()


@pytest.mark.parametrize("text", ['{"people": [{}]}', "[]", '{"people": [{"pose_keypoints": [1, 2, 3]}]}', "no"])
def test_a_file_without_pose_is_refused(tmp_path, text):
    (tmp_path / "pose.json").write_text(text)
    with pytest.raises(InputError, match="holds no pose|is damaged"):
        read_points(tmp_path / "pose.json")


@pytest.mark.parametrize("shape", [(10, 10), PICTURE])
def test_body_parts_that_are_none_are_refused(viton, shape):
    for k in range(5):
        np.save(viton / "VITON_traindata" / "train_densepose" / f"{k:06d}_0.npy", np.full(shape, 99, np.uint8))
    with pytest.raises(InputError, match="holds no body parts"):
        load(viton).train.batch([(0, 0)])
