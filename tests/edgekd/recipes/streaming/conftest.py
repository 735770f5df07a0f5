"""One tiny run on drawn streets and its bundles, made once, by the command line's own functions."""

from __future__ import annotations

import pytest

from edgekd.conversion.export import export
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
