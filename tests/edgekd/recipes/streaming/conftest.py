"""Clips of plain frames, and one tiny run on drawn streets with its bundles, made once."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.contracts import ImageSpec, IoSpec, TensorSpec
from edgekd.conversion.export import export
from edgekd.recipes.streaming.clips import Clip, MappedFrames
from edgekd.recipes.streaming.pipeline import Pipeline
from edgekd.training.distill import distill

SETTINGS = (
    "data.train=2",
    "data.val=1",
    "data.test=1",
    "data.frames=21",
    "student.input_height=72",
    "student.input_width=104",  # maps of 9x13, 5x7 and 3x4: none is twice the next
    "student.width=0.0625",
    "student.neck_blocks=1",
    "teacher.depth=0.33",
    "teacher.width=0.0625",
    "teacher.neck=drfpn",
    "teacher.neck_blocks=1",
    "teacher.epochs=1",
    "train.epochs=2",
    "train.batch_size=4",
    "train.learning_rate=0.05",
    "train.precision=fp32",
    "train.past_gradient=false",
)


def _clip(number=0, frames=6, size=(48, 30), ids=None, fps=30.0):
    """Frames that are their number everywhere, one box each that moves three px to the right per frame."""
    pictures = np.zeros((frames, size[1], size[0], 3), np.uint8)
    pictures += (10 * np.arange(frames, dtype=np.uint8) + 100 * number).astype(np.uint8)[:, None, None, None]
    boxes = [np.array([[2, 3 * k, 5, 3 * k + 10, 20]], np.float32) for k in range(frames)]
    return Clip(number, MappedFrames(pictures), np.arange(frames) if ids is None else np.array(ids), boxes, fps)


def _pipeline(width=96, height=64, places=4):
    spec = ImageSpec(color="BGR", scale=1.0)
    image = TensorSpec(name="image", shape=(1, 3, height, width), layout="NCHW", image=spec)
    past, after = (TensorSpec(name=name, shape=(1, 2)) for name in ("past", "next"))
    said = TensorSpec(name="predictions", shape=(1, places, 13))
    return Pipeline(IoSpec(inputs=(image, past), outputs=(said, after), state={"next": "past"}))


def _rows(*found):
    """(1, n, 13) of the network: (cx, cy, w, h, there, class) each."""
    made = np.zeros((1, len(found), 13), np.float32)
    for k, (cx, cy, w, h, there, kind) in enumerate(found):
        made[0, k, :5] = cx, cy, w, h, there
        made[0, k, 5 + kind] = 1.0
    return made


@pytest.fixture
def clips():
    return [_clip(0), _clip(1, frames=4)]


@pytest.fixture
def clip():
    return _clip


@pytest.fixture
def pipeline():
    return _pipeline


@pytest.fixture
def rows():
    return _rows


@pytest.fixture(scope="session")
def street_run(tmp_path_factory):
    return distill("streaming", tmp_path_factory.mktemp("street") / "run", settings=SETTINGS)


@pytest.fixture(scope="session")
def street_bundles(street_run, tmp_path_factory):
    """target -> the fp32 bundle."""
    found = {}
    for result in export(street_run.path, ("onnxruntime", "openvino"), "fp32", tmp_path_factory.mktemp("bundles")):
        if result.error is not None:
            raise result.error
        found[result.target] = result.path
    return found
