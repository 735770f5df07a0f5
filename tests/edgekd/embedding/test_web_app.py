"""An app in the browser, clicked through in headless Chromium.

EDGEKD_WEB_MODULES names a ``node_modules`` with onnxruntime-web and playwright-core; Chromium and Node are found.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent


def _chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def clicked(app_of, tmp_path):
    """``clicked(recipe, plan, change)``: what the page of that recipe's app showed; see click_through.mjs."""
    modules = Path(os.environ.get("EDGEKD_WEB_MODULES", "nowhere"))
    if shutil.which("node") is None or _chromium() is None:
        pytest.skip("no Node or no Chromium")
    if not all((modules / name).is_dir() for name in ("onnxruntime-web", "playwright-core")):
        pytest.skip("EDGEKD_WEB_MODULES names no node_modules with onnxruntime-web and playwright-core")

    def click(recipe, plan, change=None):
        app = Path(shutil.copytree(app_of(recipe, "onnxruntime", "web"), tmp_path / "app"))
        (app / "node_modules").symlink_to(modules)
        if change:
            file, old, new = change
            text = (app / file).read_text(encoding="utf-8")
            assert old in text
            (app / file).write_text(text.replace(old, new), encoding="utf-8")
        (tmp_path / "bad.jpg").write_text("not a picture", encoding="utf-8")
        whole = {"chromium": _chromium(), "bad": str(tmp_path / "bad.jpg"), "screenshots": str(tmp_path), **plan}
        (tmp_path / "plan.json").write_text(json.dumps(whole), encoding="utf-8")
        command = ["node", str(HERE / "click_through.mjs"), str(app), str(tmp_path / "plan.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500)
        told = json.loads(done.stdout)
        assert "failed" not in told, told
        assert told["errors"] == []
        assert told["requests"] == [], "nothing but the app's own server is asked"
        return told

    return click


def _picture(path, size=(120, 90), alpha=False):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4 if alpha else 3), np.uint8)
    if alpha:
        pixels[..., 3] = 0
        pixels[20:70, 20:60, 3] = 255
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.mark.slow
def test_a_live_mesh_is_drawn_over_a_picture_and_a_camera(clicked, tmp_path):
    told = clicked("landmarks", {"files": {"image": _picture(tmp_path / "p.png")}, "camera": True})
    assert told["verified"] == "ok", told["checks"]
    assert "pre-processing, largest gap: 0.00" in told["checks"][0], "the same bits as Pillow's"
    assert "not a picture" in told["bad"]
    assert told["runtime"].startswith("SIMD")
    assert told["words"] == told["moving_words"] == "68 points"
    assert float(told["fps"]) > 0
    assert told["timed"]["p50_ms"] <= told["timed"]["p90_ms"]


@pytest.mark.slow
def test_two_pictures_are_one_result_and_no_camera_is_said(clicked, tmp_path):
    files = {"person": _picture(tmp_path / "p.png", (64, 96)), "clothes": _picture(tmp_path / "c.png", alpha=True)}
    told = clicked("tryon", {"files": files})
    assert told["verified"] == "ok", told["checks"]
    assert told["words"] == "64 x 96 px"
    assert "no camera" in told["no_camera"]


@pytest.mark.slow
def test_a_video_gets_forecast_boxes_without_threads_too(clicked, tmp_path):
    av = pytest.importorskip("av", reason="PyAV makes the video")
    with av.open(str(tmp_path / "drive.mp4"), "w") as film:
        stream = film.add_stream("h264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 208, 144, "yuv420p"
        for k in range(25):
            frame = np.full((144, 208, 3), 8 * k, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode())
    plan = {"files": {"image": _picture(tmp_path / "p.png")}, "video": str(tmp_path / "drive.mp4")}
    told = clicked("streaming", {**plan, "env": {"APP_NO_THREADS": "1"}})
    assert told["verified"] == "ok", told["checks"]
    assert told["runtime"] == "SIMD, 1 thread"
    assert "in the next frame" in told["moving_words"]


@pytest.mark.slow
def test_a_changed_constant_fails_and_a_browser_without_simd_is_told(clicked, tmp_path):
    plan = {"files": {"image": _picture(tmp_path / "p.png")}, "camera": True}
    told = clicked("landmarks", plan, ("config.js", '"color": "RGB"', '"color": "BGR"'))
    assert told["verified"] == "fail"
    shutil.rmtree(tmp_path / "app")
    told = clicked("landmarks", plan, ("graph.js", "WebAssembly.validate(SIMD)", "false"))
    assert "no WebAssembly SIMD" in told["start_error"]
