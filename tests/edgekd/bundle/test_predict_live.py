"""A video goes through the live graph, prepared once; through a student with state frame after frame."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import edgekd
from edgekd.bundle.live import Live
from edgekd.bundle.predict import predict
from edgekd.conversion.export import export
from edgekd.run import open_run
from edgekd.storage import write_arrays


@pytest.fixture
def video(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "person.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(5):
            pixels = np.random.default_rng(index).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def garment(tmp_path):
    rng = np.random.default_rng(0)
    for name, shape in (("clothes", (20, 20, 3)), ("edge", (20, 20))):
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    return [f"clothes={tmp_path / 'clothes.png'}", f"clothes_edge={tmp_path / 'edge.png'}"]


@pytest.fixture
def prepared(monkeypatch):
    """How often a live graph was prepared."""
    counted, prepare = [], Live.prepare
    monkeypatch.setattr(Live, "prepare", lambda self, feeds: counted.append(1) or prepare(self, feeds))
    return counted


def test_a_video_of_a_person_prepares_the_garment_once_and_says_what_main_says(
    video, garment, prepared, mirror, mirror_bundles, tmp_path
):
    path = mirror_bundles["onnxruntime"]
    results = predict(path, [f"person={video}", *garment], tmp_path / "out.mp4", threads=1)
    assert len(results) == 5
    assert len(prepared) == 1
    bundle = edgekd.open(path, threads=1)
    named = {"person": str(video), **dict(text.split("=", 1) for text in garment)}
    for result, (_, raw) in zip(results, bundle.pipeline.read(named), strict=True):
        np.testing.assert_allclose(result["prediction"]["tryon"], bundle.predict(raw)["tryon"], atol=1e-5)
    assert (tmp_path / "out.mp4").stat().st_size > 0


def test_a_picture_of_a_person_runs_main(garment, prepared, mirror, mirror_bundles, tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "p.png")
    (result,) = predict(mirror_bundles["onnxruntime"], [f"person={tmp_path / 'p.png'}", *garment], threads=1)
    assert result["prediction"]["tryon"].shape == (16, 16, 3)
    assert not prepared


def test_frames_of_a_student_with_state_are_predicted_in_order(stream, stream_run, tmp_path):
    (exported,) = export(stream_run, ["onnxruntime"], "fp32", tmp_path / "bundles")
    raws = open_run(stream_run).heldout().raws()[:20]
    write_arrays(tmp_path / "frames.npz", {name: np.stack([raw[name] for raw in raws]) for name in raws[0]})
    found = predict(exported.path, [str(tmp_path / "frames.npz")], threads=1)
    bundle = edgekd.open(exported.path, threads=1)
    wanted = [bundle.predict(raw)["y"] for raw in raws]
    np.testing.assert_array_equal(np.stack([r["prediction"]["y"] for r in found]), np.stack(wanted))
    assert len({tuple(np.round(y, 5)) for y in wanted}) == 20
