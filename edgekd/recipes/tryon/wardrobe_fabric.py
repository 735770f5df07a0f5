"""What a garment is made of: colour, weave, stripes and checks, prints and lettering, trims; painted on the flat cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgekd.recipes.tryon.wardrobe_field import Floats, Rng, inside, sample, smoothstep

if TYPE_CHECKING:
    from edgekd.recipes.tryon.wardrobe_garment import Garment

PATTERNS = ("plain", "stripes", "checks", "dots", "blocks", "floral", "heather")
_SHARES = (0.30, 0.21, 0.10, 0.07, 0.10, 0.11, 0.11)
PRINT_SIDE = 160  # px of the picture that a print is drawn as
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True)
class Print:
    """A picture printed on the chest: centre and half size in body units."""

    u: float
    v: float
    half: float
    ink: tuple[Floats, Floats]
    kind: str
    text: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Fabric:
    """Colours are RGB 0..1; lengths in body units."""

    base: Floats
    second: Floats
    third: Floats
    pattern: str
    period: float
    share: float
    angle: float
    printed: Print | None
    trim: Floats | None
    trim_width: float
    weave: float
    gloss: float
    seed: int


def _color(rng: Rng) -> Floats:
    """Of clothes: from white to black, mostly muted, sometimes loud."""
    pick = rng.random()
    if pick < 0.2:
        color = np.full(3, rng.uniform(0.82, 0.97))
    elif pick < 0.36:
        color = np.full(3, rng.uniform(0.06, 0.2)) * rng.uniform(0.9, 1.1, 3)
    else:
        color = rng.uniform(0.05, 0.95, 3)
        color = color.mean() + (color - color.mean()) * rng.uniform(0.4, 1.1)
    return np.clip(color, 0.04, 0.97).astype(np.float32)


def _contrast(rng: Rng, base: Floats) -> Floats:
    for _ in range(8):
        other = _color(rng)
        if np.abs(other - base).max() > 0.3:
            return other
    return np.clip(1 - base, 0.05, 0.95).astype(np.float32)


def sample_fabric(rng: Rng, kind: str, neck: str) -> Fabric:
    """A fabric for a garment of ``kind``."""
    base = _color(rng)
    pattern = str(rng.choice(PATTERNS, p=_SHARES))
    angle = 0.0 if pattern != "stripes" else float(rng.choice([0.0, np.pi / 2, 0.6], p=[0.72, 0.2, 0.08]))
    print_chance = {"plain": 0.62, "heather": 0.6, "blocks": 0.35, "stripes": 0.15}.get(pattern, 0.08)
    printed = _print(rng, base, kind) if rng.random() < print_chance else None
    return Fabric(
        base, _contrast(rng, base), _contrast(rng, base), pattern,
        period=float(rng.uniform(0.035, 0.17) if pattern != "floral" else rng.uniform(0.08, 0.2)),
        share=float(rng.uniform(0.25, 0.6)), angle=angle, printed=printed,
        trim=_contrast(rng, base) if rng.random() < 0.35 else None, trim_width=float(rng.uniform(0.02, 0.04)),
        weave=float(rng.uniform(0.005, 0.025)), gloss=float(rng.beta(1, 4) * 0.25), seed=int(rng.integers(2**31)),
    )  # fmt: skip


def _print(rng: Rng, base: Floats, kind: str) -> Print:
    what = str(rng.choice(["letters", "badge", "scene", "shapes"], p=[0.4, 0.2, 0.2, 0.2]))
    small = rng.random() < 0.2 or kind == "polo"
    lines = tuple(
        "".join(LETTERS[int(k)] for k in rng.integers(0, len(LETTERS), int(rng.integers(2, 8))))
        for _ in range(int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])))
    )
    return Print(
        u=float(rng.choice([-1, 1]) * rng.uniform(0.12, 0.16)) if small else float(rng.normal(0, 0.01)),
        v=float(rng.uniform(0.27, 0.33) if small else rng.uniform(0.38, 0.5)),
        half=float(rng.uniform(0.05, 0.08) if small else rng.uniform(0.14, 0.22)),
        ink=(_contrast(rng, base), _contrast(rng, base)), kind=what, text=lines, seed=int(rng.integers(2**31)),
    )  # fmt: skip


def paint(garment: Garment, u: Floats, v: Floats, pixel: float) -> Floats:
    """Colours (n, 3), 0..1, without light, of the flat garment at places (n,); ``pixel``: a pixel's side, body units."""
    cut, fabric = garment.cut, garment.fabric
    torso = cut.body(u, v)
    reach, along, across = cut.sleeves(u, v)
    on_sleeve = (reach > -0.02) & (torso < reach)
    # The weave runs along the sleeve; stripes go round it.
    a = np.where(on_sleeve, np.sign(u) * (np.float32(cut.tip[0]) + across), u)
    b = np.where(on_sleeve, along + np.float32(cut.armpit[1] * 0.5), v)
    color = _pattern(fabric, a, b, pixel, on_sleeve)
    if fabric.printed is not None:
        _print_on(color, fabric.printed, u, v, pixel)
    _trims(color, garment, u, v, torso, np.float32(cut.sleeve) - along, on_sleeve, pixel)
    weave = _tile(np.random.Generator(np.random.Philox(fabric.seed)), a, b, (110, 110))
    color *= (1 + np.float32(fabric.weave) * weave)[..., None]
    return np.clip(color, 0, 1)


def _tile(rng: Rng, a: Floats, b: Floats, cells: tuple[int, int]) -> Floats:
    """Repeated noise with so many cells per body unit, smooth between them."""
    tile = rng.standard_normal((64, 64), np.float32)
    x, y = a * np.float32(cells[0]) + 6400, b * np.float32(cells[1]) + 6400
    column, row = x.astype(np.int32), y.astype(np.int32)
    fx, fy = x - column, y - row
    column, row, right, low = column % 64, row % 64, (column + 1) % 64, (row + 1) % 64
    upper = tile[row, column] * (1 - fx) + tile[row, right] * fx
    return upper * (1 - fy) + (tile[low, column] * (1 - fx) + tile[low, right] * fx) * fy


def _wave(x: Floats, period: float, share: float, pixel: float) -> Floats:
    """1 on stripes of ``share`` of the period, antialiased."""
    phase = np.abs((x / np.float32(period)) % 1 - np.float32(0.5)) * np.float32(period)
    return inside(np.float32(share * period / 2) - phase, pixel)


def _pattern(fabric: Fabric, a: Floats, b: Floats, pixel: float, on_sleeve: np.ndarray) -> Floats:
    base, second, third = fabric.base, fabric.second, fabric.third
    color = np.empty((*a.shape, 3), np.float32)
    color[:] = base
    rng = np.random.Generator(np.random.Philox(fabric.seed + 1))
    period = fabric.period
    if fabric.pattern == "stripes":
        cos, sin = np.float32(np.cos(fabric.angle)), np.float32(np.sin(fabric.angle))
        place = b * cos + a * sin
        _lay(color, _wave(place, period, fabric.share, pixel), second)
        if rng.random() < 0.3:
            _lay(color, _wave(place + np.float32(period / 2), period, 0.14, pixel), third)
    elif fabric.pattern == "checks":
        _lay(color, 0.55 * _wave(a, period, fabric.share, pixel), second)
        _lay(color, 0.55 * _wave(b, period, fabric.share, pixel), second)
        if rng.random() < 0.6:
            _lay(color, 0.8 * np.maximum(_wave(a, 2 * period, 0.06, pixel), _wave(b, 2 * period, 0.06, pixel)), third)
    elif fabric.pattern == "dots":
        row = np.floor(b / np.float32(period))
        x = (a / np.float32(period) + (row % 2) * 0.5) % 1 - 0.5
        y = (b / np.float32(period)) % 1 - 0.5
        radius = np.hypot(x, y) * np.float32(period)
        _lay(color, inside(np.float32(0.3 * period * (0.6 + fabric.share)) - radius, pixel), second)
    elif fabric.pattern == "blocks":
        level = np.float32(rng.uniform(0.3, 0.75))
        if rng.random() < 0.4:
            _lay(color, on_sleeve.astype(np.float32), second)  # raglan: sleeves of another colour
        else:
            _lay(color, inside(b - level, pixel), second)
            if rng.random() < 0.5:
                _lay(color, inside(np.float32(0.045) - np.abs(b - level), pixel), third)
    elif fabric.pattern == "floral":
        _floral(color, fabric, rng, a, b, pixel)
    elif fabric.pattern == "heather":
        color *= (1 + np.float32(0.07) * _tile(rng, a, b, (40, 150)))[..., None]
    return color


def _lay(color: Floats, cover: Floats, ink: Floats) -> None:
    color += (ink - color) * cover[..., None]


def _floral(color: Floats, fabric: Fabric, rng: Rng, a: Floats, b: Floats, pixel: float) -> None:
    """A tile of leaves and blossoms, each once more at the tile's other sides, so that it repeats without a seam."""
    side = 96
    tile = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(tile)
    for _ in range(int(rng.integers(5, 11))):
        x, y, r, turn = *rng.uniform(0, side, 2), rng.uniform(5, 15), rng.uniform(0, np.pi)
        ink, petals = int(rng.choice([128, 255])), int(rng.choice([1, 5, 6]))
        for dx in (-side, 0, side):
            for dy in (-side, 0, side):
                for k in range(petals):
                    t = turn + 2 * np.pi * k / petals
                    cx, cy = x + dx + 0.6 * r * np.cos(t) * (petals > 1), y + dy + 0.6 * r * np.sin(t) * (petals > 1)
                    w, h = (0.5 * r, 0.5 * r) if petals > 1 else (r, 0.4 * r)
                    draw.ellipse((cx - w, cy - h, cx + w, cy + h), ink)
    values = np.asarray(tile)
    scale = np.float32(side / (3.2 * fabric.period))
    place = (np.floor(b * scale).astype(np.int32) % side, np.floor(a * scale).astype(np.int32) % side)
    found = values[place]
    color[found == 128] = fabric.third
    color[found == 255] = fabric.second


def _print_on(color: Floats, printed: Print, u: Floats, v: Floats, pixel: float) -> None:
    """The print, drawn as a picture of its own, made as small as it will be seen, and looked up."""
    x, y = (
        (u - np.float32(printed.u)) / np.float32(printed.half),
        (v - np.float32(printed.v)) / np.float32(printed.half),
    )
    on_it = np.flatnonzero((np.abs(x) < 1) & (np.abs(y) < 1))
    if not len(on_it):
        return
    side = int(np.clip(round(2 * printed.half / pixel), 8, PRINT_SIDE))
    picture = _draw_print(printed, PRINT_SIDE).resize((side, side), Image.Resampling.BOX)
    values = sample(np.asarray(picture, np.float32) / 255, (x[on_it] + 1) / 2, (y[on_it] + 1) / 2)
    color[on_it] += (values[:, :3] - color[on_it]) * values[:, 3:]


def _draw_print(printed: Print, side: int) -> Image.Image:
    rng = np.random.Generator(np.random.Philox(printed.seed))
    one, two = ((*(int(c) for c in ink * 255), 255) for ink in printed.ink)
    picture = Image.new("RGBA", (side, side), (*one[:3], 0))
    draw = ImageDraw.Draw(picture)
    if printed.kind in ("badge", "scene"):
        box = (4, 4, side - 4, side - 4)
        if printed.kind == "badge":
            draw.ellipse(box, one)
            draw.ellipse((14, 14, side - 14, side - 14), two)
        else:
            draw.rectangle((4, 24, side - 4, side - 24), two)
            for k in range(4):  # hills, one behind the other
                y0, y1 = rng.uniform(40, side - 40, 2)
                tone = np.float32(one[:3]) * (0.45 + 0.18 * k)
                draw.polygon(
                    [
                        (4, side - 24),
                        (4, y0),
                        (side * rng.uniform(0.3, 0.7), min(y0, y1) - 12),
                        (side - 4, y1),
                        (side - 4, side - 24),
                    ],
                    tuple(int(c) for c in np.clip(tone, 0, 255)),
                )
            r = rng.uniform(8, 18)
            x, y = rng.uniform(30, side - 30), rng.uniform(36, 64)
            draw.ellipse((x - r, y - r, x + r, y + r), one)
    if printed.kind == "shapes":
        for k in range(int(rng.integers(2, 6))):
            x, y, r = *rng.uniform(30, side - 30, 2), rng.uniform(12, 40)
            if rng.random() < 0.5:
                draw.ellipse((x - r, y - r, x + r, y + r), one if k % 2 else two)
            else:
                angle = rng.uniform(0, 2 * np.pi)
                corners = [(x + r * np.cos(angle + t), y + r * np.sin(angle + t)) for t in (0, 2.1, 4.2)]
                draw.polygon(corners, two if k % 2 else one)
    if printed.kind in ("letters", "badge"):
        room = side / len(printed.text) if printed.kind == "letters" else side / 3 / len(printed.text) + 12
        for k, line in enumerate(printed.text):
            text = Image.new("L", (40 * len(line) + 20, 72), 0)
            ImageDraw.Draw(text).text(
                (8, 0), line, 255, ImageFont.load_default(60), stroke_width=int(rng.integers(0, 4))
            )
            text = text.crop(text.getbbox() or (0, 0, 1, 1))
            wide = side * (0.94 if printed.kind == "letters" else 0.62)
            fit = min(wide / text.width, 0.82 * room / text.height)
            text = text.resize((max(1, int(text.width * fit)), max(1, int(text.height * fit))), Image.Resampling.BOX)
            y = (side - room * len(printed.text)) / 2 + k * room + (room - text.height) / 2
            picture.paste(one, (int((side - text.width) / 2), int(y)), text)
    return picture


def _trims(
    color: Floats, garment: Garment, u: Floats, v: Floats, torso: Floats, to_cuff: Floats, on_sleeve: np.ndarray,
    pixel: float,
) -> None:  # fmt: skip
    """Neck band, hem and cuffs; a polo's collar and buttons, a hoodie's pocket, strings and hood."""
    cut, fabric = garment.cut, garment.fabric
    neck = v - cut.neckline(u)
    width = np.float32(fabric.trim_width)
    ink = fabric.trim if fabric.trim is not None else fabric.base * np.float32(0.86)
    if cut.neck in ("crew", "v", "scoop"):
        _lay(color, inside(width - neck * np.float32(0.85), pixel) * (np.abs(u) < cut.neck_half + width), ink)
    if cut.neck == "turtle":
        _lay(color, inside(np.float32(0.01) - v, pixel), ink)
        _lay(color, 0.35 * _wave(u, 0.018, 0.4, pixel) * (v < 0.01), ink * np.float32(0.6))
    if fabric.trim is not None or cut.kind in ("hoodie", "long"):
        hem = np.float32(cut.length) + np.float32(cut.hem) * (u / cut.half(v)) ** 2
        _lay(color, inside(1.3 * width - (hem - v), pixel) * ~on_sleeve, ink)
        if cut.sleeve:
            _lay(color, inside(1.2 * width - to_cuff, pixel) * on_sleeve, ink)
    if cut.neck == "polo":
        _lay(
            color,
            inside(np.float32(0.028) - np.abs(u), pixel) * (v < cut.neck_dip + 0.2) * (torso > 0),
            ink * np.float32(0.94),
        )
        for k in range(3):
            _lay(
                color,
                inside(np.float32(0.011) - np.hypot(u, v - np.float32(cut.neck_dip + 0.04 + 0.055 * k)), pixel),
                np.float32([0.9, 0.9, 0.88]),
            )
        flap = np.minimum(
            np.float32(0.085) - neck * np.float32(0.8), np.float32(0.2) - np.abs(u) - 0.4 * np.clip(v - 0.1, 0, 1)
        )
        _lay(color, inside(flap, pixel), ink)
        _lay(color, 0.5 * inside(np.float32(0.006) - np.abs(flap), pixel), ink * np.float32(0.4))
    if cut.neck == "hood":
        ring = np.float32(0.075) - neck * np.float32(0.8)
        _lay(color, inside(ring, pixel) * (np.abs(u) < 0.24), fabric.base * np.float32(0.8))
        _lay(
            color,
            0.5 * inside(np.float32(0.007) - np.abs(ring), pixel) * (np.abs(u) < 0.24),
            fabric.base * np.float32(0.45),
        )
        for side in (-1, 1):
            line = np.abs(u - np.float32(side * 0.05) - 0.02 * side * (v - 0.2))
            _lay(
                color,
                inside(np.float32(0.008) - line, pixel) * smoothstep(0.1, 0.11, v) * (v < 0.42),
                ink if fabric.trim is not None else fabric.second,
            )
        pocket = np.minimum(
            np.float32(0.2) - np.abs(u) - 0.28 * np.clip(0.92 * cut.length - v - 0.13, 0, 1),
            np.minimum(v - np.float32(0.66 * cut.length), np.float32(0.92 * cut.length) - v),
        )
        _lay(color, 0.55 * inside(np.float32(0.008) - np.abs(pocket), pixel), fabric.base * np.float32(0.5))
