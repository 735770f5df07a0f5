"""What the wardrobe is drawn with: profiles, noise, coverage, texture look-ups. Float32 throughout.

Places are continuous and in heights of the picture (x to the right, y down, the picture's top at 0), so that a drawing
is the same at every size. Pixel (i, j) has its centre at ((j + 0.5) / H, (i + 0.5) / H).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]
Rng = np.random.Generator


class Profile:
    """A smooth function of one number, given by knots; constant beyond them. Fast on whole pictures."""

    _STEPS = 1024

    def __init__(self, knots: Sequence[tuple[float, float]], soft: float = 0.04) -> None:
        """``soft``: how far, in the argument's unit, corners are rounded."""
        x, y = np.asarray(knots, np.float64).T
        self._low, self._high = float(x[0]) - 2 * soft, float(x[-1]) + 2 * soft
        at = np.linspace(self._low, self._high, self._STEPS)
        table = np.interp(at, x, y)
        half = int(soft / (at[1] - at[0]))
        if half:
            kernel = np.hanning(2 * half + 3)[1:-1]
            table = np.convolve(np.pad(table, half, "edge"), kernel / kernel.sum(), "valid")
        self._table = table.astype(np.float32)
        self._steps = np.diff(self._table, append=self._table[-1])

    def __call__(self, x: Floats) -> Floats:
        """Values at ``x``, of its shape."""
        place = np.clip((x - np.float32(self._low)) * np.float32((self._STEPS - 1) / (self._high - self._low)), 0, None)
        place = np.minimum(place, np.float32(self._STEPS - 1))
        which = place.astype(np.int32)
        return self._table[which] + self._steps[which] * (place - which)

    def one(self, x: float) -> float:
        """The value at one place."""
        return float(self(np.float32([x]))[0])


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between; falling where ``low`` is above ``high``."""
    t = np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def inside(distance: Floats, pixel: float) -> Floats:
    """How much of a pixel is covered (0..1), from its centre's distance to an edge, positive inside.

    Args:
        pixel: its side, in the distance's unit.
    """
    return np.clip(distance * np.float32(1 / pixel) + np.float32(0.5), 0, 1)


def noise(
    rng: Rng,
    cells: tuple[float, float],
    size: tuple[int, int],
    angle: float = 0.0,
    window: tuple[slice, slice] | None = None,
) -> Floats:
    """Smooth noise of about unit variance, turned by ``angle``.

    Args:
        cells: wavelengths along the two (turned) axes, in heights of the picture.
        size: (height, width) in pixels; the same noise at every size of one shape.
        angle: radians, clockwise.
        window: rows and columns that are wanted; all.

    Returns:
        (height, width), or the window's size.
    """
    height, width = size
    reach = float(np.hypot(1.0, width / height))
    across, down = (max(4, int(np.ceil(reach / c)) + 4) for c in cells)
    grid = Image.fromarray(rng.standard_normal((down, across), np.float32))
    rows, columns = window or (slice(0, height), slice(0, width))
    top, left = rows.start, columns.start
    cos, sin = np.cos(angle), np.sin(angle)
    # picture pixel -> cell: turned about the middle of both; coarse noise is smooth enough to be made at half the size
    step = 2 if min(cells) * height > 12 else 1
    wide, high = -(-(columns.stop - left) // step), -(-(rows.stop - top) // step)
    a, b = cos / cells[0] / height, sin / cells[0] / height
    d, e = -sin / cells[1] / height, cos / cells[1] / height
    middle_x, middle_y = width / 2 - left, height / 2 - top
    c, f = across / 2 - a * middle_x - b * middle_y, down / 2 - d * middle_x - e * middle_y
    turned = (step * a, step * b, c, step * d, step * e, f)
    found = grid.transform((max(1, wide), max(1, high)), Image.Transform.AFFINE, turned, Image.Resampling.BICUBIC)
    if step > 1:
        found = found.resize((wide * step, high * step), Image.Resampling.BILINEAR)
    values = np.asarray(found)[: rows.stop - top, : columns.stop - left]
    return values * np.float32(1.45)  # between the cells bicubic noise has less variance


def blurred(mask: Floats, radius: float) -> Floats:
    """A mask (H, W) of 0..1, blurred by ``radius`` pixels."""
    picture = Image.fromarray((np.clip(mask, 0, 1) * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius)), np.float32) / 255


def sample(texture: Floats, x: Floats, y: Floats) -> Floats:
    """Bilinear look-up, the edge repeated.

    Args:
        texture: (h, w, C).
        x, y: (n,) in heights of the texture.

    Returns:
        (n, C).
    """
    height, width = texture.shape[:2]
    px = np.clip(x * np.float32(height) - np.float32(0.5), 0, width - np.float32(1.001))
    py = np.clip(y * np.float32(height) - np.float32(0.5), 0, height - np.float32(1.001))
    left, top = px.astype(np.int32), py.astype(np.int32)
    fx, fy = (px - left)[:, None], (py - top)[:, None]
    flat, first = texture.reshape(-1, texture.shape[2]), top * width + left
    upper = flat[first] * (1 - fx) + flat[first + 1] * fx
    lower = flat[first + width] * (1 - fx) + flat[first + width + 1] * fx
    return upper * (1 - fy) + lower * fy


def gradient(height: Floats) -> tuple[Floats, Floats]:
    """Slopes (along x, along y) of a height field, both in heights of the picture."""
    rows = np.float32(len(height))
    dy, dx = np.empty_like(height), np.empty_like(height)
    dy[1:-1], dy[0], dy[-1] = (height[2:] - height[:-2]) / 2, height[1] - height[0], height[-1] - height[-2]
    dx[:, 1:-1] = (height[:, 2:] - height[:, :-2]) / 2
    dx[:, 0], dx[:, -1] = height[:, 1] - height[:, 0], height[:, -1] - height[:, -2]
    return dx * rows, dy * rows
