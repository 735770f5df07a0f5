"""A bundle in an app: open it, feed it pictures, use the points. Needs no torch.

python examples/predict.py bundles/lm-openvino
"""

from __future__ import annotations

import sys

import edgekd


def main(path: str) -> None:
    bundle = edgekd.open(path)  # every file is checked against the manifest
    vectors = bundle.vectors()["raw"]  # pictures that came with it; yours are {"image": uint8 HWC RGB, "box": ...}
    raw = {name: value[0] for name, value in vectors.items()}
    prediction = bundle.predict(raw)
    left, right = prediction["landmarks"][36], prediction["landmarks"][45]
    print(f"outer eye corners at {left.round(1)} and {right.round(1)} px")
    bundle.pipeline.draw([raw], [prediction]).save("prediction.png")


if __name__ == "__main__":
    main(*sys.argv[1:2])
