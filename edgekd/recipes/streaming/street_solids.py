"""Solids of the procedural street: faces and limbs in metres, projected and painted into small patches.

A solid's own axes: x to its right, y up from the ground, z ahead. The camera's: x right, y down, z ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float64]
Color = tuple[float, float, float]  # 0..255
NEAR = 0.3  # m; nothing nearer is drawn
FARTHEST_PX = 30_000  # of a corner from its patch: a polygon far out of the picture
_NO_NORMAL = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Face:
    """A flat polygon. ``normal`` points outwards; None: seen from both sides. ``decals`` lie on it."""

    points: Floats  # (n, 3)
    color: Color
    normal: Floats | None = None
    decals: tuple[Face, ...] = ()
    glows: bool = False  # a lamp: sun and shade do not change it


@dataclass(frozen=True)
class Limb:
    """A round bar from one point to another; of length 0 a ball."""

    start: Sequence[float] | Floats  # (3,)
    end: Sequence[float] | Floats
    radius: float
    color: Color


@dataclass(frozen=True)
class Camera:
    """A pinhole: focal length and principal point in px of a picture of (width, height); above the ground in m."""

    focal: float
    centre: tuple[float, float]
    size: tuple[int, int]
    height: float


@dataclass(frozen=True)
class Light:
    """Direction to the sun in camera axes (unit), shares of sky and sun, haze: colour and visibility in m."""

    sun: Floats
    ambient: float
    direct: float
    haze: Color
    visibility: float

    def veil(self, distance: float) -> float:
        """Share of haze in what is seen at a distance."""
        return 1.0 - math.exp(-distance / self.visibility)


@dataclass(frozen=True)
class Patch:
    """A painted solid: its place in the picture, premultiplied colour 0..255 and alpha 0..1, and its exact extent."""

    left: int
    top: int
    color: NDArray[np.float32]  # (h, w, 3)
    alpha: NDArray[np.float32]  # (h, w)
    extent: tuple[float, float, float, float]  # x0, y0, x1, y1 px, not cut off at the picture's edges


def quad(a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float]) -> Floats:
    return np.array([a, b, c, d], np.float64)


def extruded(profile: Sequence[tuple[float, float]], width: float, colors: Sequence[Color], side: Color) -> list[Face]:
    """A convex outline (z, y), going round, as wide as ``width``: one face per edge, then left and right side."""
    half = width / 2
    corners = np.array(profile, np.float64)
    middle = corners.mean(axis=0)
    faces = []
    for k, color in enumerate(colors):
        (z0, y0), (z1, y1) = corners[k], corners[(k + 1) % len(corners)]
        normal = np.array([0.0, z1 - z0, y0 - y1])
        if normal[1] * ((y0 + y1) / 2 - middle[1]) + normal[2] * ((z0 + z1) / 2 - middle[0]) < 0:
            normal = -normal
        normal /= np.linalg.norm(normal)
        faces.append(Face(quad((-half, y0, z0), (half, y0, z0), (half, y1, z1), (-half, y1, z1)), color, normal))
    for sign in (-1.0, 1.0):
        points = np.stack([np.full(len(corners), sign * half), corners[:, 1], corners[:, 0]], axis=1)
        faces.append(Face(points, side, np.array([sign, 0.0, 0.0])))
    return faces


def ring(centre: Sequence[float], radius: float, axis: str = "x", corners: int = 12) -> Floats:
    """A circle's points around the ``x`` (a wheel) or ``z`` axis (a lamp)."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    across, up = radius * np.cos(angle), radius * np.sin(angle)
    flat = np.zeros(corners)
    return np.asarray(centre) + np.stack([flat, up, across] if axis == "x" else [across, up, flat], axis=1)


class Solid:
    """Faces and limbs with all their points in one array."""

    def __init__(self, parts: Sequence[Face | Limb]) -> None:
        points: list[Any] = []
        marks: list[tuple[int, int, int, float, Color, Any, bool]] = []
        centres = []
        for group, part in enumerate(parts):
            if isinstance(part, Limb):
                marks.append((group, len(points), 2, part.radius, part.color, _NO_NORMAL, False))
                points += [part.start, part.end]
                centres.append([(a + b) / 2 for a, b in zip(part.start, part.end, strict=True)])
                continue
            for face in (part, *part.decals):
                normal = _NO_NORMAL if face.normal is None else face.normal
                marks.append((group, len(points), len(face.points), 0.0, face.color, normal, face.glows))
                points += list(face.points)
            centres.append(part.points.mean(axis=0))
        groups, firsts, counts, radii, colors, normals, glows = zip(*marks, strict=True)
        self.points, self.centres = np.array(points, np.float64), np.array(centres, np.float64)
        self.groups, self.firsts, self.counts = np.array(groups), np.array(firsts), np.array(counts)
        self.radii, self.normals = np.array(radii), np.array(normals, np.float64)
        self.colors, self.glows = np.array(colors, np.float64), np.array(glows)
        self.is_limb, self.two_sided = self.radii > 0, ~self.normals.any(axis=1)


def paint(solid: Solid, place: tuple[float, float], heading: float, camera: Camera, light: Light) -> Patch | None:
    """The solid at (x, z) m in camera axes, turned by ``heading`` (0: ahead is away from the camera).

    None where nothing of it is in the picture.
    """
    cos, sin = math.cos(heading), math.sin(heading)
    turn = np.array([[cos, 0.0, -sin], [0.0, -1.0, 0.0], [sin, 0.0, cos]])  # rows: own axis -> camera axes
    shift = np.array([place[0], camera.height, place[1]])
    points = solid.points @ turn + shift
    ahead = points[:, 2]
    near = float(ahead.min())
    if float(ahead.max()) < NEAR:
        return None
    scale = camera.focal / np.maximum(ahead, NEAR)
    flat = points[:, :2] * scale[:, None] + camera.centre
    radii = solid.radii * scale[solid.firsts]
    reach = float(radii.max())
    if near >= NEAR and ((flat.max(axis=0) + reach < 0).any() or (flat.min(axis=0) - reach > camera.size).any()):
        return None
    normals = solid.normals @ turn
    facing = np.einsum("ij,ij->i", normals, points[solid.firsts])
    lit = light.ambient + light.direct * np.maximum(0.0, normals @ light.sun)
    lit[solid.two_sided] = light.ambient + 0.6 * light.direct
    lit[solid.glows] = 1.0
    colors = np.clip(solid.colors * lit[:, None], 0, 255).astype(np.int64).tolist()
    seen = (facing < 0) | solid.two_sided
    far = np.linalg.norm(solid.centres @ turn + shift, axis=1)[solid.groups]
    order = [k for k in np.argsort(-far, kind="stable").tolist() if seen[k]]
    marks = []
    for k in order:
        first, count = int(solid.firsts[k]), int(solid.counts[k])
        own = flat[first : first + count]
        if near < NEAR and float(ahead[first : first + count].min()) < NEAR:
            kept = _clipped(points[first : first + count])
            if solid.is_limb[k] or len(kept) < 3:
                continue
            own = kept[:, :2] * (camera.focal / kept[:, 2:]) + camera.centre
        marks.append((own, float(radii[k]), (*colors[k], 255)))
    return _rasterized(marks, camera, light, max(NEAR, place[1])) if marks else None


def _clipped(points: Floats) -> Floats:
    """The part of a polygon in front of the near plane."""
    kept = []
    for k, b in enumerate(points):
        a = points[k - 1]
        if (a[2] < NEAR) != (b[2] < NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
        if b[2] >= NEAR:
            kept.append(b)
    return np.array(kept).reshape(-1, 3)


def _rasterized(
    marks: Sequence[tuple[Floats, float, tuple[int, ...]]], camera: Camera, light: Light, distance: float
) -> Patch | None:
    """Marks are points in px, radius in px (of a limb; a face has 0), colour and alpha, farthest first."""
    every = np.concatenate([points for points, _, _ in marks])
    reach = np.repeat([radius for _, radius, _ in marks], [len(points) for points, _, _ in marks])[:, None]
    low, high = (every - reach).min(axis=0), (every + reach).max(axis=0)
    left, top = (max(0, math.floor(v)) for v in low)
    right, bottom = (min(side, math.ceil(v)) for side, v in zip(camera.size, high, strict=True))
    if right <= left or bottom <= top:
        return None
    width, height = right - left, bottom - top
    fine = 4 if width * height < 4000 else 2
    # Four bytes to a pixel, which Pillow averages as they are: RGBA it would take apart and put together again.
    image = Image.new("CMYK", (width * fine, height * fine))
    draw = ImageDraw.Draw(image)
    corners = np.clip((every - (left, top)) * fine, -FARTHEST_PX, FARTHEST_PX).ravel().tolist()
    at = 0
    for points, radius, color in marks:
        own = corners[at : at + 2 * len(points)]
        at += 2 * len(points)
        if radius:
            x0, y0, x1, y1 = own
            r = radius * fine
            if (x0, y0) != (x1, y1):
                draw.line(own, fill=color, width=max(1, round(2 * r)))
                if r < 2.0:  # too thin for its ends to be seen
                    continue
                draw.ellipse([x1 - r, y1 - r, x1 + r, y1 + r], fill=color)
            draw.ellipse([x0 - r, y0 - r, x0 + r, y0 + r], fill=color)
        else:
            draw.polygon(own, fill=color)
    pixels = np.asarray(image.reduce(fine), np.float32)
    alpha = pixels[:, :, 3] / np.float32(255.0)
    veil = np.float32(light.veil(distance))
    seen = pixels[:, :, :3] * (1 - veil) + alpha[:, :, None] * (veil * np.array(light.haze, np.float32))
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    return Patch(left, top, seen, alpha, (x0, y0, x1, y1))
