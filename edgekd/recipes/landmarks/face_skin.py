"""Painting a face's colours on the unrolled surface of the head: eyes, brows, nose, lips, beard, hair, cloth.

Everything is painted in canonical coordinates (see ``face_head``) by signed distances, so edges are soft and
lie on the points to a fraction of a texel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.recipes.landmarks.face_head import Floats, bump, curve, smoothstep

Rng = np.random.Generator
Window = tuple[slice, slice]

SKIN = np.array(
    [
        (246, 216, 196),
        (243, 201, 173),
        (226, 178, 143),
        (203, 148, 110),
        (165, 110, 76),
        (122, 78, 54),
        (82, 52, 39),
    ]
)
HAIR = np.array(
    [(22, 18, 17), (38, 27, 21), (62, 42, 29), (92, 62, 40), (134, 96, 58), (190, 150, 98), (226, 198, 150),
     (120, 56, 32), (128, 126, 124), (205, 203, 200)]
)  # fmt: skip
_IRIS = np.array(
    [(58, 36, 22), (40, 26, 18), (86, 58, 32), (104, 92, 52), (88, 112, 84), (92, 122, 148), (120, 134, 142)]
)


@dataclass
class Canvas:
    """The unrolled head. ``x``, ``y`` (rows, columns) are canonical coordinates, ``texel`` their step."""

    x: Floats
    y: Floats
    s: Floats  # (columns,) angle around the head
    half: Floats  # (rows,) half width of each section
    albedo: Floats  # (rows, columns, 3), 1 = white
    gloss: Floats  # (rows, columns), how much of the skin's sheen a place has
    texel: float

    def window(self, x0: float, x1: float, y0: float, y1: float) -> Window:
        """The texels of a canonical rectangle on the front of the face."""
        row0, row1 = np.searchsorted(self.y[:, 0], (y0, y1))
        half = self.half[min((row0 + row1) // 2, len(self.half) - 1)]
        s0, s1 = np.arcsin(np.clip(np.array([x0, x1]) / half, -0.99, 0.99))
        col0, col1 = np.searchsorted(self.s, (s0, s1))
        return slice(int(row0), int(row1)), slice(int(col0), int(col1))

    def paint(self, where: Window, color: NDArray | tuple[float, ...], alpha: Floats) -> None:
        part = self.albedo[where]
        part += alpha[..., None] * (np.asarray(color, np.float32) - part)

    def edge(self, distance: NDArray, soft: float = 1.3) -> Floats:
        """Coverage of a half plane: 0 outside, 1 inside, ``soft`` texels wide around distance 0."""
        return np.minimum(np.maximum(distance * (1 / (soft * self.texel)) + 0.5, 0), 1).astype(np.float32)


@dataclass
class Look:
    """Colours and habits of one person. Colours are 0..1."""

    skin: Floats
    hair: Floats
    iris: Floats
    lips: Floats
    feminine: float  # 0..1: make-up, brow and lip weight, beard or none


def sample_look(rng: Rng) -> Look:
    depth = (len(SKIN) - 1) * rng.beta(0.9, 1.3)
    low = min(int(depth), len(SKIN) - 2)
    skin = SKIN[low] + (depth - low) * (SKIN[low + 1] - SKIN[low]) + rng.normal(0, 5, 3)
    dark = depth / (len(SKIN) - 1)
    kinds = len(HAIR)
    weights = (
        np.array([4, 4, 3, 2, 2, 2, 1, 1, 1, 1.0]) if dark < 0.45 else np.array([8, 4, 2, 0.5, 0, 0, 0.3, 0, 1, 0.5])
    )
    hair = HAIR[rng.choice(kinds, p=weights / weights.sum())] * rng.uniform(0.8, 1.15) + rng.normal(0, 3, 3)
    iris = _IRIS[rng.integers(len(_IRIS)) if dark < 0.4 else rng.integers(3)] * rng.uniform(0.75, 1.15)
    feminine = float(rng.random())
    red = np.array([176, 82, 80]) * (1 - 0.45 * dark)
    lips = 0.42 * skin + 0.58 * red
    if feminine > 0.6:
        lipstick = np.array([(170, 36, 52), (150, 52, 70), (196, 96, 98), (110, 30, 44)])[rng.integers(4)]
        lips += rng.uniform(0, 0.85) * (lipstick - lips)
    skin, hair, iris, lips = (np.clip(c / 255, 0.03, 1).astype(np.float32) for c in (skin, hair, iris, lips))
    return Look(skin, hair, iris, lips, feminine)


def along(x: Floats, line: NDArray) -> Floats:
    """Height of a polyline (n, 2) at ``x``."""
    return np.interp(x, line[:, 0], line[:, 1]).astype(np.float32)


def noise(rng: Rng, rows: int, columns: int, shape: tuple[int, int]) -> Floats:
    """Smooth noise in -1..1: a small random field enlarged to ``shape`` (rows, columns)."""
    return enlarged(rng.uniform(-1, 1, (rows, columns)), shape)


def enlarged(field: NDArray, shape: tuple[int, int]) -> Floats:
    small = Image.fromarray(field.astype(np.float32))
    return np.asarray(small.resize(shape[::-1], Image.Resampling.BILINEAR))


def paint_skin(canvas: Canvas, look: Look, rng: Rng) -> None:
    shape = canvas.x.shape
    coarse, fine = rng.uniform(-1, 1, (15, 20)), rng.uniform(-1, 1, (60, 80))
    tone = 1 + enlarged(0.04 * np.kron(coarse, np.ones((4, 4))) + 0.04 * fine, shape)
    canvas.albedo[:] = look.skin * tone[..., None]
    red = look.skin * np.array([1.02, 0.80, 0.78], np.float32)
    where = canvas.window(-0.95, 0.95, 0.0, 1.5)
    x, y = canvas.x[where], canvas.y[where]
    flush = rng.uniform(0.1, 0.6) * bump(x, y, 0.58, 0.5, 0.2, 0.18) + rng.uniform(0.1, 0.6) * bump(
        x, y, 0, 0.52, 0.14, 0.12
    )
    canvas.paint(where, red, flush.astype(np.float32))
    if rng.random() < 0.12:  # freckles, moles
        spots = smoothstep(0.55, 0.9, noise(rng, 90, 90, x.shape)) * bump(x, y, 0.35, 0.4, 0.35, 0.25)
        canvas.paint(where, look.skin * 0.6, 0.6 * spots)
    where = canvas.window(-0.8, 0.8, -0.2, 0.3)
    x, y = canvas.x[where], canvas.y[where]
    tired = rng.uniform(0, 0.4) * bump(x, y, 0.40, 0.13, 0.17, 0.05) + rng.uniform(0.0, 0.3) * bump(
        x, y, 0.37, -0.04, 0.17, 0.09
    )
    canvas.paint(where, look.skin * np.array([0.66, 0.55, 0.55], np.float32), tired.astype(np.float32))


def paint_wrinkles(canvas: Canvas, inner: NDArray, look: Look, rng: Rng, smile: float) -> None:
    fold = rng.uniform(0.0, 0.28) + 0.3 * max(smile, 0)
    dark = look.skin * np.array([0.62, 0.52, 0.5], np.float32)
    for sign, corner, wing in ((-1, 48, 31), (1, 54, 35)):
        start, end = inner[wing] + (sign * 0.05, -0.05), inner[corner] + (sign * 0.10, 0.04)
        low, high = sorted((sign * 0.18, sign * 0.66))
        where = canvas.window(low, high, 0.5, 1.15)
        x, y = canvas.x[where], canvas.y[where]
        t = np.clip((y - start[1]) / (end[1] - start[1]), 0, 1)
        line = start[0] + t * (end[0] - start[0]) + sign * 0.05 * np.sin(np.pi * t)
        gap = sign * (x - line)
        alpha = fold * np.exp(-((gap / np.where(gap > 0, 0.022, 0.05)) ** 2)) * np.sin(np.pi * np.clip(t, 0.05, 0.95))
        canvas.paint(where, dark, (alpha * (y > start[1]) * (y < end[1])).astype(np.float32))
    if rng.random() < 0.3:  # lines of the forehead
        where = canvas.window(-0.6, 0.6, -0.85, -0.42)
        x, y = canvas.x[where], canvas.y[where]
        wave = np.sin((y + 0.04 * np.cos(x * 4 + rng.uniform(-1, 1))) * 60 + rng.uniform(0, 6))
        canvas.paint(where, dark, 0.35 * rng.random() * smoothstep(0.75, 1.0, wave) * bump(x, y, 0, -0.62, 0.28, 0.1))


def paint_nose(canvas: Canvas, inner: NDArray, look: Look, rng: Rng) -> None:
    where = canvas.window(-0.36, 0.36, 0.3, 0.78)
    x, y = canvas.x[where], canvas.y[where]
    dark = look.skin * np.array([0.5, 0.38, 0.36], np.float32)
    hole = look.skin * np.array([0.2, 0.12, 0.12], np.float32)
    strength = rng.uniform(0.4, 0.75)
    for sign, wing, base in ((-1, 31, 32), (1, 35, 34)):
        # The crease around the wing ends at the wing's own point.
        bow = inner[wing][0] + sign * (0.028 - 0.55 * (y - 0.57) ** 2 * 6)
        along = smoothstep(0.47, 0.54, y) * (1 - smoothstep(inner[wing][1], inner[wing][1] + 0.05, y))
        canvas.paint(where, dark, (strength * along * np.exp(-(((x - bow) / 0.022) ** 2))).astype(np.float32))
        cx, cy = 0.5 * (inner[wing] + inner[base]) - (0, 0.022)
        u, v = (x - cx) - sign * 0.4 * (y - cy), y - cy
        radius = np.hypot(u / 0.056, v / 0.026)
        canvas.paint(where, hole, 0.95 * smoothstep(1.25, 0.6, radius))
    rim = np.interp(x, inner[31:36, 0], inner[31:36, 1])
    under = np.exp(-(((y - rim - 0.012) / 0.02) ** 2)) * (1 - smoothstep(0.14, 0.24, np.abs(x)))
    canvas.paint(where, dark, (0.45 * strength * under).astype(np.float32))


def paint_eyes(canvas: Canvas, inner: NDArray, look: Look, rng: Rng, light_x: float) -> None:
    gaze = np.clip(rng.normal(0, (0.045, 0.018)), -0.09, 0.05)
    sclera = np.array([0.93, 0.905, 0.885], np.float32) * rng.uniform(0.85, 1.03)
    makeup = rng.random() if look.feminine > 0.55 else 0.0
    lash = look.skin * (0.16 + 0.25 * rng.random() * (1 - makeup))
    crease, crease_at = rng.uniform(0.15, 0.75), rng.uniform(0.035, 0.075)
    shadow = look.skin * rng.uniform((0.5, 0.4, 0.4), (0.75, 0.65, 0.75)).astype(np.float32)
    radius = rng.uniform(0.080, 0.090)
    for first in (36, 42):
        eye = inner[first : first + 6]
        where = canvas.window(
            eye[:, 0].min() - 0.12, eye[:, 0].max() + 0.12, eye[:, 1].min() - 0.2, eye[:, 1].max() + 0.13
        )
        x, y = canvas.x[where], canvas.y[where]
        upper, lower = curve(eye[:4]), curve(eye[[0, 5, 4, 3]])
        top, bottom = along(x, upper), along(x, lower)
        across = np.minimum(x - eye[0, 0], eye[3, 0] - x)
        inside = canvas.edge(y - top) * canvas.edge(bottom - y) * canvas.edge(across + canvas.texel)
        span = np.clip((x - eye[0, 0]) / (eye[3, 0] - eye[0, 0]), 0, 1)
        near = smoothstep(-0.05, 0.03, across)  # fades what lies around the eye towards the corners
        if makeup > 0.4:
            lid = smoothstep(-0.16, -0.02, y - top) * (y < top) * near
            canvas.paint(where, shadow, (0.6 * makeup * lid).astype(np.float32))
        fold = np.exp(-(((y - top + crease_at) / 0.016) ** 2)) * near
        canvas.paint(where, look.skin * np.array([0.5, 0.4, 0.38], np.float32), (crease * fold).astype(np.float32))
        pouch = np.exp(-(((y - bottom - 0.05) / 0.022) ** 2)) * near
        canvas.paint(where, look.skin * np.array([0.7, 0.6, 0.6], np.float32), (0.3 * pouch).astype(np.float32))
        canvas.paint(where, sclera, inside)
        pink = smoothstep(0.07, 0.0, np.abs(x - (eye[3, 0] if first == 36 else eye[0, 0])))
        canvas.paint(where, (0.78, 0.50, 0.46), 0.55 * pink * inside)
        # The eyeball sits between the mean lids: closing lids cover it, they do not move it.
        centre = np.array([0.5 * (eye[0, 0] + eye[3, 0]), eye[[0, 3], 1].mean() - 0.012]) + gaze
        r = np.hypot(x - centre[0], y - centre[1])
        iris = canvas.edge(radius - r) * inside
        spokes = (
            look.iris
            * (0.85 + 0.3 * smoothstep(0.04, 0.075, r))[..., None]
            * (1 - 0.5 * smoothstep(0.068, 0.084, r))[..., None]
        )
        part = canvas.albedo[where]
        part += iris[..., None] * (spokes - part)
        canvas.paint(where, (0.025, 0.022, 0.022), canvas.edge(0.036 - r) * inside)
        part *= 1 - (0.5 * inside * np.exp(-np.maximum(y - top, 0) / 0.028))[..., None]  # shade of the upper lid
        glint = np.hypot(x - centre[0] - 0.032 * np.sign(light_x), y - centre[1] + 0.03)
        canvas.paint(where, (2.2, 2.2, 2.2), canvas.edge(0.017 - glint) * inside)
        rim = np.exp(-(((y - bottom - 0.008) / 0.012) ** 2)) * near
        canvas.paint(where, lash, (0.30 + 0.3 * makeup) * rim.astype(np.float32))
        outer = 1 - span if first == 36 else span
        line = y - top + 0.004
        thick = 0.013 + 0.012 * makeup + 0.008 * outer
        lashes = np.exp(-((line / thick) ** 2)) + 0.5 * np.exp(-(((line + 0.025) / 0.022) ** 2)) * outer * (
            0.4 + makeup
        )
        ends = smoothstep(-0.02 - 0.04 * makeup, 0.02, across)
        canvas.paint(where, lash, (np.minimum(0.92 * lashes, 0.95) * ends).astype(np.float32))
        canvas.gloss[where] *= 1 - inside


def paint_brows(canvas: Canvas, inner: NDArray, look: Look, rng: Rng) -> None:
    weight = (0.046 - 0.016 * look.feminine) * rng.uniform(0.7, 1.5)
    density = rng.uniform(0.5, 0.97)
    color = 0.8 * look.hair * rng.uniform(0.5, 1.0) + 0.1 * look.skin
    color = np.minimum(color, 0.75 * look.skin)
    for first in (17, 22):
        brow = inner[first : first + 5]
        where = canvas.window(
            brow[:, 0].min() - 0.06, brow[:, 0].max() + 0.06, brow[:, 1].min() - 0.1, brow[:, 1].max() + 0.12
        )
        x, y = canvas.x[where], canvas.y[where]
        line = along(x, curve(brow))
        inner_end, outer_end = (brow[4, 0], brow[0, 0]) if first == 17 else (brow[0, 0], brow[4, 0])
        t = (x - inner_end) / (outer_end - inner_end)  # 0 inner, 1 outer
        half = weight * np.interp(t, [-0.1, 0.0, 0.15, 0.6, 1.0, 1.1], [0.5, 0.95, 1.15, 0.9, 0.45, 0.2])
        body = (
            smoothstep(1.5, 0.45, np.abs(y - line - 0.006) / half)
            * smoothstep(-0.07, 0.03, t)
            * smoothstep(1.06, 0.97, t)
        )
        slant = (x if first == 22 else -x) * 110 * (1 - 0.5 * t) + y * 150
        strokes = 0.82 + 0.18 * np.sin(slant + 3 * noise(rng, 6, 12, x.shape))
        canvas.paint(where, color, (density * body * strokes).astype(np.float32))
        canvas.gloss[where] *= 1 - 0.8 * density * body


def paint_mouth(canvas: Canvas, inner: NDArray, look: Look, rng: Rng) -> None:
    points = inner[48:68]
    where = canvas.window(
        points[:, 0].min() - 0.06,
        points[:, 0].max() + 0.06,
        points[:, 1].min() - 0.06,
        points[:, 1].max() + 0.1,
    )
    x, y = canvas.x[where], canvas.y[where]
    bow = along(x, curve(points[:7]))
    low = along(x, curve(points[[0, 11, 10, 9, 8, 7, 6]]))
    seam_up = along(x, curve(points[[0, 12, 13, 14, 15, 16, 6]]))
    seam_low = along(x, curve(points[[0, 12, 19, 18, 17, 16, 6]]))
    across = canvas.edge(np.minimum(x - points[0, 0], points[6, 0] - x) + 0.01, 2)
    ridges = 1 + 0.06 * np.sin(x * 170 + 4 * noise(rng, 3, 9, x.shape))
    vivid = rng.uniform(0.6, 0.95)
    upper = canvas.edge(y - bow, 2.2) * canvas.edge(seam_up - y) * across
    canvas.paint(where, look.lips * 0.80, vivid * upper * ridges.astype(np.float32))
    lower = canvas.edge(low - y, 2.6) * canvas.edge(y - seam_low) * across
    canvas.paint(where, look.lips, vivid * lower * ridges.astype(np.float32))
    fullness = np.exp(-(((y - 0.45 * seam_low - 0.55 * low) / 0.03) ** 2)) * np.exp(-((x / 0.16) ** 2))
    canvas.paint(where, np.minimum(look.lips * 1.45 + 0.06, 1), (0.4 * lower * fullness).astype(np.float32))
    under = np.exp(-(((y - low - 0.03) / 0.025) ** 2)) * across * np.exp(-((x / 0.2) ** 2))
    canvas.paint(where, look.skin * np.array([0.6, 0.5, 0.48], np.float32), (0.45 * under).astype(np.float32))
    gap = canvas.edge(y - seam_up) * canvas.edge(seam_low - y) * across
    depth = seam_low - seam_up
    canvas.paint(where, (0.13, 0.035, 0.04), gap * smoothstep(0.0, 0.05, depth))
    teeth = rng.random()
    if teeth < 0.8:
        end = seam_up + np.minimum(0.105, 0.85 * depth)
        arch = smoothstep(0.34, 0.22, np.abs(x)) * gap * canvas.edge(end - y, 2)
        gaps = 1 - 0.18 * smoothstep(0.8, 1.0, np.cos(x * 2 * np.pi / 0.085 + np.pi))
        bright = 0.9 - 0.5 * np.exp(-np.maximum(y - seam_up, 0) / 0.02)
        part = canvas.albedo[where]
        ivory = np.array([0.97, 0.93, 0.84], np.float32) * rng.uniform(0.75, 1.0) * (bright * gaps)[..., None]
        part += (arch * smoothstep(0.03, 0.07, depth))[..., None] * (ivory - part)
    tongue = bump(x, y, 0.0, points[18, 1], 0.15, 0.05) * gap * smoothstep(0.14, 0.3, depth)
    canvas.paint(where, (0.62, 0.26, 0.27), 0.8 * tongue)
    line = np.exp(-(((y - 0.5 * (seam_up + seam_low)) / np.maximum(0.012, 0.2 * depth)) ** 2)) * across
    canvas.paint(where, look.lips * 0.28, (0.85 * line * smoothstep(0.07, 0.02, depth)).astype(np.float32))
    for corner in (points[0], points[6]):
        dot = np.exp(-(((x - corner[0]) / 0.022) ** 2 + ((y - corner[1]) / 0.018) ** 2))
        canvas.paint(where, look.skin * 0.35, (0.6 * dot).astype(np.float32))
    canvas.gloss[where] *= 1 - gap


def paint_beard(canvas: Canvas, inner: NDArray, look: Look, rng: Rng) -> None:
    """Stubble, moustache, goatee or full beard; painted before the lips, which stay bare."""
    style = rng.choice(5, p=[0.42, 0.25, 0.1, 0.08, 0.15])
    if look.feminine > 0.5 or style == 0:
        return
    where = slice(*np.searchsorted(canvas.y[:, 0], (0.1, 1.6))), slice(None)
    x, y = canvas.x[where], canvas.y[where]
    angle = np.abs(canvas.s[None, :])
    moustache = bump(x, y, 0.13, 0.79, 0.17, 0.06) * (y > 0.68)
    chin = smoothstep(1.12, 1.25, y) * smoothstep(0.42, 0.28, np.abs(x)) + bump(x, y, 0.42, 1.02, 0.05, 0.16)
    cheeks = smoothstep(-0.06, 0.24, y - np.interp(angle, [0, 0.5, 0.9, 1.25, 1.5], [1.02, 0.92, 0.66, 0.2, 0.1]))
    zone = {1: moustache + cheeks, 2: moustache, 3: moustache + chin, 4: moustache + cheeks + chin}[int(style)]
    grain = 0.78 + 0.22 * noise(rng, 110, 160, x.shape)
    density = rng.uniform(0.15, 0.42) if style == 1 else rng.uniform(0.6, 0.95)
    alpha = np.clip(zone, 0, 1) * smoothstep(1.9, 1.65, angle) * grain * density
    canvas.paint(where, 0.75 * look.hair + 0.08 * look.skin, alpha.astype(np.float32))
    canvas.gloss[where] *= 1 - alpha
