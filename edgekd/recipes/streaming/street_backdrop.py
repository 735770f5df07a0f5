"""Ground, houses and sky of the procedural street, one ray per pixel.

Street coordinates: s along the road, d to the right of its centre line, in m. The road bends: at z m ahead of the
camera its centre lies κz²/2 to the right. Houses are two walls along the road, and two more behind them that are
seen through the crossings' gaps. Everything is filtered by the size of a pixel on it, so that nothing flickers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.recipes.streaming.street_solids import Camera, Light

Canvas = NDArray[np.float32]

LANE = 3.3
PARKING = 2.2
PAVEMENT = 3.2
FARTHEST = 180.0  # m
BEHIND = 28.0  # m from a wall to the one behind it
_TILE = 256


@dataclass(frozen=True)
class Layout:
    """What the street is like along its whole length.

    Attributes:
        own, oncoming: lanes of the camera's way, and against it.
        parking: whether cars park at the left, at the right.
        crossings: (n,) s of the crossings' centres.
        signals: (n,) what is there: 0 nothing, 1 traffic lights, 2 stop signs.
        half_crossing: m from a crossing's centre to its edge.
    """

    own: int
    oncoming: int
    parking: tuple[bool, bool]
    crossings: NDArray[np.float64]
    signals: NDArray[np.int64]
    half_crossing: float

    @property
    def curbs(self) -> tuple[float, float]:
        """d of the left and right kerb."""
        left, right = (PARKING if parked else 0.0 for parked in self.parking)
        return -(LANE * self.oncoming + left), LANE * self.own + right

    @property
    def walls(self) -> tuple[float, float]:
        left, right = self.curbs
        return left - PAVEMENT, right + PAVEMENT

    def from_crossing(self, s: NDArray) -> NDArray:
        """Distance to the nearest crossing's centre, of each s."""
        if not len(self.crossings):
            return np.full(np.shape(s), 1e3)
        at = np.clip(np.searchsorted(self.crossings, s), 1, max(1, len(self.crossings) - 1))
        nearer = self.crossings[np.minimum(at, len(self.crossings) - 1)]
        return np.minimum(np.abs(s - self.crossings[at - 1]), np.abs(s - nearer))


@dataclass(frozen=True)
class View:
    """Where the camera is: on the street, the road's curvature there (1/m), and where it looks (radians)."""

    s: float
    d: float
    curvature: float
    yaw: float
    pitch: float
    heading: float  # since the start, for the clouds


class Houses:
    """Lots of random widths along one wall, each with a height, colours and windows."""

    def __init__(self, rng: np.random.Generator, start: float, end: float) -> None:
        widths = rng.uniform(7.0, 19.0, int((end - start) / 7.0) + 2)
        self.starts = start + np.concatenate([[0.0], np.cumsum(widths)[:-1]])
        count = len(widths)
        self.heights = rng.choice([5.0, 7.5, 10.5, 13.5, 17.0, 24.0], count) + rng.uniform(-0.8, 0.8, count)
        tones = np.array([[150, 96, 78], [176, 158, 132], [128, 124, 120], [190, 184, 172], [112, 82, 70],
                          [150, 160, 166], [204, 190, 156], [96, 100, 108]], np.float32)  # fmt: skip
        self.walls = tones[rng.integers(len(tones), size=count)] * rng.uniform(0.75, 1.1, (count, 1)).astype(np.float32)
        self.bases = self.walls * rng.uniform(0.45, 0.95, (count, 1)).astype(np.float32)
        self.storeys = rng.uniform(2.9, 3.6, count)
        self.bays = rng.uniform(1.7, 3.4, count)
        self.glass = rng.uniform(30, 90, (count, 1)).astype(np.float32) * np.array([0.85, 0.95, 1.1], np.float32)
        self.panes = rng.uniform(0.6, 1.25, (64, 64)).astype(np.float32)  # each window reflects differently


class Backdrop:
    """Paints what does not move by itself."""

    def __init__(self, rng: np.random.Generator, layout: Layout, end: float) -> None:
        self.layout = layout
        self.rows = [Houses(rng, -60.0, end + FARTHEST + 40.0) for _ in range(4)]
        grain: NDArray = rng.standard_normal((_TILE, _TILE)).astype(np.float32)
        for axis in (0, 1):
            grain = grain + np.roll(grain, 1, axis)
        self.grain = grain / grain.std()
        patches: NDArray = np.repeat(np.repeat(rng.standard_normal((32, 32)), 8, 0), 8, 1).astype(np.float32)
        for shift in (1, 2, 4, 3, 5):
            for axis in (0, 1):
                patches = (patches + np.roll(patches, shift, axis)) / 2
        self.patches: NDArray = patches / patches.std()
        self.asphalt = rng.uniform(72, 112) * np.array([1.0, 1.0, rng.uniform(1.0, 1.05)], np.float32)
        self.paving = rng.uniform(120, 160) * np.array([1.0, 0.98, 0.94], np.float32)
        self.double_line = bool(rng.random() < 0.7)

    def paint(self, camera: Camera, view: View, light: Light) -> Canvas:
        """(H, W, 3) float32, 0..255."""
        width, height = camera.size
        across = ((np.arange(width) + 0.5 - camera.centre[0]) / camera.focal).astype(np.float32)
        down = ((np.arange(height) + 0.5 - camera.centre[1]) / camera.focal).astype(np.float32)
        canvas = self._sky(across, down, view, light)
        shade = light.ambient + light.direct * max(0.0, -float(light.sun[1]))
        for wall, houses in zip((*self._outer(), *self.layout.walls), (2, 3, 0, 1), strict=True):
            self._wall(canvas, across, down, camera, view, light, wall, houses)
        horizon = int(np.searchsorted(down, camera.height / FARTHEST))
        if horizon < height:
            self._ground(canvas, across, down[horizon:], horizon, camera, view, light, shade)
        return canvas

    def depths(self, camera: Camera, view: View) -> NDArray:
        """(W,) z of the nearest house in each column, in m; infinity in a crossing's gap."""
        across = (np.arange(camera.size[0]) + 0.5 - camera.centre[0]) / camera.focal
        near = np.minimum(*(self._hits(across, view, wall) for wall in self.layout.walls))
        gap = self.layout.from_crossing(view.s + np.where(np.isfinite(near), near, 0.0)) <= self.layout.half_crossing
        return np.where(gap, np.inf, near)

    def _outer(self) -> tuple[float, float]:
        left, right = self.layout.walls
        return left - BEHIND, right + BEHIND

    def _sky(self, across: NDArray, down: NDArray, view: View, light: Light) -> Canvas:
        haze = np.array(light.haze, np.float32)
        zenith = haze * np.array([0.55, 0.72, 1.0], np.float32)
        up = np.clip(-down / 0.45, 0.0, 1.0)[:, None]
        x, y = (view.heading + np.arctan(across)) * 90, np.clip(-down, 0, 2) * 160
        cloud = np.clip(0.35 * _between(self.patches, y, x) + 0.1, 0, 0.6) * up
        sky = haze + up[:, :, None] * (zenith - haze)
        return np.ascontiguousarray(sky + cloud[:, :, None] * (248.0 - sky), np.float32)

    def _hits(self, across: NDArray, view: View, wall: float) -> NDArray:
        """z at which each column's ray meets the wall at d = ``wall``; infinity where it does not."""
        gap = np.float64(wall - view.d)
        rays = across.astype(np.float64) + view.yaw
        if abs(view.curvature) < 1e-6:
            with np.errstate(divide="ignore"):
                z = gap / rays
            return np.where(z > 0, z, np.inf)
        # κ/2 z² - x z + gap = 0, the nearer positive root
        square = rays**2 - 2 * view.curvature * gap
        root = np.sqrt(np.maximum(square, 0))
        both = np.stack([(rays - root) / view.curvature, (rays + root) / view.curvature])
        both[both <= 0] = np.inf
        return np.where(square > 0, both.min(axis=0), np.inf)

    def _wall(
        self,
        canvas: Canvas,
        across: NDArray,
        down: NDArray,
        camera: Camera,
        view: View,
        light: Light,
        wall: float,
        number: int,
    ) -> None:
        houses = self.rows[number]
        z = self._hits(across, view, wall)
        s = view.s + z
        seen = z < FARTHEST
        if number < 2:
            seen &= self.layout.from_crossing(np.where(seen, s, 0.0)) > self.layout.half_crossing
        columns = np.flatnonzero(seen)
        if not len(columns):
            return
        z, s = z[columns].astype(np.float32), s[columns]
        lot = np.clip(np.searchsorted(houses.starts, s) - 1, 0, len(houses.starts) - 1)
        tall = houses.heights[lot].astype(np.float32)
        last = min(len(down), int(np.searchsorted(down, camera.height / max(1.0, float(z.min())))) + 2)
        up = camera.height - down[:last, None] * z[None, :]  # (rows, columns) m above the ground
        pixel = z / camera.focal  # m that a pixel is high
        along = np.maximum(np.abs(np.gradient(s)), pixel).astype(np.float32) if len(columns) > 1 else pixel
        cover = np.clip((tall - up) / pixel + 0.5, 0, 1) * np.clip(up / pixel + 0.5, 0, 1)
        storey, bay = houses.storeys[lot].astype(np.float32), houses.bays[lot].astype(np.float32)
        base = np.clip((3.4 - up) / pixel + 0.5, 0, 1)
        floor = up / storey
        inside = (s - houses.starts[lot]).astype(np.float32) / bay
        rise = _band(floor, 0.58, 0.55, pixel / storey)
        pane = rise * _band(inside, 0.5, 0.55, along / bay)
        pane *= ((tall - up) > 1.0) & (tall > 6.0)
        which = houses.panes[np.clip(floor, 0, 63).astype(np.int64), (np.clip(inside, 0, 1e6)).astype(np.int64) % 64]
        facing = light.ambient + light.direct * max(0.0, float(light.sun[0]) * (-1.0 if wall > view.d else 1.0))
        veil = (1.0 - np.exp(-z / light.visibility))[None, :, None]
        color = houses.walls[lot] + base[:, :, None] * (houses.bases[lot] - houses.walls[lot])
        grain = 1.0 + 0.05 * self.grain[(up * 6).astype(np.int64) % _TILE, ((s * 6).astype(np.int64) % _TILE)[None, :]]
        color *= (grain * np.clip(1.2 - along * 3, 0, 1) + np.clip(along * 3 - 0.2, 0, 1))[:, :, None]
        color += pane[:, :, None] * (houses.glass[lot] * which[:, :, None] - color)
        color *= facing
        color += veil * (np.array(light.haze, np.float32) - color)
        part = canvas[:last, columns]
        canvas[:last, columns] = part + cover[:, :, None] * (color - part)

    def _ground(
        self,
        canvas: Canvas,
        across: NDArray,
        down: NDArray,
        first: int,
        camera: Camera,
        view: View,
        light: Light,
        shade: float,
    ) -> None:
        layout = self.layout
        z = (camera.height / down).astype(np.float32)[:, None]  # (rows, 1)
        d = (across + np.float32(view.yaw)) * z - np.float32(view.curvature / 2) * z * z + np.float32(view.d)
        s = view.s + z[:, 0].astype(np.float64)
        wide, deep = z / camera.focal, z * z / (camera.focal * camera.height)  # m of a pixel, across and along
        near = np.minimum(*(self._hits(across, view, w) for w in layout.walls))
        gap = layout.from_crossing(view.s + np.where(np.isfinite(near), near, 0.0)) <= layout.half_crossing
        behind = np.minimum(*(self._hits(across, view, w) for w in self._outer()))
        shown = z <= np.where(gap, behind, near)[None, :]
        nearest = layout.from_crossing(s)[:, None].astype(np.float32)
        half = np.float32(layout.half_crossing)
        open_road = np.clip((half - 1.0 - nearest) / deep + 0.5, 0, 1)  # 1 within the crossing
        left, right = layout.curbs
        road = np.clip((d - left) / wide + 0.5, 0, 1) * np.clip((right - d) / wide + 0.5, 0, 1)
        road = np.maximum(road, open_road)
        kerb = (_line(d, left, 0.3, wide) + _line(d, right, 0.3, wide)) * (1 - open_road)
        white, yellow = self._markings(d, s, nearest, wide, deep)
        fade = np.clip(1.3 - deep * 2.5, 0, 1)
        rows, columns = (s * 9).astype(np.int64)[:, None] % _TILE, (d * 9).astype(np.int64) % _TILE
        grain = 0.07 * self.grain[rows, columns] * fade
        rows, columns = (s * 14).astype(np.int64)[:, None] % _TILE, (d * 14 + 64).astype(np.int64) % _TILE
        grain += 0.05 * self.patches[rows, columns] * np.clip(1.2 - deep * 0.4, 0, 1)
        slabs = np.maximum(
            _band(d / 1.6, 0.0, 0.03, wide / 1.6), _band((s / 1.6).astype(np.float32)[:, None], 0.0, 0.03, deep / 1.6)
        )
        color = self.paving * (1.0 - 0.3 * slabs[:, :, None])
        color += road[:, :, None] * (self.asphalt - color)
        color *= (1.0 + grain)[:, :, None]
        color += (0.5 * kerb)[:, :, None] * (175.0 - color)
        paint = np.float32(0.85) * np.clip(1.0 + 3.0 * grain, 0.4, 1.0)
        color += (white * paint)[:, :, None] * (np.float32(226.0) - color)
        color += (yellow * paint)[:, :, None] * (np.array([214, 170, 60], np.float32) - color)
        color *= np.float32(shade)
        color += (1.0 - np.exp(-z / light.visibility))[:, :, None] * (np.array(light.haze, np.float32) - color)
        part = canvas[first:]
        np.copyto(part, color, where=shown[:, :, None])

    def _markings(
        self, d: NDArray, s: NDArray, nearest: NDArray, wide: NDArray, deep: NDArray
    ) -> tuple[NDArray, NDArray]:
        layout = self.layout
        half = layout.half_crossing
        clear = np.clip((nearest - half - 3.6) / deep + 0.5, 0, 1)  # lines end before the stripes
        along = s.astype(np.float32)[:, None]
        white = np.zeros_like(d)
        dashes = _band(along / 9.0, 0.5, 0.34, deep / 9.0)
        for lanes, sign in ((layout.own, 1.0), (layout.oncoming, -1.0)):
            for k in range(1, lanes):
                white += _line(d, sign * LANE * k, 0.14, wide) * dashes
            if lanes and layout.parking[int(sign > 0)]:
                white += 0.7 * _line(d, sign * LANE * lanes, 0.1, wide)
        yellow = np.zeros_like(d)
        if layout.oncoming:
            for at in (-0.14, 0.14) if self.double_line else (0.0,):
                yellow += _line(d, at, 0.12, wide)
        left, right = layout.curbs
        on_road = np.clip((d - left - 0.3) / wide + 0.5, 0, 1) * np.clip((right - 0.3 - d) / wide + 0.5, 0, 1)
        stripes = _band(d / 1.1, 0.5, 0.5, wide / 1.1) * _line(nearest, half + 0.9, 2.6, deep) * on_road
        before = _line(nearest, half + 3.1, 0.45, deep) * on_road * (d > 0)
        return np.clip(white * clear + stripes + before, 0, 1), np.clip(yellow * clear, 0, 1)


def _between(tile: NDArray, rows: NDArray, columns: NDArray) -> NDArray:
    """(rows, columns) of a tile that repeats, bilinear."""
    down, right = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    part, along = (rows - down).astype(np.float32)[:, None], (columns - right).astype(np.float32)
    upper, lower = tile[down % _TILE], tile[(down + 1) % _TILE]
    lines = upper + part * (lower - upper)
    left, after = lines[:, right % _TILE], lines[:, (right + 1) % _TILE]
    return left + along * (after - left)


def _line(x: NDArray, at: float, width: float, pixel: NDArray) -> NDArray:
    """Share of each pixel that a line of that width covers."""
    return np.clip((width / 2 - np.abs(x - np.float32(at))) / pixel + 0.5, 0, 1) * np.minimum(1.0, width / pixel)


def _band(x: NDArray, centre: float, width: float, pixel: NDArray) -> NDArray:
    """As ``_line``, repeated with period 1; where a pixel is as wide as a period, the mean."""
    away = np.abs((x - np.float32(centre) + 0.5) % 1.0 - 0.5)
    sharp = np.clip((width / 2 - away) / np.maximum(pixel, 1e-6) + 0.5, 0, 1)
    blurred = np.clip(2.0 * pixel - 0.6, 0, 1)
    return sharp + blurred * (np.float32(width) - sharp)
