"""From a person and a garment to the person in that garment: the same code in training, in the gates and on the device.

A raw item is ``person`` uint8 (H, W, 3), ``clothes`` uint8 (h, w, 3) and ``clothes_edge`` uint8 (h, w), above 127 where
the garment is. ``box`` (x0, y0, x1, y1) is the part of the photograph that is looked at, and ``mask`` (H, W), above 127
where the person is, puts the person on white, where the student has learnt to see people (B6). Numpy and Pillow only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from edgekd.contracts import Array, Arrays, ImageSpec, IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.pictures import Picture, check_box, crop
from edgekd.recipes.tryon import drawing
from edgekd.recipes.tryon.reading import read_items

__all__ = ["Pipeline"]

WHITE = np.uint8(255)
FEATHER = 1 / 200  # of the box's height: how softly a result is blended into its photograph
ROOM = 0.06  # of the person's height above and below, where a mask says where the person is


class Pipeline:
    """``contract.Pipeline`` of the try-on recipe; names, sizes and ranges come from the io spec.

    That is the spec of the whole model, or of one of its halves: of what is made of a garment once, or of what makes a
    picture of each frame, which is fed the person alone.

    Raises:
        InputError: the io spec is of another kind of model.
    """

    def __init__(self, io: IoSpec) -> None:
        self.inputs = tuple(t for t in io.inputs if t.name in ("person", "clothes", "clothes_edge"))
        self.outputs = tuple(t for t in io.outputs if t.name in ("tryon", "warped_cloth", "grid"))
        picture = next((t for t in self.inputs if t.image is not None), None)
        names = [t.name for t in self.inputs]
        if (
            picture is None
            or picture.image is None
            or ("person" in names and "tryon" not in [t.name for t in self.outputs])
        ):
            why = f"it takes {', '.join(t.name for t in io.inputs)} and gives {', '.join(t.name for t in io.outputs)}"
            raise InputError("this is no try-on model", why)
        height, width = picture.shape[2:] if picture.layout == "NCHW" else picture.shape[1:3]
        if isinstance(height, str) or isinstance(width, str):
            raise InputError(f"{picture.name} has no fixed size", f"its shape is {list(picture.shape)}")
        self.image: ImageSpec = picture.image
        self.size = (width, height)

    def read(self, inputs: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """See ``reading.read_items``."""
        return read_items(inputs)

    def preprocess(self, raw: Arrays) -> dict[str, Array]:
        """Crop to the box, white around the person where a mask is given, resize, normalise; the garment masked then.

        Raises:
            InputError: an array is missing, of another type or size, or a mask or the box is empty.
        """
        names, feeds = {t.name for t in self.inputs}, dict[str, Array]()
        if "person" in names:
            person, box = self._person(raw)
            mask = _mask(raw, "mask", person.shape[:2])
            if mask is not None:
                person = _mixed(np.full_like(person, WHITE), person, np.asarray(mask, np.float32)[..., None] / 255)
            feeds["person"] = self.image.normalized(self._resized(person, box))
        if "clothes" in names:
            clothes, edge = self._garment(raw)
            hard = (edge > 127).astype(np.float32)[..., None]
            # Masked after normalisation: around the garment is 0, which is mid-grey (B6).
            feeds |= {"clothes": self.image.normalized(clothes) * hard, "clothes_edge": hard}
        return {spec.name: _laid_out(feeds[spec.name], spec) for spec in self.inputs}

    def postprocess(self, outputs: Arrays, raw: Arrays) -> dict[str, Array]:
        """The whole photograph with the person in the garment, and what the student saw on the way.

        Returns:
            ``tryon`` uint8 (H, W, 3), the photograph's size; ``warped_cloth`` uint8 (h, w, 3) and ``grid`` float32
            (h, w, 2), x, y in -1..1 of the garment's picture (align_corners=True), at the student's size.
        """
        person, box = self._person(raw)
        result = self._picture(outputs, "tryon")
        x0, y0, x1, y1 = (int(v) for v in box)
        if (x1 - x0, y1 - y0) != self.size:
            result = np.asarray(Image.fromarray(result).resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC))
        pasted = person.copy()
        height, width = person.shape[:2]
        rows, columns = slice(max(0, y0), min(height, y1)), slice(max(0, x0), min(width, x1))
        part = result[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]
        mask = _mask(raw, "mask", (height, width))
        if mask is not None:
            soft = Image.fromarray(mask[rows, columns]).filter(ImageFilter.BoxBlur(FEATHER * (y1 - y0)))
            part = _mixed(person[rows, columns], part, np.asarray(soft, np.float32)[..., None] / 255)
        pasted[rows, columns] = part
        found = {"tryon": pasted, "warped_cloth": self._picture(outputs, "warped_cloth")}
        return {**found, "grid": self._channels_last(outputs, "grid").astype(np.float32)}

    def draw(
        self, raws: Sequence[Arrays], predictions: Sequence[Arrays], references: Sequence[Arrays] | None = None
    ) -> Image.Image:
        """The result itself."""
        return drawing.side_by_side([np.asarray(p["tryon"]) for p in predictions])

    def sheet(
        self, raws: Sequence[Arrays], predictions: Sequence[Arrays], references: Sequence[Arrays] | None = None
    ) -> Image.Image:
        """Person | garment | warped garment | result | truth, a row for each."""
        return drawing.sheet(raws, predictions, references)

    def _person(self, raw: Arrays) -> tuple[Picture, NDArray[np.int64]]:
        """The photograph, and the box in whole pixels, of the student's proportions."""
        person = _pixels(raw, "person")
        height, width = person.shape[:2]
        if "box" in raw:
            box = np.asarray(raw["box"])
            if box.shape != (4,) or box.dtype.kind not in "iuf":
                raise InputError(f"box is {box.dtype} {box.shape}", "it must be four numbers: x0, y0, x1, y1")
            check_box(box, width, height)
            return person, self._shaped(*(float(v) for v in box))
        mask = _mask(raw, "mask", (height, width))
        if mask is not None:
            rows, columns = (np.flatnonzero((mask > 127).any(axis)) for axis in (1, 0))
            room = ROOM * (rows[-1] + 1 - rows[0])
            return person, self._shaped(columns[0] - room, rows[0] - room, columns[-1] + 1 + room, rows[-1] + 1 + room)
        if (width, height) == self.size:
            return person, np.array([0, 0, width, height])
        wide = min(float(width), height * self.size[0] / self.size[1])
        high = wide * self.size[1] / self.size[0]
        left, top = (width - wide) / 2, (height - high) / 2
        return person, _whole(left, top, left + wide, top + high)

    def _shaped(self, x0: float, y0: float, x1: float, y1: float) -> NDArray[np.int64]:
        """The box grown about its middle to the student's proportions, in whole pixels."""
        ratio = self.size[0] / self.size[1]
        wide, high = max(x1 - x0, (y1 - y0) * ratio), max(y1 - y0, (x1 - x0) / ratio)
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        return _whole(cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2)

    def _garment(self, raw: Arrays) -> tuple[Picture, NDArray[np.uint8]]:
        """Picture and mask at the student's size, on white where the proportions differ."""
        clothes = _pixels(raw, "clothes")
        edge = _mask(raw, "clothes_edge", clothes.shape[:2])
        if edge is None:
            raise InputError("there is no clothes_edge", "what of the garment's picture is garment is not guessed")
        height, width = edge.shape
        wide, high = (
            max(width, round(height * self.size[0] / self.size[1])),
            max(height, round(width * self.size[1] / self.size[0])),
        )
        if (wide, high) != (width, height):
            left, top = (wide - width) // 2, (high - height) // 2
            pads = ((top, high - height - top), (left, wide - width - left))
            clothes = np.pad(clothes, (*pads, (0, 0)), constant_values=WHITE)
            edge = np.pad(edge, pads)
        whole = np.array([0, 0, wide, high])
        fitted = self._resized(clothes, whole), self._resized(edge, whole)
        if not (fitted[1] > 127).any():
            raise InputError(
                "the garment vanishes", f"its mask is empty at {self.size[0]}x{self.size[1]} px", "crop it"
            )
        return fitted

    def _resized(self, picture: Array, box: Array) -> Array:
        if picture.shape[1::-1] == self.size and tuple(box) == (0, 0, *self.size):
            return picture
        return crop(picture, box, self.size, self.image.resampler)

    def _channels_last(self, outputs: Arrays, name: str) -> Array:
        spec = next(t for t in self.outputs if t.name == name)
        value = np.asarray(outputs[name])[0]
        return value if spec.layout == "NHWC" else value.transpose(1, 2, 0)

    def _picture(self, outputs: Arrays, name: str) -> Picture:
        """-1..1, or whatever the io spec's pictures are normalised to, back to uint8 RGB."""
        return denormalized(self._channels_last(outputs, name), self.image)


def _laid_out(values: Array, spec: TensorSpec) -> Array:
    ordered = values if spec.layout == "NHWC" else values.transpose(2, 0, 1)
    return np.ascontiguousarray(ordered[None], dtype=spec.dtype)


def denormalized(values: Array, image: ImageSpec) -> Picture:
    """The inverse of ``ImageSpec.normalized``, rounded and clipped to uint8."""
    mean, std = np.asarray(image.mean, np.float32), np.asarray(image.std, np.float32)
    pixels = (np.nan_to_num(values.astype(np.float32)) * std + mean) / np.float32(image.scale)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _whole(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.int64]:
    left, top = round(x0), round(y0)
    return np.array([left, top, left + max(1, round(x1 - x0)), top + max(1, round(y1 - y0))])


def _mixed(below: Picture, above: Picture, share: NDArray[np.float32]) -> Picture:
    mixed = below + (above.astype(np.float32) - below) * share
    return np.rint(mixed).astype(np.uint8)


def _pixels(raw: Arrays, name: str) -> Picture:
    if name not in raw:
        raise InputError(f"there is no {name}", f"the sample has {', '.join(sorted(raw)) or 'nothing'}")
    picture = np.asarray(raw[name])
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise InputError(f"{name} is {picture.dtype} {picture.shape}", "it must be uint8 (height, width, 3), RGB")
    return picture


def _mask(raw: Arrays, name: str, size: tuple[int, ...]) -> NDArray[np.uint8] | None:
    if name not in raw:
        return None
    mask = np.asarray(raw[name])
    if mask.dtype != np.uint8 or mask.shape != tuple(size):
        raise InputError(f"{name} is {mask.dtype} {mask.shape}", f"it must be uint8 {tuple(size)}, as its picture")
    if not (mask > 127).any():
        raise InputError(f"{name} is empty", "no pixel of it is above 127", "255 is inside, 0 is not")
    return mask
