from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.contract import Forecasts, Sequences
from edgekd.recipes.streaming.pipeline import CANDIDATES, GREY, MOST, Pipeline, letterbox


def raw(width=192, height=96, sequence=0, frame=0):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return {"image": image, "sequence": np.int64(sequence), "frame": np.int64(frame)}


# --- before


def test_the_network_is_fed_bgr_from_0_to_255_in_the_upper_left_and_grey_beside_it(pipeline):
    own = raw()
    (fed,) = pipeline().preprocess(own).values()
    assert (fed.shape, fed.dtype) == ((1, 3, 64, 96), np.float32)
    halves = own["image"].reshape(48, 2, 96, 2, 3).astype(float).mean((1, 3))
    assert np.abs(fed[0, :, :48].transpose(1, 2, 0)[:, :, ::-1] - halves).max() <= 0.5  # whole squares of pixels
    assert (fed[0, :, 48:] == GREY).all()
    assert fed.flags.c_contiguous


def test_state_is_nothing_to_a_pipeline(pipeline):
    assert list(pipeline().preprocess(raw())) == ["image"]


def test_a_picture_of_the_networks_size_is_not_touched():
    picture = raw(96, 64)["image"]
    assert letterbox(picture, (96, 64)) is picture


def test_another_kind_of_picture_or_model_is_refused(pipeline):
    with pytest.raises(InputError, match="must be uint8"):
        pipeline().preprocess({"image": np.zeros((4, 4), np.float32)})
    output = TensorSpec(name="y", shape=(1, 10))
    with pytest.raises(InputError, match="no streaming detector"):
        Pipeline(IoSpec(inputs=(TensorSpec(name="x", shape=(1, 3)),), outputs=(output,)))


# --- sequences


def test_a_new_sequence_and_a_gap_clear_the_state_and_the_next_frame_does_not(pipeline):
    own = pipeline()
    assert isinstance(own, Sequences)
    assert isinstance(own, Forecasts)
    assert not own.restarts(raw(frame=4), raw(frame=3))
    assert own.restarts(raw(frame=4), None)
    assert own.restarts(raw(frame=5), raw(frame=3))
    assert own.restarts(raw(frame=4, sequence=1), raw(frame=3))
    assert own.restarts({"image": raw()["image"]}, raw(frame=3))


# --- after


def found(pipeline, rows, **size):
    return pipeline.postprocess({"predictions": rows, "next": np.zeros((1, 2))}, raw(**size))


def test_boxes_are_in_px_of_the_raw_picture_and_cut_off_at_its_edges(pipeline, rows):
    said = found(pipeline(), rows((20, 10, 10, 8, 0.9, 2), (90, 40, 20, 30, 0.5, 0)))
    assert said["boxes"].tolist() == [[2, 30, 12, 50, 28], [0, 160, 50, 192, 96]]
    assert said["scores"].tolist() == pytest.approx([0.9, 0.5])
    assert (int(said["sequence"]), int(said["frame"])) == (0, 0)


def test_a_score_is_whether_there_is_anything_times_the_class(pipeline, rows):
    said = rows((20, 10, 10, 8, 0.5, 2), (60, 10, 10, 8, 0.015, 3))
    said[0, 0, 5 + 4] = 0.4
    said[0, 0, 5 + 2] = 0.3
    said[0, 1, 5:] *= 0.5  # 0.0075: too little
    only = found(pipeline(), said)
    assert only["boxes"][:, 0].tolist() == [4]
    assert only["scores"].tolist() == pytest.approx([0.2])


def test_one_box_stays_of_those_of_a_class_that_overlap(pipeline, rows):
    same = [(20, 10, 10, 8, 0.9, 2), (20.5, 10, 10, 8, 0.95, 2), (20, 10, 10, 8, 0.7, 5)]
    assert found(pipeline(), rows(*same))["boxes"][:, 0].tolist() == [2, 5]
    assert found(pipeline(), rows(*same))["scores"].tolist() == pytest.approx([0.95, 0.7])


def test_a_hundred_boxes_at_most_and_none_that_is_no_number(pipeline, rows):
    grid = [(4 + 3 * (k % 30), 2 + 3 * (k // 30), 2, 2, 0.1 + k / 2000, k % 8) for k in range(600)]
    said = found(pipeline(), rows(*grid))
    assert len(said["boxes"]) == MOST < CANDIDATES
    assert said["scores"].tolist() == sorted(said["scores"].tolist(), reverse=True)
    assert said["scores"][0] == pytest.approx(0.1 + 599 / 2000)
    assert len(found(pipeline(), rows((20, 10, np.inf, 8, 0.9, 2), (20, 10, np.nan, 8, 0.9, 2)))["boxes"]) == 0


def test_nothing_is_an_empty_prediction(pipeline, rows):
    said = found(pipeline(), rows((20, 10, 10, 8, 0.001, 2)))
    assert (said["boxes"].shape, said["scores"].shape) == ((0, 5), (0,))


# --- reading


def frames(folder, *sizes):
    folder.mkdir()
    for k, size in enumerate(sizes):
        Image.new("RGB", size, (k, k, k)).save(folder / f"{k:03d}.png")
    return folder


def test_a_folder_is_one_sequence_in_the_order_of_its_names(pipeline, tmp_path):
    read = list(pipeline().read({"image": str(frames(tmp_path / "f", (8, 6), (8, 6), (8, 6)))}))
    assert [label for label, _ in read] == ["000.png", "001.png", "002.png"]
    assert [(int(r["sequence"]), int(r["frame"]), int(r["image"][0, 0, 0])) for _, r in read] == [
        (0, 0, 0), (0, 1, 1), (0, 2, 2),
    ]  # fmt: skip


def test_frames_that_change_their_size_are_refused_when_reached(pipeline, tmp_path):
    items = pipeline().read({"image": str(frames(tmp_path / "f", (8, 6), (8, 6), (6, 8)))})
    next(items), next(items)
    with pytest.raises(InputError) as error:
        next(items)
    assert "002.png is 6x8 px, the frames before it 8x6" in str(error.value)


def write_video(path, count=12, **options):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 1
        for k in range(count):
            noise = np.random.default_rng(k).integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_videos_frames_are_numbered(pipeline, tmp_path):
    read = list(pipeline().read({"image": str(write_video(tmp_path / "v.avi"))}))
    assert [int(r["frame"]) for _, r in read] == list(range(12))
    assert read[3][0] == "v.avi frame 3"
    assert read[0][1]["image"].shape == (48, 64, 3)


def test_a_video_that_ends_in_the_middle_of_a_frame_gives_the_whole_ones(pipeline, tmp_path):
    path = write_video(tmp_path / "v.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    read = list(pipeline().read({"image": str(path)}))
    assert 4 <= len(read) < 12


def test_other_inputs_are_refused_with_what_is_taken(pipeline, tmp_path):
    with pytest.raises(InputError, match="unknown inputs: video"):
        next(pipeline().read({"video": "x.mp4"}))
    with pytest.raises(InputError, match="does not exist"):
        next(pipeline().read({"image": str(tmp_path / "none")}))


# --- drawing


def test_boxes_likelier_than_not_worth_showing_are_drawn_and_the_truth_in_white(pipeline):
    own = {"image": np.zeros((96, 192, 3), np.uint8)}
    boxes = np.array([[2, 20, 20, 60, 60], [3, 100, 20, 140, 60]], np.float32)
    drawn = np.asarray(pipeline().draw([own], [{"boxes": boxes, "scores": np.array([0.9, 0.05])}]))
    zoom = drawn.shape[1] // 192
    assert zoom >= 1
    assert drawn[:, : 80 * zoom].any()
    assert not drawn[:, 90 * zoom :].any()
    truth = {"boxes": np.array([[3, 100, 20, 140, 60], [-1, 0, 0, 0, 0]], np.float32)}
    both = np.asarray(pipeline().draw([own], [{"boxes": boxes[:0], "scores": np.zeros(0)}], [truth]))
    assert both[40 * zoom, 100 * zoom].tolist() == [255, 255, 255]
    assert not both[: 10 * zoom].any()


def test_before_anything_is_forecast_the_frame_alone_is_drawn(pipeline):
    assert not np.asarray(pipeline().draw([{"image": np.zeros((96, 192, 3), np.uint8)}], [])).any()


def test_a_strip_shows_each_forecast_on_the_frame_that_it_is_of(pipeline):
    raws = [{"image": np.full((50, 640, 3), 20 * k, np.uint8)} for k in range(3)]
    said = [{"boxes": np.array([[0, 9, 9, 20, 20]], np.float32), "scores": np.ones(1)}] * 3
    strip = np.asarray(pipeline().sheet(raws, said))
    assert strip.shape[1] == 2 * 640 + 4
    assert (strip[45, 300].tolist(), strip[45, 1200].tolist()) == ([20] * 3, [40] * 3)
    assert pipeline().sheet(raws[:1], said[:1]).size == (640, 50)
