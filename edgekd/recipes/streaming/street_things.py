"""What stands and moves on the procedural street: the eight classes and the scenery, as solids of real sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekd.recipes.streaming.street_solids import Color, Face, Floats, Limb, Solid, extruded, quad, ring

Parts = list[Face | Limb]

GLASS: Color = (52, 62, 74)
TYRE: Color = (26, 26, 28)
CHROME: Color = (150, 152, 156)
PAINTS: tuple[Color, ...] = (
    (212, 214, 216), (238, 238, 236), (38, 40, 44), (92, 96, 102), (150, 154, 160),
    (132, 26, 30), (30, 58, 112), (44, 78, 60), (176, 150, 112), (206, 120, 40),
)  # fmt: skip
CLOTHES: tuple[Color, ...] = (
    (40, 44, 60), (150, 40, 44), (222, 218, 208), (60, 100, 150), (84, 92, 70),
    (190, 160, 60), (30, 30, 32), (120, 70, 130), (205, 110, 120), (110, 112, 118),
)  # fmt: skip
SKIN: tuple[Color, ...] = ((236, 196, 166), (198, 148, 112), (140, 96, 68), (92, 62, 46))

# Outlines (z, y) as shares of length and height, from the rear bumper over the roof to the front: what kind of car.
_CARS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-0.5, 0.22), (-0.5, 0.58), (-0.36, 0.68), (-0.2, 0.98), (0.06, 1.0), (0.24, 0.67), (0.48, 0.54), (0.5, 0.24)),
    ((-0.5, 0.22), (-0.49, 0.6), (-0.44, 0.9), (-0.36, 0.98), (0.06, 1.0), (0.25, 0.66), (0.47, 0.56), (0.5, 0.24)),
    ((-0.5, 0.2), (-0.5, 0.62), (-0.49, 0.94), (-0.4, 1.0), (0.14, 1.0), (0.32, 0.62), (0.48, 0.5), (0.5, 0.22)),
)


def _shaded(color: Color, share: float) -> Color:
    return (color[0] * share, color[1] * share, color[2] * share)


def _front(faces: Sequence[Face]) -> list[int]:
    return [k for k, f in enumerate(faces) if f.normal is not None and f.normal[2] > 0.9]


def _rear(faces: Sequence[Face]) -> list[int]:
    return [k for k, f in enumerate(faces) if f.normal is not None and f.normal[2] < -0.9]


def _wheels(side: float, along: Sequence[float], radius: float) -> tuple[Face, ...]:
    """Tyres and hubs drawn on a side face at x = ``side``."""
    normal = np.array([math.copysign(1.0, side), 0.0, 0.0])
    x = side * 1.005
    found = []
    for z in along:
        found.append(Face(ring((x, radius, z), radius), TYRE, normal))
        found.append(Face(ring((x, radius, z), 0.58 * radius), CHROME, normal))
    return tuple(found)


def car(rng: np.random.Generator) -> tuple[Solid, float]:
    """A car, and its length in m."""
    kind = int(rng.integers(len(_CARS)))
    length, width = rng.uniform(4.0, 4.9), rng.uniform(1.72, 1.95)
    height = (1.45, 1.5, 1.75)[kind] * rng.uniform(0.97, 1.05)
    paint = PAINTS[rng.integers(len(PAINTS))]
    outline = [(z * length, y * height) for z, y in _CARS[kind]]
    # rear bumper, rear lid, rear window, roof, windscreen, bonnet, grille, floor
    colors = [paint, _shaded(paint, 0.97), GLASS, paint, GLASS, paint, _shaded(paint, 0.9), TYRE]
    faces = extruded(outline, width, colors, paint)
    half, radius = width / 2, 0.32
    for k in _rear(faces):
        y0, y1 = faces[k].points[:, 1].min(), faces[k].points[:, 1].max()
        if y1 < 0.8 * height and y0 < 0.3 * height:
            faces[k] = replace(faces[k], decals=_lamps(outline[0][0], y0, y1, half, (196, 24, 20), -1.0))
    for k in _front(faces):
        y0, y1 = faces[k].points[:, 1].min(), faces[k].points[:, 1].max()
        faces[k] = replace(faces[k], decals=_lamps(outline[-1][0], y0, y1, half, (246, 244, 226), 1.0))
    shoulder = 0.66 * height
    cabin = [(z, y) for z, y in outline if y > shoulder]
    for k, sign in ((-2, -1.0), (-1, 1.0)):
        x = sign * half * 1.004
        z0, z1 = cabin[0][0] + 0.1, cabin[-1][0] - 0.02
        top0, top1 = min(z for z, y in cabin if y > 0.93 * height), max(z for z, y in cabin if y > 0.93 * height)
        window = quad((x, shoulder, z0), (x, shoulder, z1), (x, 0.93 * height, top1), (x, 0.93 * height, top0))
        normal = np.array([sign, 0.0, 0.0])
        pillar_z = (top0 + top1) / 2
        pillar = quad(
            (x * 1.002, shoulder, pillar_z - 0.05), (x * 1.002, shoulder, pillar_z + 0.05),
            (x * 1.002, 0.94 * height, pillar_z + 0.05), (x * 1.002, 0.94 * height, pillar_z - 0.05),
        )  # fmt: skip
        decals = (Face(window, GLASS, normal), Face(pillar, paint, normal))
        faces[k] = replace(faces[k], decals=decals + _wheels(sign * half, (-0.3 * length, 0.31 * length), radius))
    return Solid(faces), float(length)


def _lamps(z: float, low: float, high: float, half: float, color: Color, way: float) -> tuple[Face, ...]:
    """Two lamps and a plate on a vertical face at ``z`` that looks ``way``."""
    normal, at = np.array([0.0, 0.0, way]), z * 1.003
    y0, y1 = low + 0.5 * (high - low), low + 0.85 * (high - low)
    found = [
        Face(quad((x0, y0, at), (x1, y0, at), (x1, y1, at), (x0, y1, at)), color, normal, glows=True)
        for x0, x1 in ((-0.95 * half, -0.62 * half), (0.62 * half, 0.95 * half))
    ]
    y0, y1 = low + 0.2 * (high - low), low + 0.42 * (high - low)
    plate = quad((-0.26, y0, at), (0.26, y0, at), (0.26, y1, at), (-0.26, y1, at))
    return (*found, Face(plate, (226, 226, 216), normal))


def _windows(side: float, low: float, high: float, spans: Sequence[tuple[float, float]]) -> tuple[Face, ...]:
    x, normal = side * 1.003, np.array([math.copysign(1.0, side), 0.0, 0.0])
    return tuple(Face(quad((x, low, a), (x, low, b), (x, high, b), (x, high, a)), GLASS, normal) for a, b in spans)


def bus(rng: np.random.Generator) -> tuple[Solid, float]:
    """A city bus, and its length in m."""
    length, width, height = rng.uniform(9.5, 12.0), 2.5, rng.uniform(2.95, 3.2)
    paint = PAINTS[rng.integers(len(PAINTS))]
    stripe = PAINTS[rng.integers(len(PAINTS))]
    end = length / 2
    faces = extruded(
        [(-end, 0.35), (-end, height), (end - 0.1, height), (end, 0.35)], width, [paint, paint, paint, TYRE], paint
    )
    half = width / 2
    for k in _rear(faces):
        z, normal = -end * 1.002, np.array([0.0, 0.0, -1.0])
        pane = quad((-1.0, 1.7, z), (1.0, 1.7, z), (1.0, 2.6, z), (-1.0, 2.6, z))
        faces[k] = replace(
            faces[k], decals=(Face(pane, GLASS, normal), *_lamps(-end, 0.5, 1.4, half, (196, 24, 20), -1.0))
        )
    for k in _front(faces):
        z, normal = end * 1.004, np.array([0.0, 0.0, 1.0])
        pane = quad((-1.12, 1.15, z), (1.12, 1.15, z), (1.12, 2.55, z), (-1.12, 2.55, z))
        sign = quad((-0.9, 2.65, z), (0.9, 2.65, z), (0.9, 2.9, z), (-0.9, 2.9, z))
        lamps = _lamps(end, 0.4, 1.0, half, (246, 244, 226), 1.0)
        faces[k] = replace(
            faces[k],
            decals=(Face(pane, GLASS, normal), Face(sign, (236, 170, 40), normal, glows=True), *lamps),
        )
    spans = [(float(z), float(z) + 1.15) for z in np.arange(-end + 0.5, end - 1.4, 1.35)]
    for k, x in ((-2, -half), (-1, half)):
        band = quad((x * 1.002, 0.8, -end), (x * 1.002, 0.8, end), (x * 1.002, 1.15, end), (x * 1.002, 1.15, -end))
        decals = (Face(band, stripe, faces[k].normal), *_windows(x, 1.4, 2.5, spans))
        faces[k] = replace(faces[k], decals=decals + _wheels(x, (-0.28 * length, 0.33 * length), 0.48))
    return Solid(faces), float(length)


def truck(rng: np.random.Generator) -> tuple[Solid, float]:
    """A box truck, and its length in m."""
    length, width, height = rng.uniform(6.0, 9.0), 2.35, rng.uniform(2.9, 3.6)
    box = (226.0, 226.0, 222.0) if rng.random() < 0.6 else PAINTS[rng.integers(len(PAINTS))]
    cab = PAINTS[rng.integers(len(PAINTS))]
    end, half = length / 2, width / 2
    back = extruded(
        [(-end, 0.75), (-end, height), (end - 1.9, height), (end - 1.9, 0.75)], width, [box, box, box, TYRE], box
    )
    front = extruded(
        [(end - 1.8, 0.4), (end - 1.8, 2.35), (end - 0.7, 2.4), (end - 0.05, 1.45), (end, 0.4)],
        width - 0.15, [cab, cab, GLASS, cab, TYRE], cab,
    )  # fmt: skip
    for k in _rear(back):
        z, normal = -end * 1.002, np.array([0.0, 0.0, -1.0])
        seam = quad((-0.03, 0.85, z), (0.03, 0.85, z), (0.03, height - 0.1, z), (-0.03, height - 0.1, z))
        bumper = quad((-half, 0.45, z), (half, 0.45, z), (half, 0.75, z), (-half, 0.75, z))
        lamps = _lamps(-end, 0.35, 0.85, half, (196, 24, 20), -1.0)
        back[k] = replace(back[k], decals=(Face(seam, (90, 90, 90), normal), Face(bumper, TYRE, normal), *lamps))
    for k in _front(front):
        front[k] = replace(front[k], decals=_lamps(end, 0.45, 1.2, half - 0.1, (246, 244, 226), 1.0))
    for k, sign in ((-2, -1.0), (-1, 1.0)):
        x = sign * half
        back[k] = replace(back[k], decals=_wheels(x, (-0.3 * length,), 0.46))
        window = _windows(sign * (half - 0.07), 1.4, 2.2, [(end - 1.5, end - 0.75)])
        front[k] = replace(front[k], decals=window + _wheels(sign * (half - 0.07), (end - 0.9,), 0.46))
    return Solid([*back, *front]), float(length)


def _at(x: float, y: float, z: float) -> Floats:
    return np.array([x, y, z])


class Person:
    """A pedestrian: legs and arms swing with the phase of the gait."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.height = float(rng.uniform(1.5, 1.92) if rng.random() < 0.88 else rng.uniform(1.0, 1.4))
        self.coat, self.trousers = (CLOTHES[k] for k in rng.integers(len(CLOTHES), size=2))
        self.skin, self.hair = SKIN[rng.integers(len(SKIN))], _shaded((70, 52, 36), rng.uniform(0.3, 1.6))
        self.bag = rng.random() < 0.25
        self.stout = float(rng.uniform(0.85, 1.2))

    def solid(self, phase: float, pace: float) -> Solid:
        """Phase in radians; ``pace`` 0 stands, 1 walks briskly."""
        h, swing = self.height, 0.4 * pace * math.sin(phase)
        hip, shoulder, sleeve = (0.02 + 0.48 * math.cos(swing)) * h, 0.82 * h, _shaded(self.coat, 0.92)
        parts: Parts = []
        for side in (-1.0, 1.0):
            angle = side * swing
            bend = angle - max(0.0, -angle) * 0.9
            knee = (side * 0.06 * h, hip - 0.25 * h * math.cos(angle), 0.25 * h * math.sin(angle))
            foot = (knee[0], knee[1] - 0.24 * h * math.cos(bend), knee[2] + 0.24 * h * math.sin(bend))
            toes = (foot[0], foot[1] - 0.005 * h, foot[2] + 0.06 * h)
            elbow = (side * 0.15 * h, 0.66 * h, -0.1 * h * math.sin(angle))
            hand = (side * 0.15 * h, hip - 0.01 * h, -0.2 * h * math.sin(angle))
            parts += [
                Limb((side * 0.05 * h, hip, 0.0), knee, 0.05 * h, self.trousers),
                Limb(knee, foot, 0.036 * h, self.trousers),
                Limb(foot, toes, 0.025 * h, TYRE),
                Limb((side * 0.12 * h, shoulder - 0.02 * h, 0.0), elbow, 0.034 * h, sleeve),
                Limb(elbow, hand, 0.028 * h, self.skin),
            ]
        broad, face, crown = 0.085 * h * self.stout, 0.012 * h, 0.945 * h
        parts += [
            Limb((0.0, hip + 0.03 * h, 0.0), (0.0, shoulder - 0.06 * h, 0.0), broad, self.coat),
            Limb((0.0, shoulder, 0.0), (0.0, 0.88 * h, 0.0), 0.03 * h, self.skin),
            Limb((0.0, 0.925 * h, face), (0.0, 0.935 * h, face), 0.058 * h, self.skin),
            Limb((0.0, crown, -face), (0.0, crown, -face), 0.057 * h, self.hair),
        ]
        if self.bag:
            parts.append(Limb((0.0, 0.62 * h, -0.1 * h), (0.0, 0.74 * h, -0.1 * h), 0.07 * h, self.trousers))
        return Solid(parts)


class Rider(Person):
    """Somebody on a bicycle or motorcycle, knees moving with the phase where there are pedals."""

    def __init__(self, rng: np.random.Generator, pedals: bool) -> None:
        super().__init__(rng)
        self.pedals = pedals
        self.helmet: Color = PAINTS[rng.integers(len(PAINTS))] if not pedals or rng.random() < 0.6 else self.hair

    def solid(self, phase: float, pace: float) -> Solid:
        seat = _at(0, 0.95, -0.2) if self.pedals else _at(0, 0.84, -0.18)
        neck, hand = seat + _at(0, 0.5, 0.3), _at(0.24, 1.02, 0.38)
        parts: Parts = [Limb(seat, neck - _at(0, 0.12, 0.07), 0.15, self.coat)]
        for side in (-1.0, 1.0):
            if self.pedals:
                foot = _at(
                    side * 0.12, 0.3 + 0.16 * math.cos(phase + side * 1.57), 0.16 * math.sin(phase + side * 1.57)
                )
            else:
                foot = _at(side * 0.2, 0.32, 0.05)
            knee = (seat + foot) / 2 + _at(side * 0.08, 0.08, 0.24)
            parts += [
                Limb(seat + _at(side * 0.08, 0, 0), knee, 0.085, self.trousers),
                Limb(knee, foot, 0.06, self.trousers),
                Limb(neck + _at(side * 0.17, -0.06, 0), hand * _at(side, 1, 1), 0.05, _shaded(self.coat, 0.92)),
            ]
        parts.append(Limb(neck + _at(0, 0.16, 0.07), neck + _at(0, 0.17, 0.07), 0.105, self.skin))
        parts.append(Limb(neck + _at(0, 0.21, 0.05), neck + _at(0, 0.21, 0.05), 0.115, self.helmet))
        return Solid(parts)


def _round(centre: tuple[float, float, float], radius: float, thick: float, color: Color, corners: int = 12) -> Parts:
    points = ring(centre, radius, corners=corners)
    return [Limb(points[k - 1], points[k], thick, color) for k in range(corners)]


def bicycle(rng: np.random.Generator) -> tuple[Solid, float]:
    """A bicycle without its rider, and its length in m."""
    paint = PAINTS[rng.integers(len(PAINTS))]
    rear, front, crank = (0.0, 0.34, -0.52), (0.0, 0.34, 0.52), _at(0, 0.3, -0.05)
    saddle, head = _at(0, 0.86, -0.2), _at(0, 0.84, 0.36)
    parts = _round(rear, 0.34, 0.025, TYRE) + _round(front, 0.34, 0.025, TYRE)
    for a, b in (
        (crank, saddle), (crank, head), (saddle - _at(0, 0.1, 0), head), (np.array(rear), crank),
        (np.array(rear), saddle - _at(0, 0.1, 0)), (np.array(front), head + _at(0, 0.12, -0.04)),
    ):  # fmt: skip
        parts.append(Limb(a, b, 0.022, paint))
    parts.append(Limb(_at(-0.26, 1.0, 0.34), _at(0.26, 1.0, 0.34), 0.018, TYRE))
    parts.append(Limb(saddle, saddle + _at(0, 0.02, -0.14), 0.05, TYRE))
    return Solid(parts), 1.72


def motorcycle(rng: np.random.Generator) -> tuple[Solid, float]:
    """A motorcycle without its rider, and its length in m."""
    paint = PAINTS[rng.integers(len(PAINTS))]
    rear, front = (0.0, 0.31, -0.68), (0.0, 0.31, 0.72)
    parts: Parts = [Limb(_at(0, 0.31, z), _at(0, 0.31, z), 0.13, CHROME) for z in (rear[2], front[2])]
    parts += _round(rear, 0.27, 0.06, TYRE) + _round(front, 0.27, 0.055, TYRE)
    parts += [
        Limb(_at(0, 0.45, -0.2), _at(0, 0.45, 0.25), 0.17, _shaded(CHROME, 0.6)),
        Limb(_at(0, 0.78, 0.02), _at(0, 0.84, 0.32), 0.14, paint),
        Limb(_at(0, 0.74, -0.2), _at(0, 0.8, -0.72), 0.11, TYRE),
        Limb(_at(0.0, 0.34, 0.72), _at(0.0, 0.95, 0.45), 0.05, CHROME),
        Limb(_at(-0.36, 1.02, 0.4), _at(0.36, 1.02, 0.4), 0.03, TYRE),
        Limb(_at(0, 0.9, 0.52), _at(0, 0.9, 0.54), 0.09, (240, 238, 220)),
        Limb(_at(0, 0.8, -0.84), _at(0, 0.8, -0.86), 0.05, (196, 24, 20)),
    ]
    return Solid(parts), 2.0


def traffic_light(low: float, lit: int) -> Solid:
    """The housing with its lamps, ``low`` m above the ground, facing its own rear; lit: 0 red, 1 amber, 2 green."""
    faces = extruded(
        [(-0.14, low), (-0.14, low + 1.15), (0.14, low + 1.15), (0.14, low)], 0.5, [(28, 30, 28)] * 4, (28, 30, 28)
    )
    colors: tuple[Color, ...] = ((255, 48, 36), (255, 190, 40), (60, 255, 150))
    normal = np.array([0.0, 0.0, -1.0])
    lamps = tuple(
        Face(
            ring((0.0, low + 0.95 - 0.37 * k, -0.145), 0.15, "z"),
            color if k == lit else _shaded(color, 0.22),
            normal,
            glows=k == lit,
        )
        for k, color in enumerate(colors)
    )
    return Solid([replace(f, decals=lamps) if f.normal is not None and f.normal[2] < -0.9 else f for f in faces])


def stop_sign(low: float) -> Solid:
    """The octagon alone, facing its own rear."""
    normal, centre = np.array([0.0, 0.0, -1.0]), low + 0.38
    angle = np.pi / 8 + np.arange(8) * np.pi / 4

    def octagon(radius: float, z: float) -> Floats:
        return np.stack([radius * np.cos(angle), centre + radius * np.sin(angle), np.full(8, z)], axis=1)

    red: Color = (186, 24, 30)
    strokes = []
    for k in range(4):  # four letters, as thick strokes
        x = -0.235 + 0.125 * k
        stroke = quad((x, centre - 0.1, -0.02), (x + 0.085, centre - 0.1, -0.02),
                      (x + 0.085, centre + 0.1, -0.02), (x, centre + 0.1, -0.02))  # fmt: skip
        inner = stroke.copy()
        inner[:, 0] = x + 0.028 + (inner[:, 0] - x) * 0.35
        inner[:, 1] = centre + (inner[:, 1] - centre) * 0.6
        strokes += [Face(stroke, (236, 236, 232), normal), Face(inner, red, normal)]
    white = Face(octagon(0.405, 0.0), (236, 236, 232), normal, (Face(octagon(0.37, -0.01), red, normal), *strokes))
    return Solid([white, Face(octagon(0.405, 0.01), (120, 122, 124), -normal)])


def pole(height: float, arm: float = 0.0) -> Solid:
    """A post; ``arm`` m long to the left at its top, where a light hangs."""
    grey: Color = (96, 100, 102)
    parts: Parts = [Limb(_at(0, 0, 0), _at(0, height, 0), 0.07, grey)]
    if arm:
        parts.append(Limb(_at(0, height, 0), _at(-arm, height + 0.15, 0), 0.05, grey))
    return Solid(parts)


def tree(rng: np.random.Generator) -> Solid:
    """A trunk and a crown of leaves."""
    height = rng.uniform(4.5, 7.5)
    leaf = _shaded((70, 104, 48), rng.uniform(0.7, 1.25))
    parts: Parts = [Limb(_at(0, 0, 0), _at(0, 0.6 * height, 0), rng.uniform(0.1, 0.17), (78, 62, 48))]
    for _ in range(11):
        x, z = rng.normal(0, 0.75, 2)
        y, radius = rng.uniform(0.52, 0.95) * height, rng.uniform(0.5, 0.95)
        shade = _shaded(leaf, 0.7 + 0.5 * (y / height - 0.4) + rng.uniform(-0.1, 0.1))
        parts.append(Limb(_at(x, y, z), _at(x + rng.normal(0, 0.2), y, z), radius, shade))
    return Solid(parts)
