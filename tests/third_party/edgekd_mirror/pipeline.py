from pathlib import Path

import numpy as np
from PIL import Image

from edgekd.pictures import is_video, read_picture, video_frames


class Pipeline:
    """A raw sample is ``person`` and ``clothes`` (H, W, 3), ``clothes_edge`` (H, W), uint8."""

    def __init__(self, io):
        self.io = io

    def read(self, inputs):
        path = Path(inputs["person"])
        fixed = {name: read_picture(Path(inputs[name])) for name in ("clothes", "clothes_edge")}
        fixed["clothes_edge"] = fixed["clothes_edge"][:, :, 0]
        persons = (frame for frame, _ in video_frames(path)) if is_video(path) else [read_picture(path)]
        for index, person in enumerate(persons):
            yield f"{path} [{index}]", {"person": person, **fixed}

    def preprocess(self, raw):
        feeds = {}
        for spec in self.io.fed:
            size = spec.shape[3], spec.shape[2]
            image = np.asarray(Image.fromarray(raw[spec.name]).resize(size), np.float32) / 255
            feeds[spec.name] = np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1)[None])
        return feeds

    def postprocess(self, outputs, raw):
        return {"tryon": outputs["tryon"][0].transpose(1, 2, 0)}

    def draw(self, raws, predictions, references=None):
        return Image.fromarray((255 * np.clip(predictions[0]["tryon"], 0, 1)).astype(np.uint8)).resize((32, 32))
