"""The built-in data: a drive down a procedural street, drawn at any resolution, with exact boxes.

A sequence is a function of (seed, number) alone; resolution only decides how finely it is drawn. A box holds all of
a thing that lies inside of the picture, as an annotator would draw it, and is kept where a quarter of that is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from edgekd.recipes.streaming.classes import PADDING
from edgekd.recipes.streaming.street_backdrop import Backdrop, View
from edgekd.recipes.streaming.street_solids import Camera, Light, Patch, paint
from edgekd.recipes.streaming.street_traffic import SIGHT, Ride, Thing, cast, layout, ride

VERSION = 2  # part of the cache's key: raised when drawn streets change
LEAST_SIDE = 3.0  # px; smaller things have no box
LEAST_SEEN = 0.25  # of a thing's part in the picture

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Boxes = NDArray[np.float32]  # (n, 5): class, x0, y0, x1, y1 px


def drive(seed: int, number: int, frames: int, size: tuple[int, int]) -> Iterator[tuple[Picture, Boxes]]:
    """Frames of sequence ``number``, at 30 per second, of ``size`` (width, height), each with its boxes."""
    street = layout(np.random.default_rng([seed, number, 0]))
    own, lane = ride(np.random.default_rng([seed, number, 1]), frames, street)
    things = cast(np.random.default_rng([seed, number, 2]), street, own, lane)
    backdrop = Backdrop(np.random.default_rng([seed, number, 3]), street, float(own.s[-1]))
    weather = _Weather(np.random.default_rng([seed, number, 4]))
    noise = np.random.default_rng([seed, number, 5])
    for k in range(frames):
        yield _frame(k, size, own, things, backdrop, weather, noise)


class _Weather:
    """Light, lens and sensor of one drive."""

    def __init__(self, rng: np.random.Generator) -> None:
        bright = rng.uniform(0.0, 1.0)  # 0 a dull evening, 1 a clear noon
        azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.35, 1.2)
        self.sun = np.array(
            [math.sin(azimuth) * math.cos(height), -math.sin(height), math.cos(azimuth) * math.cos(height)]
        )
        self.ambient = 0.5 + 0.12 * rng.random() - 0.12 * bright
        self.direct = (0.12 + 0.6 * bright) * rng.uniform(0.8, 1.1)
        grey = 130.0 + 95.0 * bright
        tint = rng.uniform(-0.05, 0.07)
        self.haze = (grey * (1 + tint), grey * (1 + tint / 3), grey * (1 - tint))
        self.visibility = float(rng.choice([90.0, 180.0, 350.0, 600.0]))
        self.shadow = 0.25 + 0.35 * bright
        self.gain = rng.uniform(0.88, 1.12) * np.array([1 + tint, 1.0, 1 - tint], np.float32)
        self.noise = float(rng.uniform(1.0, 5.0))
        self.height = float(rng.uniform(1.4, 1.8))
        self.focal = float(rng.uniform(0.68, 0.8))  # in picture widths

    def light(self, view: View) -> Light:
        cos, sin = math.cos(view.heading), math.sin(view.heading)
        x, y, z = self.sun
        sun = np.array([x * cos - z * sin, y, x * sin + z * cos])
        return Light(sun, self.ambient, self.direct, self.haze, self.visibility)


@dataclass(frozen=True)
class _Placed:
    thing: Thing
    x: float
    z: float
    heading: float


def _frame(
    k: int,
    size: tuple[int, int],
    own: Ride,
    things: Sequence[Thing],
    backdrop: Backdrop,
    weather: _Weather,
    noise: np.random.Generator,
) -> tuple[Picture, Boxes]:
    view = View(*(float(track[k]) for track in (own.s, own.d, own.curvature, own.yaw, own.pitch, own.heading)))
    focal = weather.focal * size[0]
    camera = Camera(focal, (size[0] / 2, 0.46 * size[1] + view.pitch * focal), size, weather.height)
    light = weather.light(view)
    canvas = backdrop.paint(camera, view, light)
    walls = backdrop.depths(camera, view)
    placed = sorted(_visible(k, things, view, camera, walls), key=lambda p: -(p.z - p.thing.lift))
    _shadows(canvas, placed, camera, weather.shadow)
    patches = [(p, paint(p.thing.solid(k), (p.x, p.z), p.heading, camera, light)) for p in placed]
    drawn = [(p, _behind(patch, walls, p.z)) for p, patch in patches if patch is not None]
    boxes = _boxes(drawn, size)
    for _, (patch, _) in drawn:
        height, width = patch.alpha.shape
        part = canvas[patch.top : patch.top + height, patch.left : patch.left + width]
        part *= 1.0 - patch.alpha[:, :, None]
        part += patch.color
    canvas *= weather.gain
    canvas += weather.noise * noise.standard_normal(canvas.shape, np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8), boxes


def _visible(k: int, things: Sequence[Thing], view: View, camera: Camera, walls: NDArray) -> Iterator[_Placed]:
    """In camera axes, into which the road's bend and the camera's yaw turn them; what houses hide is left out."""
    for thing in things:
        z = float(thing.s[k]) - view.s
        half = max(1.0, thing.shadow[0] / 2) + (3.0 if thing.kind == PADDING else 0.5)
        if not -half < z < SIGHT:
            continue
        x = float(thing.d[k]) - view.d + (view.curvature / 2) * z * abs(z) - view.yaw * z
        if z > half:
            scale = camera.focal / z
            left, right = (int(camera.centre[0] + (x + side) * scale) for side in (-half, half))
            if not (walls[max(0, left) : max(0, right + 1)] > z - half).any():  # or out of the picture
                continue
        yield _Placed(thing, x, z, float(thing.heading[k]) + view.curvature * max(z, 0.0) - view.yaw)


def _shadows(canvas: NDArray[np.float32], placed: Sequence[_Placed], camera: Camera, depth: float) -> None:
    """Darkens the ground below things."""
    mask = Image.new("L", camera.size)
    draw = ImageDraw.Draw(mask)
    for p in placed:
        length, width = p.thing.shadow
        if not length or p.z - length / 2 < 0.8:
            continue
        cos, sin = math.cos(p.heading), math.sin(p.heading)
        points = []
        for across, along in ((-0.55, -0.53), (0.55, -0.53), (0.55, 0.53), (-0.55, 0.53)):
            x, z = across * width, along * length
            ahead = max(0.5, p.z + z * cos - x * sin)
            scale = camera.focal / ahead
            points.append(
                (camera.centre[0] + (p.x + x * cos + z * sin) * scale, camera.centre[1] + camera.height * scale)
            )
        draw.polygon(points, fill=255)
    soft = mask.filter(ImageFilter.GaussianBlur(max(0.6, camera.size[0] / 320)))
    canvas *= 1.0 - (depth / 255.0) * np.asarray(soft, np.float32)[:, :, None]


def _behind(patch: Patch, walls: NDArray, z: float) -> tuple[Patch, float]:
    """What no house hides of it, and the area in px of the whole."""
    whole = float(patch.alpha.sum())
    hidden = walls[patch.left : patch.left + patch.alpha.shape[1]] < z
    if hidden.any():
        patch.alpha[:, hidden] = 0.0
        patch.color[:, hidden] = 0.0
    return patch, whole


def _boxes(drawn: Sequence[tuple[_Placed, tuple[Patch, float]]], size: tuple[int, int]) -> Boxes:
    """What is seen of each thing, nearest first; ``drawn`` is farthest first."""
    hidden = np.zeros((size[1], size[0]), np.float32)
    found = []
    for p, (patch, whole) in reversed(drawn):
        height, width = patch.alpha.shape
        part = hidden[patch.top : patch.top + height, patch.left : patch.left + width]
        if p.thing.kind != PADDING:
            seen = float((patch.alpha * (1.0 - part)).sum())
            x0, y0, x1, y1 = patch.extent
            x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, size[0]), min(y1, size[1])
            if seen >= LEAST_SEEN * whole > 0 and min(x1 - x0, y1 - y0) >= LEAST_SIDE:
                found.append((p.thing.kind, x0, y0, x1, y1))
        np.maximum(part, patch.alpha, out=part)
    return np.array(found, np.float32).reshape(-1, 5)
