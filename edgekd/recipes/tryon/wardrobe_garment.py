"""A garment laid flat: its cut, and how it looks as a product picture.

The cut is in body units (``wardrobe_person``), u to the right from the middle, v down from the base of the neck, so
that it lies on a body as it is. ``Cut.in_picture`` puts it into the product picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.recipes.tryon.wardrobe_fabric import Fabric, paint, sample_fabric
from edgekd.recipes.tryon.wardrobe_field import Floats, Profile, Rng, blurred, gradient, inside, noise, vector

Neck = Literal["crew", "v", "scoop", "turtle", "polo", "hood"]
KINDS = ("tee", "long", "sleeveless", "polo", "hoodie", "blouse")
_KIND_SHARES = (0.40, 0.20, 0.14, 0.09, 0.09, 0.08)
NECK_BASE = 0.13  # half width of every cut where the shoulder line begins


@dataclass(frozen=True)
class Line:
    """A sleeve's middle line and half width, over the share 0..1 of its length."""

    u: Profile
    v: Profile
    angle: Profile  # below the horizontal, radians
    half: Profile


def _path(tip: tuple[float, float], armpit: tuple[float, float], length: float, hang: float, cuff: float) -> Line:
    """A line that goes on from the shoulder's slope and bends down to ``hang``."""
    top_half = float(np.hypot(tip[0] - armpit[0], tip[1] - armpit[1])) / 2
    start = min(0.42, hang)
    t = np.linspace(0, 1, 65)
    bend = np.clip(t * max(1.0, length / 0.42), 0, 1)
    angle = start + (hang - start) * bend * bend * (3 - 2 * bend)
    step = length / 64
    middle = (angle[1:] + angle[:-1]) / 2
    u = (tip[0] + armpit[0]) / 2 + np.concatenate([[0], np.cumsum(np.cos(middle) * step)])
    v = (tip[1] + armpit[1]) / 2 + np.concatenate([[0], np.cumsum(np.sin(middle) * step)])
    u_of, v_of, angle_of = (Profile(list(zip(t, values, strict=True)), 0.0) for values in (u, v, angle))
    return Line(u_of, v_of, angle_of, Profile([(0, top_half), (0.35, 0.4 * top_half + 0.6 * cuff), (1, cuff)], 0.1))


@dataclass(frozen=True)
class Cut:
    """Shape of a garment.

    Attributes:
        half: half width of the body panel over v.
        block: half width over v of what reaches round a body to its sides; armholes cut ``half`` out of it.
        path: the right sleeve's middle line.
        length: v of the hem's middle; ``hem`` is how much lower (or higher) the sides hang.
        tip: (u, v) of the shoulder seam's outer end; ``armpit`` (u, v) of its lower end.
        sleeve: length of the sleeve along its middle; 0: none.
        cuff: half width of the sleeve's end.
        neck_half, neck_dip: half width and depth of the neckline.
        ease: 0 tight .. 1 wide.
    """

    kind: str
    neck: Neck
    half: Profile
    block: Profile
    path: Line
    length: float
    hem: float
    tip: tuple[float, float]
    armpit: tuple[float, float]
    sleeve: float
    cuff: float
    neck_half: float
    neck_dip: float
    ease: float
    scale: float  # heights of the product picture per body unit
    top: float  # v = 0 is this far below the picture's top, heights

    def slope(self, u: Floats) -> Floats:
        """v of the shoulder line at |u|."""
        return self.tip[1] * np.clip((u - NECK_BASE) / (self.tip[0] - NECK_BASE), 0, 1)

    def neckline(self, u: Floats) -> Floats:
        """Lowest v that is open at u; far above where nothing is."""
        share = np.abs(u) * np.float32(1 / self.neck_half)
        start = float(self.slope(vector(self.neck_half))[0])
        rest = np.clip(1 - share, 0, 1) if self.neck == "v" else np.sqrt(np.clip(1 - share * share, 0, 1))
        if self.neck == "turtle":
            return np.float32(-self.neck_dip) + 0.02 * rest
        return np.where(share < 1, start + self.neck_dip * rest, np.float32(-1)).astype(np.float32)

    def body(self, u: Floats, v: Floats) -> Floats:
        """Distance to the body panel's edge, positive inside, body units; about right near the edge."""
        hem = np.float32(self.length) + np.float32(self.hem) * (u / self.half(v)) ** 2
        edge = np.minimum((self.half(v) - np.abs(u)) * np.float32(0.95), hem - v)
        shoulder = np.where(np.abs(u) > NECK_BASE, (v - self.slope(np.abs(u))) * np.float32(0.92), np.float32(1))
        if self.neck != "turtle":
            edge = np.minimum(edge, v)
        return np.minimum(np.minimum(edge, shoulder), (v - self.neckline(u)) * np.float32(0.9))

    def on_sleeve(self, t: Floats, w: Floats) -> tuple[Floats, Floats]:
        """(u, v) on the right sleeve: t 0..1 from the seam to the end, w 0..1 from its upper to its lower edge."""
        path = self.path
        angle = path.angle(t)
        across = (w - np.float32(0.5)) * 2 * path.half(t)
        return path.u(t) - np.sin(angle) * across, path.v(t) + np.cos(angle) * across

    def sleeves(self, u: Floats, v: Floats) -> tuple[Floats, Floats, Floats]:
        """Where on the nearer sleeve a place of the flat garment is.

        Returns:
            distance to the sleeve's edge, positive inside; length from the seam; and distance from the middle line,
            positive below it.
        """
        if not self.sleeve:
            nothing = np.full_like(u, -1)
            return nothing, nothing, nothing
        x, path = np.abs(u), self.path
        steps = np.linspace(0, 1, 9, dtype=np.float32)
        points = np.stack([path.u(steps), path.v(steps)], 1)
        best, along, across = np.full_like(u, np.inf), np.zeros_like(u), np.zeros_like(u)
        for k in range(len(points) - 1):
            d = points[k + 1] - points[k]
            length = np.float32(np.hypot(*d))
            ex, ey = d / length
            rx, ry = x - points[k, 0], v - points[k, 1]
            forward = rx * ex + ry * ey
            # the first and the last piece go on beyond the sleeve's ends
            low, high = (-length if k == 0 else 0), (2 * length if k == len(points) - 2 else length)
            place = np.clip(forward, low, high)
            side = ry * ex - rx * ey
            square = side * side + (forward - place) ** 2
            near = square < best
            best = np.where(near, square, best)
            along = np.where(near, k * length + place, along)
            across = np.where(near, side, across)
        half = path.half(along * np.float32(1 / self.sleeve))
        edge = np.minimum(half - np.abs(across), np.float32(self.sleeve) - along)
        # it goes on a little below the body's panel; what is far from the line is on neither
        return np.minimum(edge, np.minimum(along + np.float32(0.09), half - np.sqrt(best))), along, across

    def in_picture(self, u: Floats, v: Floats, ratio: float) -> tuple[Floats, Floats]:
        """(x, y) of the product picture, in its heights; ``ratio`` is its width by its height."""
        return u * np.float32(self.scale) + np.float32(ratio / 2), v * np.float32(self.scale) + np.float32(self.top)

    def plane(self, size: tuple[int, int]) -> tuple[Floats, Floats]:
        """(u, v) of every pixel of a product picture (height, width)."""
        height, width = size
        x = (np.arange(width, dtype=np.float32) + 0.5) / height - width / height / 2
        y = (np.arange(height, dtype=np.float32) + 0.5) / height - self.top
        u, v = np.meshgrid(x / self.scale, y / self.scale)
        return u.astype(np.float32), v.astype(np.float32)


@dataclass(frozen=True)
class Garment:
    cut: Cut
    fabric: Fabric


def sample_garment(rng: Rng, ratio: float) -> Garment:
    """A garment, every trait drawn at random. ``ratio``: width by height of product pictures."""
    kind = str(rng.choice(KINDS, p=_KIND_SHARES))
    ease = float(rng.beta(1.6, 1.6)) * (0.7 if kind == "sleeveless" else 1) + (0.3 if kind == "hoodie" else 0)
    chest = 0.315 + 0.11 * ease
    tip_u = (0.30 if kind != "sleeveless" else 0.235) + 0.065 * ease
    tip = (float(tip_u), float(rng.uniform(0.10, 0.125)))
    armpit = (float(chest), float(rng.uniform(0.34, 0.39) + 0.05 * ease))
    length = float(rng.uniform(0.86, 1.18)) + (0.03 if kind == "hoodie" else 0)
    waist = chest * float(rng.uniform(0.84, 1.0))
    hem = chest * float(rng.uniform(0.92, 1.12))
    above, below = (
        [(-0.3, NECK_BASE - 0.01), (0, NECK_BASE)],
        [(armpit[1], chest), (0.66 * length, waist), (length, hem)],
    )
    half = block = Profile([*above, tip[::-1], *below], 0.018)
    if kind == "sleeveless":
        half = Profile([*above, tip[::-1], (0.24, tip[0] - 0.012), *below], 0.018)
        block = Profile([*above, (0.115, 0.32), *below], 0.018)
    sleeve = {
        "tee": rng.uniform(0.22, 0.42), "polo": rng.uniform(0.26, 0.4), "sleeveless": 0.0,
        "long": rng.uniform(0.82, 0.93), "hoodie": rng.uniform(0.86, 0.95), "blouse": rng.uniform(0.4, 0.9),
    }[kind]  # fmt: skip
    long = sleeve > 0.5
    hang = float(rng.uniform(1.0, 1.42) if long else rng.uniform(0.35, 0.9))
    top_half = float(np.hypot(tip[0] - armpit[0], tip[1] - armpit[1])) / 2
    cuff = float(np.interp(sleeve, [0.2, 0.45, 0.95], [0.86 * top_half, 0.68 * top_half, 0.42 * top_half]))
    cuff *= float(rng.uniform(0.85, 1.1)) * (1.25 if kind == "blouse" else 1)
    neck: Neck = "polo" if kind == "polo" else "hood" if kind == "hoodie" else "crew"
    if neck == "crew":
        neck = str(rng.choice(["crew", "v", "scoop", "turtle"], p=[0.45, 0.25, 0.22, 0.08]))  # type: ignore[assignment]
    neck_half, dip = {
        "crew": (rng.uniform(0.125, 0.15), rng.uniform(0.07, 0.12)),
        "v": (rng.uniform(0.13, 0.17), rng.uniform(0.18, 0.32)),
        "scoop": (rng.uniform(0.16, 0.2), rng.uniform(0.14, 0.24)),
        "turtle": (0.14, rng.uniform(0.06, 0.12)),
        "polo": (0.12, rng.uniform(0.10, 0.16)),
        "hood": (0.125, rng.uniform(0.08, 0.12)),
    }[neck]
    neck_half = min(float(neck_half), tip[0] - 0.05)
    cut = Cut(
        kind=kind,
        neck=neck,
        half=half,
        block=block,
        path=_path(tip, armpit, float(sleeve), hang, cuff),
        length=length,
        hem=float(rng.normal(0, 0.02) - 0.015),
        tip=tip,
        armpit=armpit,
        sleeve=float(sleeve),
        cuff=cuff,
        neck_half=neck_half,
        neck_dip=float(dip),
        ease=min(ease, 1.0),
        scale=1.0,
        top=0.0,
    )
    ends = np.linspace(0.5, 1, 6, dtype=np.float32)
    edges = [cut.on_sleeve(ends, np.full_like(ends, w)) for w in (0, 1)] if sleeve else [(np.zeros(1), np.zeros(1))]
    reach = float(max(hem, chest, *(u.max() for u, _ in edges)))
    over = float(dip) if neck == "turtle" else 0.0
    low = float(max(length + max(cut.hem, 0), *(v.max() for _, v in edges)))
    fit = min(0.92 * ratio / 2 / reach, 0.92 / (low + over)) * float(rng.uniform(0.9, 1.0))
    top = (1 - fit * (low + over)) / 2 + fit * over + float(rng.uniform(-0.012, 0.012))
    return Garment(replace(cut, scale=fit, top=top), sample_fabric(rng, kind, neck))


def product_picture(garment: Garment, rng: Rng, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The garment laid flat on white, lit: (height, width, 3) and its mask (height, width), 0 or 255."""
    cut = garment.cut
    u, v = cut.plane(size)
    pixel = 1 / (size[0] * cut.scale)
    torso, (sleeves, along, _) = cut.body(u, v), cut.sleeves(u, v)
    cover = inside(np.maximum(torso, sleeves), pixel)
    height = 0.004 * noise(rng, (0.3, 0.14), size, rng.uniform(-0.6, 0.6)) + 0.0014 * noise(rng, (0.1, 0.05), size, 0.6)
    edge = np.clip(np.maximum(torso, sleeves), 0, 0.05)
    height = height + 0.30 * edge - 3.0 * edge * edge  # rounded at its borders
    dx, dy = gradient(height)
    light = 0.95 - np.float32(0.45) * (np.float32(0.5 * rng.choice([-1, 1])) * dx - dy)
    seam = np.exp(-((torso / np.float32(0.007)) ** 2)) * (sleeves > 0) * (along > -0.01)
    shade = np.clip(light - np.float32(0.16) * seam, 0.5, 1.1)
    fabric = cover > 0
    lit = np.zeros((*size, 3), np.float32)
    lit[fabric] = paint(garment, u[fabric], v[fabric], pixel) * shade[fabric, None]
    paper = np.full((*size, 3), rng.uniform(0.93, 1.0), np.float32)
    drop = blurred(np.roll(cover, (max(1, size[0] // 110), max(1, size[0] // 160)), (0, 1)), size[0] / 60)
    paper *= (1 - 0.16 * drop)[..., None]
    picture = paper + (lit - paper) * cover[..., None]
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8), np.where(cover > 0.5, 255, 0).astype(np.uint8)
