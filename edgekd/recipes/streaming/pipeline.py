"""From a frame to the boxes of the next one and back: the same code in training, in the gates and on the device.

A raw item is ``{"image": uint8 (H, W, 3) RGB, "sequence": int64 (), "frame": int64 ()}``; without the last two it
stands alone. A prediction is ``{"boxes": (n, 5) float32, "scores": (n,) float32, "sequence", "frame"}``, boxes as
class, x0, y0, x1, y1 in pixels of the raw picture, best first: those of the frame *after* the one that was seen.
Numpy and Pillow only; PyAV for videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.contracts import Array, Arrays, IoSpec
from edgekd.errors import InputError
from edgekd.pictures import FILTERS, Picture, pictures_at
from edgekd.recipes.streaming import drawing
from edgekd.recipes.streaming.classes import CLASSES
from edgekd.recipes.streaming.nms import suppressed

CONFIDENCE = 0.01  # the authors' settings (A4)
OVERLAP = 0.65
MOST = 100  # boxes of one picture
CANDIDATES = 1000  # that go into the suppression at most, best first
GREY = 114


def fit(size: tuple[int, int], into: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """Scale at which a picture of ``size`` (width, height) fits, and its size then (A3)."""
    ratio = min(into[0] / size[0], into[1] / size[1])
    return ratio, (max(1, int(size[0] * ratio)), max(1, int(size[1] * ratio)))


def letterbox(picture: Picture, into: tuple[int, int], resampler: str = "bilinear") -> Picture:
    """The picture in the upper left of (width, height), resized with its proportions, the rest grey (A3).

    What is twice as large or more is first averaged over whole squares of pixels: at exactly twice the size that is
    what OpenCV's bilinear filter does, and an eighth of the time.
    """
    height, width = picture.shape[:2]
    if (width, height) == into:
        return picture
    _, size = fit((width, height), into)
    resized = np.asarray(Image.fromarray(picture).resize(size, FILTERS[resampler], reducing_gap=1.0))
    if size == into:
        return resized
    canvas = np.full((into[1], into[0], 3), GREY, np.uint8)
    canvas[: size[1], : size[0]] = resized
    return canvas


class Pipeline:
    """``contract.Pipeline`` and ``contract.Forecasts`` of the streaming recipe.

    Of the io spec's inputs one is a picture (NCHW); what else is an input or output is state, but for one output:
    (1, A, 13), centre x, y, width and height in px of the input, whether there is anything, and eight classes 0..1.

    Raises:
        InputError: the io spec is of another kind of model.
    """

    forecasts = True
    sheet_samples = 5  # a strip of four: of the last one the picture alone is shown

    def __init__(self, io: IoSpec) -> None:
        pictures = [t for t in io.inputs if t.image is not None]
        given = [t for t in io.outputs if t.name not in io.state]
        if len(pictures) != 1 or len(given) != 1 or given[0].shape[-1] != 5 + len(CLASSES):
            raise InputError(
                "this is no streaming detector",
                f"it must have one picture as input, and one output of {5 + len(CLASSES)} numbers per place",
            )
        self.input, self.output = pictures[0], given[0]
        sizes = self.input.shape
        if len(sizes) != 4 or self.input.layout != "NCHW" or any(isinstance(n, str) for n in sizes):
            raise InputError(f"{self.input.name} has no picture's layout", f"{sizes} {self.input.layout!r}")
        self.size = (int(sizes[3]), int(sizes[2]))
        assert self.input.image is not None
        self.image = self.input.image

    def read(self, inputs: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """(label, raw) items of ``image=PATH``: a picture, a folder as one sequence, or a video.

        Of a video that ends in the middle of a frame the whole frames are given, if its container still opens.

        Raises:
            InputError: unknown names, missing or unreadable files, frames that change their size (when reached).
            MachineError: a video, and PyAV is not installed.
        """
        if set(inputs) != {"image"}:
            raise InputError(
                f"unknown inputs: {', '.join(sorted(inputs)) or 'none'}",
                "this student takes image=PATH: a picture, a folder of frames, or a video",
                "edgekd predict BUNDLE drive.mp4 --out boxes.mp4",
            )
        path = Path(inputs["image"])
        return _of_one_size(path, pictures_at(path))

    def restarts(self, raw: Arrays, before: Arrays | None) -> bool:
        """Another sequence, or frames that are missing: state is cleared."""
        if before is None or "sequence" not in raw or "sequence" not in before:
            return True
        return bool(raw["sequence"] != before["sequence"] or raw["frame"] != before["frame"] + 1)

    def preprocess(self, raw: Arrays) -> dict[str, Array]:
        """Resizes, pads and normalises, with a batch axis of 1.

        Raises:
            InputError: the picture is not uint8 (H, W, 3).
        """
        pixels = letterbox(_picture(raw), self.size, self.image.resampler)
        values = self.image.normalized(pixels).transpose(2, 0, 1)
        return {self.input.name: np.ascontiguousarray(values[None], dtype=self.input.dtype)}

    def postprocess(self, outputs: Arrays, raw: Arrays) -> dict[str, Array]:
        """The best boxes after suppression, class by class, in px of the raw picture, cut off at its edges."""
        height, width = _picture(raw).shape[:2]
        ratio, _ = fit((width, height), self.size)
        boxes, scores = detections(np.asarray(outputs[self.output.name])[0])
        boxes[:, 1:] /= np.float32(ratio)
        np.clip(boxes[:, 1:], 0, np.array([width, height, width, height], np.float32), out=boxes[:, 1:])
        about = {name: np.asarray(raw[name]) for name in ("sequence", "frame") if name in raw}
        return {"boxes": boxes, "scores": scores, **about}

    def draw(
        self, raws: Sequence[Arrays], predictions: Sequence[Arrays], references: Sequence[Arrays] | None = None
    ) -> Image.Image:
        """A frame with boxes over it, if there are any yet; references thinner, in white."""
        first = predictions[0] if predictions else None
        return drawing.draw_boxes(_picture(raws[0]), first, references[0] if references else None)

    def sheet(
        self, raws: Sequence[Arrays], predictions: Sequence[Arrays], references: Sequence[Arrays] | None = None
    ) -> Image.Image:
        """Frames that follow each other, each with the boxes that were forecast from the one before it."""
        if len(raws) == 1:
            return self.draw(raws, predictions, references)
        later = [
            drawing.draw_boxes(_picture(raw), said, references[k] if references else None)
            for k, (raw, said) in enumerate(zip(raws[1:], predictions, strict=False))
        ]
        return drawing.strip(later)


def detections(rows: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(A, 13) of the network to boxes (n, 5) class, x0, y0, x1, y1 in px of its input and scores (n,), best first.

    A place's score is whether there is anything, times its likeliest class (A4).
    """
    rows = rows[rows[:, 4] >= CONFIDENCE]  # a class is 1 at most: what is below here is below in the product
    kinds = rows[:, 5:].argmax(axis=1)
    scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + kinds]
    kept = np.flatnonzero(scores >= CONFIDENCE)
    order = kept[np.argsort(-scores[kept], kind="stable")][:CANDIDATES]
    centre, half = rows[order, :2].astype(np.float32), rows[order, 2:4].astype(np.float32) / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    sound = np.isfinite(boxes).all(axis=1)
    order, boxes = order[sound], boxes[sound]
    stay = suppressed(boxes, kinds[order], OVERLAP, MOST)
    found = np.concatenate([kinds[order[stay], None].astype(np.float32), boxes[stay]], axis=1)
    return found, scores[order[stay]].astype(np.float32)


def _picture(raw: Arrays) -> Picture:
    if "image" not in raw:
        raise InputError("there is no image", f"the sample has {', '.join(sorted(raw)) or 'nothing'}")
    picture = np.asarray(raw["image"])
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f"image is {picture.dtype} {picture.shape}", "it must be uint8 (height, width, 3), RGB")
    return picture


def _of_one_size(path: Path, named: Iterator[tuple[str, Picture]]) -> Iterator[tuple[str, dict[str, Any]]]:
    size: tuple[int, ...] = ()
    for k, (label, picture) in enumerate(named):
        if size and picture.shape != size:
            raise InputError(
                f"{label} is {picture.shape[1]}x{picture.shape[0]} px, the frames before it {size[1]}x{size[0]}",
                f"the frames of {path} are one sequence, and what was seen must be comparable with what is seen",
                "give each size as a sequence of its own",
            )
        size = picture.shape
        yield label, {"image": picture, "sequence": np.int64(0), "frame": np.int64(k)}
