"""Pictures for people: landmarks drawn over a face, and sheets of such pictures. Numpy and Pillow only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Contour = tuple[tuple[int, ...], bool]  # point numbers in order, and whether the line closes


def _run(first: int, last: int, closed: bool = False) -> Contour:
    return tuple(range(first, last + 1)), closed


#: The lines of a face by number of points: iBUG 68, WFLW 98, COFW 29 (which has no jaw line).
CONTOURS: Mapping[int, tuple[Contour, ...]] = {
    68: (
        _run(0, 16),
        _run(17, 21),
        _run(22, 26),
        _run(27, 30),
        _run(31, 35),
        _run(36, 41, closed=True),
        _run(42, 47, closed=True),
        _run(48, 59, closed=True),
        _run(60, 67, closed=True),
    ),
    98: (
        _run(0, 32),
        _run(33, 41, closed=True),
        _run(42, 50, closed=True),
        _run(51, 54),
        _run(55, 59),
        _run(60, 67, closed=True),
        _run(68, 75, closed=True),
        _run(76, 87, closed=True),
        _run(88, 95, closed=True),
    ),
    29: (
        ((0, 4, 2, 5), True),
        ((1, 6, 3, 7), True),
        ((8, 12, 10, 13), True),
        ((9, 14, 11, 15), True),
        ((18, 21, 19), False),
        ((22, 24, 23, 27), True),
        ((22, 25, 23, 26), True),
    ),
}

PREDICTION = (90, 255, 190)
REFERENCE = (255, 150, 60)
SHOWN_SIDE = 640  # px of the result's longer side; up to twice that where the picture has them
SUPERSAMPLING = 3
FACE_SHARE = 0.35  # a face smaller than this share of its picture is shown close up
CLOSE_UP = 1.7  # boxes wide


def draw_landmarks(
    picture: NDArray[np.uint8],
    boxes: Sequence[NDArray],
    points: Sequence[NDArray],
    references: Sequence[NDArray] | None = None,
) -> Image.Image:
    """A picture's faces with their contours drawn over them, large enough to be judged at a glance.

    Args:
        picture: (H, W, 3) uint8 RGB.
        boxes: (4,) each face's crop in px; faces small in a large picture are shown close up around them.
        points: (N, 2) px of each face; with 68, 98 or 29 points contours are drawn, otherwise dots.
        references: (N, 2) px of each face to compare with, drawn below in a second colour, without dots.
    """
    left, top, right, bottom = _view(picture, boxes)
    part = Image.fromarray(np.ascontiguousarray(picture[top:bottom, left:right]))
    longer = max(part.size)
    zoom = SHOWN_SIDE / longer if longer < SHOWN_SIDE else min(1.0, 2 * SHOWN_SIDE / longer)
    size = (max(1, round(part.width * zoom)), max(1, round(part.height * zoom)))
    shown = part.resize(size, Image.Resampling.BICUBIC)
    # The line's width follows the faces, not the picture: 1.5 px at a face of 300 px.
    face = zoom * min(float(longer), *(float((box[2:] - box[:2]).min()) for box in boxes))
    width = float(np.clip(face / 220, 1.0, 3.0))
    origin = np.array([left, top], np.float64)
    layers = [(REFERENCE, own, False) for own in references or ()]
    layers += [(PREDICTION, own, True) for own in points]
    lines = [
        (color, _lines(shown.size, (np.asarray(own, np.float64) - origin) * zoom, width, dots=dots))
        for color, own, dots in layers
        if np.isfinite(own).all()  # nothing sensible to draw otherwise; the untouched picture shows that
    ]
    # First every dark rim, which keeps lines visible on bright skin, then the lights: no line dims another.
    for _, core in lines:
        rim = core.filter(ImageFilter.GaussianBlur(width * 1.2)).point(lambda v: min(255, int(v * 0.9)))
        shown = Image.composite(Image.blend(shown, Image.new("RGB", size), 0.6), shown, rim)
    for color, core in lines:
        glow = core.filter(ImageFilter.GaussianBlur(width * 2.5)).point(lambda v: min(255, int(v * 0.7)))
        paint = Image.new("RGB", size, color)
        light = Image.composite(paint, Image.new("RGB", size), glow)
        shown = Image.composite(paint, ImageChops.screen(shown, light), core)
    return shown


def _view(picture: NDArray[np.uint8], boxes: Sequence[NDArray]) -> tuple[int, int, int, int]:
    """The whole picture, or the part around the faces where they would be too small to judge in it."""
    height, width = picture.shape[:2]
    low = np.min([box[:2] for box in boxes], axis=0).astype(float)
    high = np.max([box[2:] for box in boxes], axis=0).astype(float)
    side = float((high - low).max())
    if side >= FACE_SHARE * max(height, width):
        return 0, 0, width, height
    (x, y), reach = (low + high) / 2, side * CLOSE_UP / 2
    left, top = max(0, math.floor(x - reach)), max(0, math.floor(y - reach))
    return left, top, min(width, max(left + 1, math.ceil(x + reach))), min(height, max(top + 1, math.ceil(y + reach)))


def _lines(size: tuple[int, int], points: NDArray, width: float, *, dots: bool) -> Image.Image:
    """The contours, and a dot at each point, as an antialiased mask (mode L)."""
    mask = Image.new("L", (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING), 0)
    pen = ImageDraw.Draw(mask)
    scaled, thick = points * SUPERSAMPLING, width * SUPERSAMPLING
    for numbers, closed in CONTOURS.get(len(points), ()):
        line = _smooth(scaled[list(numbers)], closed)
        pen.line([tuple(p) for p in line], fill=215, width=max(1, round(thick)), joint="curve")
    if dots or len(points) not in CONTOURS:
        radius = thick * 1.15
        for x, y in scaled:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def _smooth(points: NDArray, closed: bool, steps: int = 8) -> NDArray:
    """A Catmull-Rom curve through the points."""
    ends = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    p = np.concatenate([ends[0], points, ends[1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    line = curve.transpose(1, 0, 2).reshape(-1, 2)
    return np.concatenate([line, points[:1] if closed else points[-1:]])


def contact_sheet(
    images: Sequence[Image.Image],
    columns: int,
    labels: Sequence[str] | None = None,
    *,
    cell: int = 256,
    gap: int = 6,
) -> Image.Image:
    """Pictures side by side, each fitted into a square cell, above its label where there are labels.

    Args:
        images: at least one.
        columns: in a row.
        labels: one per image; cut off where they are wider than the cell.
        cell, gap: px.

    Raises:
        ValueError: no images, or another number of labels.
    """
    if not images or columns < 1 or (labels is not None and len(labels) != len(images)):
        raise ValueError(f"{len(images)} images in {columns} columns, {len(labels or ())} labels")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    text_size = max(11, cell // 18)
    line = text_size + 8 if labels is not None else 0
    sheet = Image.new("RGB", (columns * (cell + gap) + gap, rows * (cell + line + gap) + gap), (18, 20, 24))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=text_size)
    for k, image in enumerate(images):
        x, y = gap + (k % columns) * (cell + gap), gap + (k // columns) * (cell + line + gap)
        zoom = cell / max(image.size)
        size = (max(1, round(image.width * zoom)), max(1, round(image.height * zoom)))
        fitted = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x + (cell - size[0]) // 2, y + (cell - size[1]) // 2))
        if labels is not None:
            text = labels[k]
            while text and pen.textlength(text, font=font) > cell:
                text = text[:-2] + "…" if len(text) > 2 else ""
            pen.text((x + cell / 2, y + cell + 3), text, font=font, fill=(225, 228, 232), anchor="ma")
    return sheet
