"""From a picture to landmarks and back: the same code in training, in the gates and on the device.

A raw item is ``{"image": uint8 (H, W, 3) RGB, "box": float32 (4,)}``; ``box`` is x0, y0, x1, y1 of the face's
crop in pixels of the picture, may exceed it, and is the whole picture where it is left out. Coordinates are
continuous: 0 is the left (top) edge of the first pixel. Numpy and Pillow only; dlib and PyAV where installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.contracts import Array, Arrays, ImageSpec, IoSpec
from edgekd.errors import InputError
from edgekd.pictures import Picture, check_box, crop, parse_box, pictures_at
from edgekd.recipes.landmarks import overlay
from edgekd.recipes.landmarks.detector import Box, detector_box, detector_installed, find_faces

__all__ = ["Pipeline", "detector_box"]


class Pipeline:
    """``contract.Pipeline`` of the landmarks recipe.

    Everything numeric comes from the io spec: the one input is a picture (layout NCHW or NHWC, ``image``
    set), the one output (1, 2N), interleaved x0, y0, x1, ..., each in crop widths (heights) from the crop's
    centre.

    Raises:
        InputError: the io spec is of another kind of model.
    """

    def __init__(self, io: IoSpec) -> None:
        pictures = [t for t in io.inputs if t.image is not None]
        if len(io.inputs) != 1 or len(pictures) != 1 or len(io.outputs) != 1:
            raise InputError("this is no landmark model", "it must have one picture as input, and one output")
        self.input, self.output = pictures[0], io.outputs[0]
        sizes = self.input.shape
        if len(sizes) != 4 or self.input.layout not in ("NCHW", "NHWC"):
            raise InputError(f"{self.input.name} has no picture's layout", f"{sizes} {self.input.layout!r}")
        height, width = (sizes[2], sizes[3]) if self.input.layout == "NCHW" else (sizes[1], sizes[2])
        if isinstance(height, str) or isinstance(width, str):
            raise InputError(f"{self.input.name} has no fixed size", f"its shape is {list(sizes)}")
        self.size: tuple[int, int] = (width, height)
        assert self.input.image is not None
        self.image: ImageSpec = self.input.image

    def read(self, inputs: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """(label, raw) items of ``image=PATH``: a picture, a folder of them, or a video, decoded while read.

        With ``box=x0,y0,x1,y1`` that crop is used everywhere. Without, dlib finds the faces, one item each;
        where it is not installed or finds none, the item is the whole picture and its label says so.

        Raises:
            InputError: unknown names, missing or unreadable files (at once for a path, when reached for a
                folder's or video's content).
            MachineError: a video, and PyAV is not installed.
        """
        if "image" not in inputs or set(inputs) - {"image", "box"}:
            raise InputError(
                f"unknown inputs: {', '.join(sorted(inputs)) or 'none'}",
                "this student takes image=PATH and, if you like, box=x0,y0,x1,y1",
                "edgekd predict BUNDLE image=photo.jpg --out overlay.png",
            )
        box = parse_box(inputs["box"]) if "box" in inputs else None
        return self._items(pictures_at(Path(inputs["image"])), box)

    def _items(self, named: Iterator[tuple[str, Picture]], box: Box | None) -> Iterator[tuple[str, dict[str, Any]]]:
        for label, picture in named:
            height, width = picture.shape[:2]
            if box is not None:
                check_box(box, width, height)
                yield label, {"image": picture, "box": box}
                continue
            boxes = find_faces(picture) if detector_installed() else []
            for k, found in enumerate(boxes):
                yield label if len(boxes) == 1 else f"{label} face {k + 1}", {"image": picture, "box": found}
            if not boxes:
                why = "no face found" if detector_installed() else "no face detector installed"
                yield f"{label} [whole picture: {why}]", {"image": picture, "box": whole_picture(picture)}

    def preprocess(self, raw: Arrays) -> dict[str, Array]:
        """Crops, resizes and normalises: ``(pixel * scale - mean) / std``, with a batch axis of 1.

        Raises:
            InputError: the picture is not uint8 (H, W, 3), or the box cannot be cropped.
        """
        picture, box = _picture_and_box(raw)
        pixels = crop(picture, box, self.size, self.image.resampler)
        values = self.image.normalized(pixels)
        if self.input.layout == "NCHW":
            values = values.transpose(2, 0, 1)
        return {self.input.name: np.ascontiguousarray(values[None], dtype=self.input.dtype)}

    def postprocess(self, outputs: Arrays, raw: Arrays) -> dict[str, Array]:
        """Crop coordinates (1, 2N) to ``{"landmarks": (N, 2) float32}`` in pixels of the raw picture."""
        _, box = _picture_and_box(raw)
        points = np.asarray(outputs[self.output.name], np.float64).reshape(-1, 2)
        low, high = np.asarray(box[:2], np.float64), np.asarray(box[2:], np.float64)
        return {"landmarks": ((low + high) / 2 + points * (high - low)).astype(np.float32)}

    def draw(
        self, raws: Sequence[Arrays], predictions: Sequence[Arrays], references: Sequence[Arrays] | None = None
    ) -> Image.Image:
        """One picture's faces, predictions as green contours and references (the teacher's) thinner, in orange."""
        pictures, boxes = zip(*map(_picture_and_box, raws), strict=True)
        points = [np.asarray(p["landmarks"]) for p in predictions]
        others = None if references is None else [np.asarray(r["landmarks"]) for r in references]
        return overlay.draw_landmarks(pictures[0], boxes, points, others)


def whole_picture(picture: Picture) -> Box:
    """The box that is the picture."""
    return np.array([0, 0, picture.shape[1], picture.shape[0]], np.float32)


def _picture_and_box(raw: Arrays) -> tuple[Picture, NDArray]:
    if "image" not in raw:
        raise InputError("there is no image", f"the sample has {', '.join(sorted(raw)) or 'nothing'}")
    picture = np.asarray(raw["image"])
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f"image is {picture.dtype} {picture.shape}", "it must be uint8 (height, width, 3), RGB")
    box = np.asarray(raw["box"]) if "box" in raw else whole_picture(picture)
    if box.shape != (4,) or box.dtype.kind not in "iuf":
        raise InputError(f"box is {box.dtype} {box.shape}", "it must be four numbers: x0, y0, x1, y1")
    return picture, box.astype(np.float32)
