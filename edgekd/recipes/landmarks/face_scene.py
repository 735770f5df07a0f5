"""What is around a drawn head: background, neck, clothes, glasses, occluders, the camera's faults."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from edgekd.recipes.landmarks.face_head import Floats
from edgekd.recipes.landmarks.face_skin import Rng, noise


def _rgb(color: NDArray) -> tuple[int, int, int]:
    r, g, b = np.clip(color * 255, 0, 255).astype(int)
    return int(r), int(g), int(b)


def _color(rng: Rng) -> NDArray:
    """A colour of the world: mostly muted."""
    color = rng.uniform(0.03, 1.0, 3)
    return color.mean() + (color - color.mean()) * rng.beta(1.0, 1.8)


def background(rng: Rng, side: int) -> Image.Image:
    """Gradients, textures and clutter, more or less out of focus."""
    corners = _color(rng) * rng.uniform(0.5, 1.05, (2, 2, 1)) * rng.uniform(0.9, 1.1, (2, 2, 3))
    small = Image.fromarray((np.clip(corners, 0, 1) * 255).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BILINEAR
    )
    draw = ImageDraw.Draw(small)
    for _ in range(int(rng.choice([0, 3, 8, 16], p=[0.3, 0.3, 0.25, 0.15]))):
        x, y, w, h = rng.uniform((-0.2, -0.2, 0.03, 0.03), (1, 1, 0.6, 0.6)) * side
        color = _rgb(_color(rng))
        kind = rng.integers(4)
        if kind == 0:
            draw.ellipse((x, y, x + w, y + h), color)
        elif kind == 1:
            draw.line((x, y, x + (w - h) * 3, y + h * 2), color, int(1 + w / 12))
        else:
            draw.polygon([(x, y), (x + w, y + h * 0.1), (x + w * 0.9, y + h), (x - w * 0.1, y + h * 0.9)], color)
    if rng.random() < 0.7:
        small = small.filter(ImageFilter.BoxBlur(float(rng.uniform(0.5, 7)) * side / 192))
    if rng.random() < 0.5:
        cells = int(rng.integers(6, 70))
        grain = (1 + rng.uniform(0.05, 0.35) * noise(rng, cells, cells, (side, side)))[..., None]
        small = Image.fromarray(np.clip(np.asarray(small) * grain, 0, 255).astype(np.uint8))
    return small


def body(
    rng: Rng,
    picture: Image.Image,
    anchor: NDArray,
    down: NDArray,
    unit: float,
    skin: NDArray,
    hair: NDArray | None,
    fall: float,
) -> Image.Image:
    """Hair behind the neck, neck and clothes.

    Args:
        anchor: (2,) middle of the head at mouth height, pixels; ``down``: unit vector along the body.
        unit: pixels per half face width.
        skin, hair: lit colours, 0..1; no hair falls behind the neck where it is None.
        fall: how far it falls, half face widths.
    """
    across = np.array([down[1], -down[0]])

    def at(x: float, y: float) -> tuple[float, float]:
        px, py = anchor + unit * (x * across + y * down)
        return float(px), float(py)

    draw = ImageDraw.Draw(picture)
    if hair is not None:
        width = rng.uniform(0.98, 1.35)
        wave = rng.uniform(-0.1, 0.1, 8)
        left = [at(-width + wave[k], y) for k, y in enumerate(np.linspace(-1.6, fall - 1.0, 4))]
        right = [at(width + wave[4 + k], y) for k, y in enumerate(np.linspace(-1.6, fall - 1.0, 4))]
        draw.polygon(left + right[::-1], _rgb(hair * 0.55))
        for x in rng.uniform(-width, width, 26):
            draw.line(
                (*at(x * 0.9, -1.5), *at(x, fall - 1.05)),
                _rgb(hair * rng.uniform(0.4, 0.8)),
                max(1, int(unit * 0.03)),
            )
    wide = rng.uniform(0.50, 0.70)
    # The neck, darker towards the sides, in strips.
    strips = np.linspace(-1, 1, 17)
    mids = (strips[1:] + strips[:-1])[:, None] / 2
    tones = (0.78 - 0.3 * mids * mids + rng.uniform(-0.25, 0.25) * mids) * skin
    tops = anchor + unit * (wide * strips[:, None] * across - 0.4 * down)
    ends = anchor + unit * (1.08 * wide * strips[:, None] * across + 2.4 * down)
    for k, tone in enumerate(tones):
        draw.polygon([tuple(p) for p in (tops[k], tops[k + 1], ends[k + 1], ends[k])], _rgb(tone))
    shade = Image.new("L", picture.size, 0)
    ImageDraw.Draw(shade).polygon(
        [
            at(-wide - 0.05, -0.4),
            at(wide + 0.05, -0.4),
            at(wide * 0.8, 0.8),
            at(0, 1.05),
            at(-wide * 0.8, 0.8),
        ],
        150,
    )
    shade = shade.filter(ImageFilter.BoxBlur(unit * 0.09))
    neck = Image.new("L", picture.size, 0)
    ImageDraw.Draw(neck).polygon([at(-wide, -0.4), at(wide, -0.4), at(wide * 1.08, 2.4), at(-wide * 1.08, 2.4)], 255)
    picture.paste(_rgb(skin * np.array([0.42, 0.36, 0.35])), (0, 0), ImageChops.multiply(shade, neck))
    cloth = _color(rng)
    collar = rng.uniform(0.95, 1.45)
    dip = rng.uniform(0.05, 0.5)
    draw.polygon(
        [at(x, y) for x, y in (
            (-3, 2.0), (-1.6, collar + 0.25), (-wide * 1.05, collar), (0, collar + dip), (wide * 1.05, collar),
            (1.6, collar + 0.25), (3, 2.0), (3, 5), (-3, 5),
        )],
        _rgb(cloth),
    )  # fmt: skip
    if rng.random() < 0.5:
        draw.line(
            [at(-wide * 1.05, collar), at(0, collar + dip), at(wide * 1.05, collar)],
            _rgb(cloth * 0.6),
            max(1, int(0.06 * unit)),
        )
    return picture


def glasses(
    rng: Rng, picture: Image.Image, rims: list[list[NDArray]], temples: list[NDArray], unit: float
) -> Image.Image:
    """Frames and lenses: ``rims`` are two (n, 2) outlines for each shape to choose from, ``temples`` the (2, 2)
    lines of bridge and temples, in pixels."""
    dark = rng.random() < 0.18
    color = rng.choice(np.array([(0.05, 0.05, 0.06), (0.2, 0.1, 0.06), (0.5, 0.45, 0.4), (0.55, 0.1, 0.12)]))
    width = max(1.0, unit * rng.uniform(0.02, 0.075))
    over = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(over)
    pair = rims[int(rng.integers(len(rims)))]
    tint = (
        (*_rgb(rng.uniform(0.02, 0.12, 3)), int(rng.uniform(190, 250)))
        if dark
        else (*_rgb(np.array([0.85, 0.9, 0.95])), int(rng.uniform(0, 40)))
    )
    frame = (*_rgb(color), 255)
    for rim in pair:
        outline = [(float(x), float(y)) for x, y in rim]
        draw.polygon(outline, tint)
        draw.line([*outline, outline[0], outline[1]], frame, round(width), joint="curve")
        if rng.random() < 0.35:  # a reflection across the lens
            low, high = rim.min(0), rim.max(0)
            t = rng.uniform(0.1, 0.7)
            x = low[0] + t * (high[0] - low[0])
            draw.line(
                (x, high[1] - 2, x + 0.5 * (high[1] - low[1]), low[1] + 2),
                (255, 255, 255, int(rng.uniform(30, 130))),
                max(1, int(unit * 0.05)),
            )
    for line in temples:
        draw.line([(float(x), float(y)) for x, y in line], frame, max(1, round(width)))
    picture.paste(over, (0, 0), over)
    return picture


def in_front(rng: Rng, picture: Image.Image, skin: NDArray, unit: float) -> Image.Image:
    """Something between the camera and the face: a hand, a bar, a blob."""
    side = picture.width
    draw = ImageDraw.Draw(picture)
    angle = rng.uniform(0, 2 * np.pi)
    out = np.array([np.cos(angle), np.sin(angle)])
    centre = side / 2 + out * side * rng.uniform(0.22, 0.4)
    kind = rng.integers(3)
    if kind == 0:
        palm = centre + out * unit * 0.5
        across = np.array([-out[1], out[0]])
        for k in range(4):
            base = palm + across * unit * 0.27 * (k - 1.5)
            tip = base - out * unit * (0.9 + 0.12 * (1 - abs(k - 1.4))) + across * unit * rng.normal(0, 0.05)
            for shift, tone, w in ((0.02, 0.45, 0.30), (0.0, 0.85, 0.25), (-0.03, 1.0, 0.12)):
                color, r = _rgb(skin * tone), unit * w / 2
                a, b = base + shift * unit, tip + shift * unit
                draw.line((*map(float, a + out * unit * 2), *map(float, b)), color, max(1, int(2 * r)))
                draw.ellipse((b[0] - r, b[1] - r, b[0] + r, b[1] + r), color)
    elif kind == 1:
        across = np.array([-out[1], out[0]])
        half = unit * rng.uniform(0.1, 0.35)
        corners = [centre + across * side * a + out * half * b for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        draw.polygon([(float(x), float(y)) for x, y in corners], _rgb(_color(rng)))
    else:
        tint = _color(rng)
        for _ in range(5):
            x, y = centre + out * unit * 0.4 + rng.normal(0, 0.22, 2) * unit
            r = unit * rng.uniform(0.15, 0.45)
            draw.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), _rgb(tint * rng.uniform(0.75, 1.1)))
    return picture


@cache
def _dct() -> Floats:
    k, n = np.arange(8)[:, None], np.arange(8)[None, :]
    basis = np.cos(np.pi * (n + 0.5) * k / 8) * np.sqrt(np.where(k == 0, 1 / 8, 2 / 8))
    return basis.astype(np.float32)


def _blocks(pixels: Floats, step: float) -> Floats:
    """Coarse 8×8 block transform coding of (side, side, 3) 0..255 values; incomplete blocks stay."""
    side = pixels.shape[0] // 8 * 8
    basis = _dct()
    block = pixels[:side, :side].reshape(side // 8, 8, side // 8, 8, 3).transpose(0, 2, 4, 1, 3) - 128
    coefficients = basis @ block @ basis.T
    grid = step * (1 + 0.35 * np.add.outer(np.arange(8), np.arange(8))).astype(np.float32)
    block = basis.T @ (np.rint(coefficients / grid) * grid) @ basis + 128
    coded = pixels.copy()
    coded[:side, :side] = block.transpose(0, 3, 1, 4, 2).reshape(side, side, 3)
    return coded


def camera(rng: Rng, picture: Image.Image, resolved: int, size: int) -> NDArray[np.uint8]:
    """Scales the drawing down to ``resolved`` pixels, adds the camera's faults, scales up to ``size``."""
    low = picture.resize(
        (resolved, resolved),
        Image.Resampling.BOX if picture.width >= 2 * resolved else Image.Resampling.BILINEAR,
    )
    if rng.random() < 0.25:
        low = low.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.3)) * resolved / 128))
    pixels = np.asarray(low, np.float32)
    contrast, bright = rng.uniform(0.75, 1.2), rng.normal(8, 14)
    tint = rng.normal(1, 0.035, 3)
    pixels = ((pixels * tint - 128) * contrast + 128 + bright).astype(np.float32)
    gray = rng.random() < 0.22
    if gray:
        pixels = np.repeat((pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None], 3, 2)
    sigma = abs(rng.normal(0, 5)) + 0.5
    coded = rng.random() < 0.3
    step = rng.uniform(3, 18)
    grain = rng.standard_normal((resolved, resolved, 1 if gray else 3), np.float32)
    pixels = pixels + np.float32(sigma) * grain
    if coded:
        pixels = _blocks(pixels, step)
    sharp = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if resolved != size:
        filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
        sharp = sharp.resize((size, size), filters[int(rng.integers(3))])
    return np.array(sharp)
