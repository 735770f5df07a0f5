"""Pictures of try-ons: the result, and sheets that show how it came about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.contracts import Arrays

GAP = 4  # px between the pictures of a sheet
PAPER = 255


def side_by_side(pictures: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """(H, W, 3) pictures from left to right, as high as the first."""
    drawn = [Image.fromarray(picture) for picture in pictures]
    if len(drawn) == 1:
        return drawn[0]
    high = drawn[0].height
    fitted = [_of_height(picture, high) for picture in drawn]
    sheet = Image.new("RGB", (sum(p.width for p in fitted) + GAP * (len(fitted) - 1), high), (PAPER,) * 3)
    left = 0
    for picture in fitted:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet


def _of_height(picture: Image.Image, high: int) -> Image.Image:
    if picture.height == high:
        return picture
    return picture.resize((max(1, round(picture.width * high / picture.height)), high), Image.Resampling.BICUBIC)


def sheet(raws: Sequence[Arrays], predictions: Sequence[Arrays], references: Sequence[Arrays] | None) -> Image.Image:
    """Person | garment | warped garment | result | truth, a row for each sample; no truth where there is none."""
    rows = []
    for k, (raw, prediction) in enumerate(zip(raws, predictions, strict=True)):
        edge = np.asarray(raw["clothes_edge"])[..., None] > 127
        garment = np.where(edge, np.asarray(raw["clothes"]), np.uint8(PAPER))
        row = [
            np.asarray(raw["person"]),
            garment,
            np.asarray(prediction["warped_cloth"]),
            np.asarray(prediction["tryon"]),
        ]
        if references is not None:
            row.append(np.asarray(references[k]["tryon"]))
        rows.append(side_by_side(row))
    whole = Image.new(
        "RGB", (max(r.width for r in rows), sum(r.height for r in rows) + GAP * (len(rows) - 1)), (PAPER,) * 3
    )
    top = 0
    for row_picture in rows:
        whole.paste(row_picture, (0, top))
        top += row_picture.height + GAP
    return whole
