"""Boxes drawn over a frame, for people. Numpy and Pillow only."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgekd.contracts import Arrays
from edgekd.recipes.streaming.classes import CLASSES

SHOWN = 0.3  # score from which a box is drawn
LEAST_WIDTH = 640  # px of the drawn picture
WHITE = (255, 255, 255)
COLORS = tuple(
    tuple(round(255 * c) for c in colorsys.hsv_to_rgb((0.02 + k * 0.382) % 1.0, 0.62, 1.0)) for k in range(len(CLASSES))
)


def draw_boxes(picture: NDArray[np.uint8], prediction: Arrays | None, reference: Arrays | None = None) -> Image.Image:
    """A frame with boxes (n, 5) class, x0, y0, x1, y1 px; those with scores from ``SHOWN``; references in white."""
    zoom = max(1, -(-LEAST_WIDTH // picture.shape[1]))
    shown = Image.fromarray(picture).resize(
        (picture.shape[1] * zoom, picture.shape[0] * zoom), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(shown)
    width = max(2, round(shown.width / 480))
    font = ImageFont.load_default(size=max(10, round(shown.width / 64)))
    if reference is not None:
        for _, *corners in _shown(reference):
            draw.rectangle([c * zoom for c in corners], outline=WHITE, width=max(1, width // 2))
    for kind, *corners in reversed(_shown(prediction) if prediction is not None else []):
        x0, y0, x1, y1 = (c * zoom for c in corners)
        color = COLORS[int(kind)]
        draw.rectangle([x0, y0, x1, y1], outline=color, width=width)
        if x1 - x0 > 5 * width:
            label = CLASSES[int(kind)].replace("_", " ")
            left, top, right, bottom = draw.textbbox((x0 + 2, y0), label, font=font, anchor="lb")
            if top < 0:
                left, top, right, bottom = draw.textbbox((x0 + 2, y0 + 2), label, font=font, anchor="lt")
            draw.rectangle([left - 2, top - 1, right + 2, bottom + 1], fill=color)
            draw.text((left, top), label, fill=(20, 20, 24), font=font, anchor="lt")
    return shown


def strip(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size in two columns, in reading order."""
    width, height = pictures[0].size
    rows, gap = -(-len(pictures) // 2), max(2, width // 160)
    sheet = Image.new("RGB", (2 * width + gap, rows * (height + gap) - gap), WHITE)
    for k, picture in enumerate(pictures):
        sheet.paste(picture, ((k % 2) * (width + gap), (k // 2) * (height + gap)))
    return sheet


def _shown(boxes: Arrays) -> list[list[float]]:
    found = np.asarray(boxes["boxes"], np.float64)
    if "scores" in boxes:
        found = found[np.asarray(boxes["scores"]) >= SHOWN]
    return [row for row in found.tolist() if row[0] >= 0]
