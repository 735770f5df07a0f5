from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.predict import predict
from edgekd.errors import InputError
from edgekd.recipes.landmarks import pipeline
from edgekd.storage import read_arrays, write_arrays


@pytest.fixture
def bundle(tiny_bundles):
    return tiny_bundles["onnxruntime"]


@pytest.fixture
def faces(monkeypatch):
    """``faces(n)``: what the detector finds in every picture."""

    def find(count):
        boxes = [np.array([10 + 40 * k, 10, 45 + 40 * k, 45], np.float32) for k in range(count)]
        monkeypatch.setattr(pipeline, "detector_installed", lambda: True)
        monkeypatch.setattr(pipeline, "find_faces", lambda picture: boxes)

    find(1)
    return find


def noise(seed, width=96, height=64):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(noise(0)).save(path)
    return path


def test_a_picture_of_two_faces_is_one_overlay_and_two_predictions(bundle, photo, faces, tmp_path):
    faces(2)
    results = predict(bundle, [str(photo)], tmp_path / "overlay.png", threads=1)
    assert [r["input"] for r in results] == ["photo.png face 1", "photo.png face 2"]
    points = [r["prediction"]["landmarks"] for r in results]
    assert all(p.shape == (68, 2) for p in points)
    assert points[1][:, 0].mean() - points[0][:, 0].mean() == pytest.approx(40, abs=10)
    drawn = np.asarray(Image.open(tmp_path / "overlay.png").convert("RGB"))
    assert drawn.shape[1] / drawn.shape[0] == pytest.approx(96 / 64, rel=0.05)


def test_a_prediction_is_the_bundles_own(bundle, photo, faces):
    (result,) = predict(bundle, [f"image={photo}"], threads=1)
    raw = {"image": noise(0), "box": np.array([10, 10, 45, 45], np.float32)}
    wanted = open_bundle(bundle, threads=1).predict(raw)["landmarks"]
    np.testing.assert_array_equal(result["prediction"]["landmarks"], wanted)


def test_a_box_given_by_hand_is_used_instead_of_the_detector(bundle, photo, faces):
    faces(2)
    (result,) = predict(bundle, [f"image={photo}", "box=20,20,60,60"], threads=1)
    raw = {"image": noise(0), "box": np.array([20, 20, 60, 60], np.float32)}
    wanted = open_bundle(bundle, threads=1).predict(raw)["landmarks"]
    np.testing.assert_array_equal(result["prediction"]["landmarks"], wanted)


def test_a_folder_becomes_a_folder_of_overlays_in_order(bundle, faces, tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for index, name in enumerate(("b.png", "a.jpg", "deep/c.png")):
        Image.fromarray(noise(index)).save(folder / name)
    told = []
    results = predict(
        bundle, [str(folder)], tmp_path / "drawn", threads=1, progress=lambda what, share: told.append(what)
    )
    labels = [r["input"] for r in results]
    assert sorted(labels) == ["a.jpg", "b.png", "deep/c.png"]
    drawn = sorted(p.name for p in (tmp_path / "drawn").iterdir())
    assert drawn == [f"{i:05d}-{label.replace('/', '-')}.png" for i, label in enumerate(labels)]
    assert all(Image.open(tmp_path / "drawn" / name).size[0] > 0 for name in drawn)
    assert told == labels


def test_many_pictures_do_not_fit_into_one(bundle, faces, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(noise(index)).save(folder / f"{index}.png")
    with pytest.raises(InputError, match="2 pictures do not fit into"):
        predict(bundle, [str(folder)], tmp_path / "one.png", threads=1)
    assert not (tmp_path / "one.png").exists()


@pytest.fixture
def video(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(index), format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_video_becomes_a_video_of_as_many_frames(bundle, video, faces, tmp_path):
    import av

    results = predict(bundle, [str(video)], tmp_path / "out.mp4", threads=1)
    assert [r["input"] for r in results] == [f"video.mp4 frame {k}" for k in range(5)]
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 5
    assert frames[0].shape[1] / frames[0].shape[0] == pytest.approx(96 / 64, rel=0.05)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "video.mp4"]


def test_two_faces_in_every_frame_are_still_one_frame_each(bundle, video, faces, tmp_path):
    import av

    faces(2)
    assert len(predict(bundle, [str(video)], tmp_path / "out.mp4", threads=1)) == 10
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


def test_a_video_keeps_its_rate(bundle, faces, tmp_path):
    import av

    with av.open(str(tmp_path / "slow.mp4"), "w") as container:
        stream = container.add_stream("h264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for seed in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(seed), format="rgb24")))
        container.mux(stream.encode())
    predict(bundle, [str(tmp_path / "slow.mp4")], tmp_path / "out.mp4", threads=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == 12


def test_a_forecast_is_drawn_on_the_picture_that_it_is_of(bundle, faces, tmp_path, monkeypatch):
    from edgekd.recipes.landmarks.pipeline import Pipeline

    shown = []

    def draw(self, raws, predictions, references=None):
        shown.append([int(p["of"]) for p in predictions])
        return Image.fromarray(raws[0]["image"])

    def postprocess(self, outputs, raw):
        return {"of": raw["image"][0, 0, 0]}

    monkeypatch.setattr(Pipeline, "draw", draw)
    monkeypatch.setattr(Pipeline, "postprocess", postprocess)
    monkeypatch.setattr(Pipeline, "forecasts", True, raising=False)
    monkeypatch.setattr(Pipeline, "restarts", lambda self, raw, before: raw["image"][0, 0, 0] == 3, raising=False)
    (tmp_path / "frames").mkdir()
    for k in range(5):
        Image.new("RGB", (96, 64), (k, k, k)).save(tmp_path / "frames" / f"{k}.png")
    predict(bundle, [str(tmp_path / "frames")], tmp_path / "drawn", threads=1)
    assert shown == [[], [0], [1], [], [3]]  # a sequence begins with frame 3
    shown.clear()
    predict(bundle, [str(tmp_path / "frames" / "2.png")], tmp_path / "one.png", threads=1)
    assert shown == [[2]]  # nothing comes after a single picture


def test_no_output_draws_nothing(bundle, photo, faces, tmp_path):
    assert len(predict(bundle, [str(photo)], threads=1)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["photo.png"]


def test_where_no_face_is_found_the_whole_picture_is_taken_and_said(bundle, photo, faces):
    faces(0)
    (result,) = predict(bundle, [str(photo)], threads=1)
    assert "whole picture" in result["input"]
    assert "no face found" in result["input"]


def test_an_input_given_twice_is_refused(bundle, photo):
    with pytest.raises(InputError, match="the input image is given twice"):
        predict(bundle, [str(photo), f"image={photo}"])


def test_an_output_that_is_no_picture_or_video_is_refused(bundle, photo, faces, tmp_path):
    with pytest.raises(InputError, match="cannot draw to"):
        predict(bundle, [str(photo)], tmp_path / "out.txt", threads=1)
    assert not (tmp_path / "out.txt").exists()


@pytest.fixture
def foreign(tiny_bundles, copy_of, reseal):
    return reseal(copy_of(tiny_bundles["onnxruntime"]), recipe=None)


def test_a_foreign_model_takes_arrays_and_gives_arrays(foreign, tmp_path):
    image = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
    write_arrays(tmp_path / "in.npz", {"image": image})
    (result,) = predict(foreign, [str(tmp_path / "in.npz")], tmp_path / "out.npz", threads=1)
    wanted = open_bundle(foreign, threads=1).session.run({"image": image})["landmarks"]
    np.testing.assert_array_equal(result["prediction"]["landmarks"], wanted)
    np.testing.assert_array_equal(read_arrays(tmp_path / "out.npz")["landmarks"], wanted)


def test_a_foreign_model_takes_no_picture(foreign, photo):
    with pytest.raises(InputError, match="is a foreign model"):
        predict(foreign, [str(photo)], threads=1)


def test_arrays_of_other_names_are_refused(foreign, tmp_path):
    write_arrays(tmp_path / "in.npz", {"picture": np.zeros((1, 3, 32, 32), np.float32)})
    with pytest.raises(InputError, match=r"the model takes \['image'\], not \['picture'\]"):
        predict(foreign, [str(tmp_path / "in.npz")], tmp_path / "out.npz", threads=1)
    assert not (tmp_path / "out.npz").exists()


def test_a_foreign_models_output_must_be_an_npz(foreign, tmp_path):
    write_arrays(tmp_path / "in.npz", {"image": np.zeros((1, 3, 32, 32), np.float32)})
    with pytest.raises(InputError, match=r"\.npz"):
        predict(foreign, [str(tmp_path / "in.npz")], tmp_path / "out.png", threads=1)
    assert not (tmp_path / "out.png").exists()
