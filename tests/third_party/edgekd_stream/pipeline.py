from pathlib import Path

import numpy as np

from edgekd.storage import read_arrays


class Pipeline:
    """A raw sample is ``image`` (H, W, 3) uint8 and ``frame``, the numbers of its video and of the frame in it."""

    def __init__(self, io):
        self.io = io

    def read(self, inputs):
        (path,) = inputs.values()
        for image, frame in zip(*read_arrays(Path(path)).values(), strict=True):
            yield f"{path} [{frame[0]}, {frame[1]}]", {"image": image, "frame": frame}

    def preprocess(self, raw):
        (spec,) = self.io.fed
        return {spec.name: np.ascontiguousarray(raw["image"].transpose(2, 0, 1)[None], np.float32) / 255}

    def postprocess(self, outputs, raw):
        return {"y": outputs["y"][0]}

    def restarts(self, raw, before):
        if before is None:
            return True
        (video, frame), (video_before, frame_before) = raw["frame"], before["frame"]
        return bool(video != video_before or frame != frame_before + 1)
