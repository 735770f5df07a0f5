"""The built-in wardrobe: drawn people in drawn garments, with the true warp.

A person and a garment are numbers (``wardrobe_person``, ``wardrobe_garment``); a person can be drawn in any garment,
and then nothing else changes: light, pose and hair are the person's. People stand before white, which is what the
pipeline makes of any photograph (B6): the teacher is told nothing of a background, so it could not draw one. All of it
is a pure function of the seeds, and the same at every size: only grain and outlines' softness are the camera's.

Labels are numbered as VITON's label maps are for the teacher (hair 1, upper clothes 4, trousers and skirts 8, legs 9
and 10, left arm 11, face 12, right arm 13; the neck has none, as there), body parts as DensePose's 24, key points as
OpenPose's 18.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.recipes.tryon import wardrobe_head as head
from edgekd.recipes.tryon import wardrobe_scene as scene
from edgekd.recipes.tryon import wardrobe_worn as worn
from edgekd.recipes.tryon.wardrobe_fabric import paint
from edgekd.recipes.tryon.wardrobe_field import Floats, Rng, gradient, smoothstep
from edgekd.recipes.tryon.wardrobe_garment import Garment, product_picture, sample_garment
from edgekd.recipes.tryon.wardrobe_person import sample_person

__all__ = ["Dressed", "draw_garment", "draw_person"]

SMALLEST = 32  # px of a picture's side
_ARMPIT = 0.2  # body units from the shoulder: from here on an arm is seen before what it hangs beside
_WHOLE = (slice(None), slice(None))


@dataclass(frozen=True)
class Dressed:
    """A person in a garment.

    Attributes:
        image: (H, W, 3) uint8.
        label: (H, W) uint8, parsing.
        part: (H, W) uint8, 0..24.
        points: (18, 3) float32, x, y in px (the first pixel's centre is (0.5, 0.5)) and whether it is in the picture.
        grid: (H, W, 2) float32, x, y in -1..1 of the garment's picture (align_corners=True) for each pixel.
        seen: (H, W) uint8, 255 where ``grid`` is true: the garment is on top there, and its flat picture shows that.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    part: NDArray[np.uint8]
    points: Floats
    grid: Floats
    seen: NDArray[np.uint8]


def _stream(kind: int, seed: int, index: int, part: int) -> Rng:
    """Independent generators for what is drawn: what one thing takes changes no other."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64), counter=[0, kind, 0, part]))


@lru_cache(maxsize=16)  # it is asked for once to be laid flat, and once to be worn
def _garment(seed: int, index: int, ratio: float = 0.75) -> Garment:
    """``ratio``: width by height of its picture, which decides how large it lies there."""
    return sample_garment(_stream(2, seed, index, 0), ratio)


def _check(seed: int, index: int, size: tuple[int, int]) -> None:
    if seed < 0 or index < 0 or min(size) < SMALLEST:
        raise InputError(
            f"nothing can be drawn for seed {seed}, index {index}, {size[1]}x{size[0]} px",
            f"seed and index count from 0, and a side has at least {SMALLEST} px",
        )


def draw_garment(seed: int, index: int, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The product picture of garment ``index``: (H, W, 3) uint8 on white, and its mask (H, W), 0 or 255.

    Args:
        size: (height, width).

    Raises:
        InputError: seed or index negative, or a side below 32 px.
    """
    _check(seed, index, size)
    return product_picture(_garment(seed, index, size[1] / size[0]), _stream(2, seed, index, 1), size)


def draw_person(seed: int, index: int, garment: int, size: tuple[int, int]) -> Dressed:
    """Person ``index`` in garment ``garment`` of the same seed.

    Args:
        size: (height, width).

    Raises:
        InputError: as ``draw_garment``, or ``garment`` negative.
    """
    _check(seed, min(index, garment), size)
    person = sample_person(_stream(1, seed, index, 0))
    dress = _garment(seed, garment, size[1] / size[0])
    view = worn.View.of(person, size)
    body = worn.torso(view)
    light = scene.sample_light(_stream(1, seed, index, 1))
    canvas = scene.Canvas(np.ones((*size, 3), np.float32))
    drawing = _Drawing(canvas, view, body, light, dress, seed, index, garment)
    drawing.draw()
    image = _camera(_stream(1, seed, index, 9), canvas.rgb, canvas.bare)
    return Dressed(image, canvas.label, canvas.part, _points(view), drawing.grid, drawing.seen)


class _Drawing:
    """One picture in the making, from back to front."""

    def __init__(
        self,
        canvas: scene.Canvas,
        view: worn.View,
        body: worn.Torso,
        light: scene.Light,
        dress: Garment,
        seed: int,
        index: int,
        garment: int,
    ) -> None:
        self.canvas, self.view, self.body, self.light = canvas, view, body, light
        self.dress, self.person, self.keys = dress, view.person, (seed, index)
        self.size = view.size
        rng = _stream(3, seed, index * 1_000_003 + garment, 0)
        self.drape = worn.sample_drape(rng)
        folds = worn.folds(rng, view, body, dress.cut, view.person.tucked)
        self.slope = gradient(folds)
        self.grid = np.zeros((*self.size, 2), np.float32)
        self.seen = np.zeros(self.size, np.uint8)
        self.panel = worn.panel(view, body, dress.cut, self.drape, self.slope)
        self.limbs = [worn.limb(view, body, arm, side) for arm, side in zip(view.person.arms, (-1, 1), strict=True)]

    def draw(self) -> None:
        seed, index = self.keys
        rng = _stream(1, seed, index, 3)
        behind = [k for k in (0, 1) if self.person.arms[k].behind]
        before = [k for k in (0, 1) if not self.person.arms[k].behind]
        if _stream(1, seed, index, 6).random() < 0.5:
            before.reverse()
        head.draw_hair_behind(self.canvas, _stream(1, seed, index, 4), self.view, self.light)
        for k in behind:
            self._arm(k, shadow=None)
        scene.draw_torso(self.canvas, self.view, self.body, self.light)
        if not self.person.tucked:
            scene.draw_bottom(self.canvas, rng, self.view, self.body, self.light)
        if not self.dress.cut.sleeve:  # a bare shoulder goes on below the armhole
            for k in before:
                scene.draw_bare_arm(self.canvas, self.view, self.person.arms[k], (-1, 1)[k], self.limbs[k], self.light)
        self._hem_shadow()
        self._fabric(self.panel)
        if self.person.tucked:
            window, cover = scene.draw_bottom(self.canvas, rng, self.view, self.body, self.light)
            self.seen[window][cover > 0.02] = 0
        self._under_chin()
        head.draw_head(self.canvas, _stream(1, seed, index, 5), self.view, self.light)
        self._hidden()
        over = np.maximum(self.panel.cover, (self.canvas.part == scene.TORSO).astype(np.float32))
        for k in before:
            self._arm(k, shadow=over)
        head.draw_hair_in_front(self.canvas, _stream(1, seed, index, 7), self.view, self.body, self.light)
        self._hidden()

    def _hidden(self) -> None:
        """What no longer shows the garment has no warp."""
        self.seen[self.canvas.label != scene.CLOTHES] = 0

    def _arm(self, k: int, shadow: Floats | None) -> None:
        arm, side, found = self.person.arms[k], (-1, 1)[k], self.limbs[k]
        if shadow is not None:
            scene.cast_shadow(self.canvas, self.view, found, self.light, shadow)
        fabric = worn.sleeve(self.view, arm, side, found, self.dress.cut, self.drape, self.panel, self.slope)
        begins = _ARMPIT if fabric is None else float(found.along[fabric.cover > 0.5].max(initial=0)) - 0.05
        scene.draw_bare_arm(self.canvas, self.view, arm, side, found, self.light, begins)
        self._hidden()
        if fabric is not None:
            self._fabric(fabric)

    def _fabric(self, layer: worn.Surface) -> None:
        """Lays a layer of fabric: the flat garment's colours, looked up and lit."""
        window, cut = layer.window, self.dress.cut
        covered = layer.cover > 0
        ratio = self.size[1] / self.size[0]
        x, y = cut.in_picture(layer.u[covered], layer.v[covered], ratio)
        color = np.zeros((*layer.cover.shape, 3), np.float32)
        slope = (self.slope[0][window], self.slope[1][window])
        shade = self.light.on(layer.nx * np.float32(0.9), np.zeros_like(layer.nx), layer.nz, slope)
        bust = self._bust(window) if layer is self.panel else 0.0
        shade = shade * (1 + bust)
        lit = paint(self.dress, layer.u[covered], layer.v[covered], self.view.pixel) * (
            shade[covered, None] * self.light.tint
        )
        lit += np.float32(self.dress.fabric.gloss) * np.clip(shade[covered, None] - np.float32(0.95), 0, 1)
        color[covered] = np.clip(lit, 0, 1)
        self.canvas.lay(window, layer.cover, color, scene.CLOTHES)
        solid = layer.cover > 0.5
        height, width = self.size
        gx = (x * np.float32(height) - 0.5) * np.float32(2 / (width - 1)) - 1
        gy = (y * np.float32(height) - 0.5) * np.float32(2 / (height - 1)) - 1
        kept = solid[covered]
        self.grid[window][solid] = np.stack([gx, gy], 1)[kept]
        self.seen[window][layer.cover > 0.02] = 0
        self.seen[window][(layer.cover > 0.99) & layer.front] = 255

    def _bust(self, window: tuple[slice, slice]) -> Floats:
        """Shading of a chest that is not flat."""
        x, y = self.body.x[window], self.body.y[window]
        found = np.zeros_like(x)
        middle = np.float32(0.4 * self.person.yaw * 0.3)
        for side in (-1, 1):
            dx, dy = x - middle - np.float32(side * 0.115), y - np.float32(0.36)
            dome = np.exp(-((dx / 0.085) ** 2 + (dy / 0.085) ** 2))
            found += dome * (dx * self.light.direction[0] * 4 - dy * 5 * abs(self.light.direction[1]) - dy * 2.2)
        return np.float32(0.75 * self.person.bust) * found

    def _hem_shadow(self) -> None:
        cover, step = self.panel.cover, max(1, self.size[0] // 60)
        down = scene.blurred(np.roll(cover, step, 0), step)
        self.canvas.darken(_WHOLE, 0.3 * down * (1 - cover) * (self.body.y > 0.6) * (self.canvas.label > 0))

    def _under_chin(self) -> None:
        y = self.body.y
        reach = np.exp(-((self.body.x / np.float32(1.5 * self.person.neck)) ** 2))
        self.canvas.darken(_WHOLE, 0.16 * reach * smoothstep(0.13, 0.02, y) * (y > 0) * self.panel.cover)


def _points(view: worn.View) -> Floats:
    """OpenPose's 18 in px, with 1 for those in the picture, else 0."""
    person = view.person
    face = head.face_points(person)
    at: list[tuple[float, float]] = [face["nose"], (0.0, 0.06)]
    for arm in person.arms:
        lengths = np.array([0.0, arm.elbow, float(arm.along[-1])])
        xy = np.stack([np.interp(lengths, arm.along, arm.points[:, k]) for k in (0, 1)], 1)
        xy[:, 1] += worn.tilted(person, xy[:, 0].astype(np.float32), xy[:, 1].astype(np.float32))
        at += [(float(x), float(y)) for x, y in xy]
    for side in (-1, 1):
        hip = 0.5 * side * person.width.one(1.0)
        at += [(hip, 1.0), (1.1 * hip, 1.85), (1.1 * hip, 2.6)]
    at += [face["right_eye"], face["left_eye"], face["right_ear"], face["left_ear"]]
    pixels = np.array([view.to_picture(x, y) for x, y in at], np.float32)
    height, width = view.size
    x, y = pixels.T
    return np.stack([x, y, (x >= 0) & (y >= 0) & (x < width) & (y < height)], 1).astype(np.float32)


def _camera(rng: Rng, rgb: Floats, bare: Floats) -> NDArray[np.uint8]:
    """Exposure, a soft shoulder in the lights, grain; the person, but not what is ``bare`` and was made white later."""
    gain, lift = np.float32(rng.uniform(0.9, 1.08)), np.float32(rng.uniform(0.0, 0.03))
    value = rgb * gain + lift
    value = np.where(value > 0.85, 0.85 + 0.15 * np.tanh((value - 0.85) / 0.15), value)
    value += np.float32(rng.uniform(0.003, 0.012)) * rng.standard_normal(rgb.shape[:2], np.float32)[..., None]
    value += (1 - value) * bare[..., None]
    return (np.clip(value, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
