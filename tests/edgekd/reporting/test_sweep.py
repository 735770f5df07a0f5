from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgekd.errors import InputError
from edgekd.measuring.clock import Clocked
from edgekd.measuring.quality import Evaluation
from edgekd.reporting.sweep import check_output, draw_sweep

CLOCK = Clocked(
    latency="40 ms", latency_ms=40.0, samples=9, seen=5, metrics={"sap": 20.0},
    sweep=((16.7, 30.0), (33.3, 30.0), (50.0, 18.0), (66.7, 12.0)),
)  # fmt: skip
RESULT = Evaluation(
    artifact="a$b", target="openvino", precision="int8", samples=9, heldout="0" * 64, metrics={"sap": 31.0},
    units={"sap": "%"}, clock=CLOCK,
)  # fmt: skip


def test_the_curve_falls_in_the_picture(tmp_path):
    draw_sweep(RESULT, tmp_path / "sap.png")
    pixels = np.asarray(Image.open(tmp_path / "sap.png").convert("RGB"))
    below = len(pixels) // 3  # the legend
    rows, columns = np.nonzero((pixels[below:] == (31, 111, 235)).all(axis=2))
    left, right = (rows[columns == edge].mean() for edge in (columns.min(), columns.max()))
    assert right > left + 50


def test_what_cannot_be_drawn_is_said_before_anything_runs(tmp_path):
    with pytest.raises(InputError, match="--latency was not given"):
        check_output(tmp_path / "a.png", None, False)
    with pytest.raises(InputError, match=r"no \.png"):
        check_output(tmp_path / "a.svg", "33", False)
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match="exists"):
        check_output(tmp_path / "a.png", "33", False)
    check_output(tmp_path / "a.png", "33", True)
