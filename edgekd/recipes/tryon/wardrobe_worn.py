"""A garment on a body: where in the flat garment every pixel of a person comes from, found per pixel, in closed form.

The torso is a stack of ellipses turned by the person's yaw; the garment's front panel lies on their front half by arc
length (A), hangs free of the body where it is wide, and is seen from a camera at chest height, so that hems and stripes
curve. An arm is a tube about a curve; a sleeve's panel lies on the front half of the tube.

A: for x = a sin p, z = b cos p the arc length is about m (p + e/2 sin 2p), e = (a - b) / (a + b).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.recipes.tryon.wardrobe_field import Floats, Rng, inside, noise, smoothstep
from edgekd.recipes.tryon.wardrobe_garment import Cut
from edgekd.recipes.tryon.wardrobe_person import Arm, Person

HALF_PI = np.float32(np.pi / 2)
FRONT = np.float32(0.98)  # of a half turn: beyond, a panel's back begins
_EYE, _DISTANCE = 0.3, 4.5  # the camera: height and distance, body units
_TUBE = 0.755  # half width of an ellipse (depth 0.65 of the width) by a quarter of its circumference
_WINDOW_MARGIN = 0.05


@dataclass(frozen=True)
class View:
    """The picture's pixels in body units."""

    person: Person
    size: tuple[int, int]
    x: Floats  # (H, W), the body's own: without lean
    y: Floats
    pixel: float

    @classmethod
    def of(cls, person: Person, size: tuple[int, int]) -> View:
        height, width = size
        px = (np.arange(width, dtype=np.float32) + 0.5) / height - np.float32(width / height / 2 + person.middle)
        py = (np.arange(height, dtype=np.float32) + 0.5) / height - np.float32(person.top)
        x, y = np.meshgrid(px / np.float32(person.scale), py / np.float32(person.scale) - 1)
        cos, sin = np.float32(np.cos(person.lean)), np.float32(np.sin(person.lean))
        return cls(person, size, x * cos + y * sin, y * cos - x * sin + 1, 1 / (height * person.scale))

    def to_picture(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a place on the body (before shoulders are tilted)."""
        person, height = self.person, self.size[0]
        cos, sin = np.cos(person.lean), np.sin(person.lean)
        bx, by = x * cos - (y - 1) * sin, x * sin + (y - 1) * cos + 1
        return (
            float((bx * person.scale + person.middle) * height + self.size[1] / 2),
            float((by * person.scale + person.top) * height),
        )

    def window(self, low: NDArray, high: NDArray) -> tuple[slice, slice]:
        """Rows and columns that hold a box of the body."""
        corners = np.array([self.to_picture(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])])
        (x0, y0), (x1, y1) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        height, width = self.size
        return slice(max(0, y0), min(height, max(y1, 1))), slice(max(0, x0), min(width, max(x1, 1)))


@dataclass(frozen=True)
class Torso:
    """(H, W) each: place on the torso, upright and straightened, and its half width and depth there."""

    x: Floats
    y: Floats
    width: Floats
    depth: Floats

    def part(self, window: tuple[slice, slice]) -> Torso:
        """That window of it."""
        return Torso(self.x[window], self.y[window], self.width[window], self.depth[window])


def tilted(person: Person, x: Floats, y: Floats) -> Floats:
    """How much lower the shoulder line's tilt puts a place; fades out towards the waist."""
    return np.float32(person.tilt) * x * smoothstep(0.7, 0.2, y) * smoothstep(-0.12, 0.06, y)


def torso(view: View) -> Torso:
    person = view.person
    y = view.y - tilted(person, view.x, view.y)
    x = view.x - np.float32(person.sway) * np.exp(-(((y - np.float32(0.62)) / np.float32(0.3)) ** 2))
    return Torso(x, y, person.width(y), person.depth(y))


@dataclass(frozen=True)
class Surface:
    """A layer of fabric, on ``window`` of the picture.

    Attributes:
        cover: 0..1.
        u, v: place in the flat cut, body units.
        front: bool, whether the flat garment shows that place.
        nx, nz: the smooth surface's normal.
    """

    window: tuple[slice, slice]
    cover: Floats
    u: Floats
    v: Floats
    front: NDArray[np.bool_]
    nx: Floats
    nz: Floats


@dataclass(frozen=True)
class Drape:
    """How a person wears this garment; drawn from the person's and garment's own numbers."""

    hang: float  # 0 follows the body .. 1 hangs free
    twist: float  # sideways slip of the garment
    lift: float  # how much higher it is pulled


def sample_drape(rng: Rng) -> Drape:
    return Drape(float(rng.uniform(0.45, 0.95)), float(rng.normal(0, 0.012)), float(abs(rng.normal(0, 0.015))))


def panel(view: View, body: Torso, cut: Cut, drape: Drape, slope: tuple[Floats, Floats]) -> Surface:
    """The garment's body on the torso.

    Args:
        slope: of the folds, along x and y, (H, W): fabric that leans is seen shortened.
    """
    person = view.person
    free = smoothstep(0.2, 0.42, body.y)
    tube = cut.block(body.y) * np.float32(_TUBE)
    close = body.width + np.float32(0.012)
    width = close + np.maximum((tube - close) * free, 0) * np.float32(drape.hang)
    depth = body.depth + np.float32(0.015) + np.maximum((0.6 * tube - body.depth) * free, 0) * np.float32(drape.hang)
    width = width * (1 + np.float32(0.05) * smoothstep(0.5, 1.1, body.y) * slope[1].clip(-1, 1))
    cos, sin = np.float32(np.cos(person.yaw)), np.float32(np.sin(person.yaw))
    reach = np.hypot(width * cos, depth * sin)
    share = body.x / reach
    angle = np.arcsin(share.clip(-1, 1)) - np.arctan2(depth * sin, width * cos)
    e = (width - depth) / (width + depth)
    turn = (angle + e / 2 * np.sin(2 * angle)) / HALF_PI
    nz = np.sqrt(np.clip(1 - share * share, 0, 1))
    z = nz * depth
    y = np.float32(_EYE) + (body.y - np.float32(_EYE)) / (1 + z / np.float32(_DISTANCE))
    v = y + np.float32(drape.lift) * smoothstep(0.25, 0.9, y) - np.float32(0.020) * slope[1]
    half = cut.block(v)
    beyond = np.clip(np.abs(body.x) - reach, 0, None) * np.sign(body.x)
    u = half * turn + beyond + np.float32(drape.twist) * smoothstep(0.1, 0.6, v) - np.float32(0.020) * slope[0]
    # Beyond the side seam comes the back: as wide, and without what is printed on the front.
    back = np.abs(turn) > 1
    u = np.where(back, np.sign(u) * (2 * half - np.abs(u)), u)
    sides = (reach - np.abs(body.x)) * np.float32(0.97)
    if cut.block is not cut.half:  # armholes, which let the shoulders out
        sides = np.minimum(sides, np.where(v < cut.armpit[1], cut.half(v) - np.abs(u), np.float32(1)))
    hem = np.float32(cut.length) + np.float32(cut.hem) * (u / half) ** 2 - v
    open_at = np.where(back, np.float32(-1), cut.neckline(u))
    shoulder = np.where(np.abs(u) > cut.neck_half, v - cut.slope(np.abs(u)) + np.float32(0.03), np.float32(1))
    edge = np.minimum(np.minimum(sides, hem), np.minimum(v - open_at, shoulder))
    if cut.neck != "turtle":
        edge = np.minimum(edge, v + np.float32(0.02))
    whole = (slice(0, view.size[0]), slice(0, view.size[1]))
    return Surface(whole, inside(edge, view.pixel), u, v, (np.abs(turn) < FRONT) & (v > 0), share.clip(-1, 1), nz)


@dataclass(frozen=True)
class Limb:
    """An arm on its window of the picture.

    Attributes:
        along: length from the shoulder of the nearest place on the middle line, body units.
        across: signed distance from that line, positive on the arm's inner side.
        distance: its absolute value, round the ends too.
        radius: bare, there.
        nx, ny: direction away from the line.
        apart: 0..1: the arm's beginning is one with the shoulder, and covers only what is not torso.
    """

    window: tuple[slice, slice]
    along: Floats
    across: Floats
    distance: Floats
    radius: Floats
    nx: Floats
    ny: Floats
    apart: Floats


def limb(view: View, body: Torso, arm: Arm, side: int) -> Limb:
    """``side``: -1 on the picture's left, 1 on its right."""
    points = arm.points.copy()
    points[:, 1] += tilted(view.person, points[:, 0], points[:, 1])
    far = float(arm.radius.max()) + 0.07
    window = view.window(points[:, :2].min(0) - far, points[:, :2].max(0) + far)
    px, py = view.x[window], view.y[window]
    best = np.full(px.shape, np.inf, np.float32)
    along, across, radius, nx, ny = (np.zeros(px.shape, np.float32) for _ in range(5))
    for k in range(len(points) - 1):
        a, d = points[k, :2], points[k + 1, :2] - points[k, :2]
        length = np.float32(max(float(np.hypot(*d)), 1e-4))
        ex, ey = d / length
        x, y = px - a[0], py - a[1]
        t = np.clip((x * ex + y * ey) / length, 0, 1)
        rx, ry = x - t * d[0], y - t * d[1]
        square = rx * rx + ry * ry
        near = square < best
        step = arm.along[k + 1] - arm.along[k]
        best = np.where(near, square, best)
        along = np.where(near, arm.along[k] + t * step, along)
        across = np.where(near, rx * -ey + ry * ex, across)
        radius = np.where(near, arm.radius[k] + t * (arm.radius[k + 1] - arm.radius[k]), radius)
        nx, ny = np.where(near, rx, nx), np.where(near, ry, ny)
    distance = np.sqrt(best)
    scale = 1 / np.maximum(distance, np.float32(1e-4))
    person = view.person
    reach = np.hypot(body.width[window] * np.cos(person.yaw), body.depth[window] * np.sin(person.yaw))
    out = np.float32(side) * body.x[window] - reach  # beyond the torso's side
    apart = np.maximum(smoothstep(0.11, 0.27, along), smoothstep(-0.035, 0.005, out))
    return Limb(window, along, across * np.float32(side), distance, radius, nx * scale, ny * scale, apart)


def sleeve(
    view: View, arm: Arm, side: int, found: Limb, cut: Cut, drape: Drape, on_body: Surface, slope: tuple[Floats, Floats]
) -> Surface | None:
    """The sleeve on an arm; it meets the body's panel at the shoulder without a step."""
    if not cut.sleeve:
        return None
    window = found.window
    first = max(0.0, (cut.tip[0] - view.person.shoulder) * 0.8) + 0.03
    last = min(first + cut.sleeve, float(arm.along[-1]) + 0.02)
    sx, sy = slope[0][window], slope[1][window]
    t = (found.along - np.float32(first) + np.float32(0.02) * sy) / np.float32(last - first)
    half = cut.path.half(t.clip(0, 1))
    free = np.float32(0.3 + 0.6 * drape.hang)
    radius = found.radius + np.float32(0.008)
    radius = radius + np.clip(half * np.float32(0.66) - radius, 0, np.float32(0.05)) * free
    share = (found.across / radius).clip(-1, 1)
    angle = np.arcsin(share) - np.float32(arm.roll) * smoothstep(0.0, 0.35, found.along) + np.float32(0.08) * sx
    w = np.float32(0.5) + angle / np.float32(np.pi)
    back = (w < 0) | (w > 1)
    w = np.where(w < 0, -w, np.where(w > 1, 2 - w, w)).clip(0, 1)
    u, v = cut.on_sleeve(t.clip(-0.3, 1), w)
    u = u * np.float32(side)
    # Where the arm leaves the body, the panel's own place, and between the two a mixture of both.
    own = smoothstep(first - 0.10, first + 0.14, found.along)
    bu, bv = on_body.u[window], on_body.v[window]
    u, v = bu + (u - bu) * own, bv + (v - bv) * own
    cover = inside(radius - found.distance, view.pixel) * inside(
        np.float32(last) + np.float32(0.012) * np.sqrt(np.clip(1 - share * share, 0, 1)) - found.along, view.pixel
    )
    cover = cover * found.apart
    front = ~back & (np.abs(angle) < FRONT * HALF_PI) & (on_body.front[window] | (own > 0.98))
    nz = np.sqrt(np.clip(1 - (found.distance / radius) ** 2, 0, 1))
    return Surface(window, cover, u, v, front, found.nx * np.sqrt(1 - nz * nz), nz)


def folds(rng: Rng, view: View, body: Torso, cut: Cut, tucked: bool) -> Floats:
    """Height of the fabric's folds over the body, (H, W), in heights of the picture."""
    size, turn = view.size, float(rng.normal(0, 0.12))
    loose = 0.45 + 0.55 * cut.ease
    scale = view.person.scale

    def creased(field: Floats) -> Floats:
        return np.float32(0.6) - np.sqrt(field * field + np.float32(0.12))

    hanging = creased(noise(rng, (0.11 * scale, 0.8 * scale), size, turn))
    pulled = creased(noise(rng, (0.11 * scale, 0.6 * scale), size, 0.75))
    pulled_too = creased(noise(rng, (0.11 * scale, 0.6 * scale), size, -0.75))
    bunched = creased(noise(rng, (0.5 * scale, 0.10 * scale), size, float(rng.normal(0, 0.12))))
    fine = noise(rng, (0.09 * scale, 0.06 * scale), size, 0.4)
    left = smoothstep(0.06, -0.06, body.x)
    diagonal = left * pulled_too + (1 - left) * pulled
    pit = np.exp(-(((np.abs(body.x) - 0.26) / 0.2) ** 2 + ((body.y - 0.4) / 0.24) ** 2))
    low = smoothstep(0.4, 0.95, body.y)
    waist = np.exp(-(((body.y - np.float32(view.person.waist if tucked else 0.7)) / np.float32(0.15)) ** 2))
    arms = smoothstep(0.3, 0.42, np.abs(body.x))
    height = (
        0.014 * loose * hanging * (0.25 + low)
        + 0.013 * diagonal * np.minimum(pit + 0.5 * arms, 1)
        + (0.014 if tucked else 0.008) * loose * bunched * waist
        + 0.012 * bunched * arms
        + 0.0022 * fine
    )
    return (height * np.float32(scale / 0.55)).astype(np.float32)
