"""A parametric 3D head with the 68 iBUG points on its surface.

The surface is a grid over (row, s): a row is a horizontal section of the head, an ellipse
``x = a sin s, z = depth + b cos s`` (s is 0 at the nose, ±90 degrees at the ears), to which relief (nose,
sockets, lips, ears) and the modes of shape and expression are added. A place on the face is named by its
canonical coordinates: x and y of the mean face seen from the front, in half face widths (about 70 mm),
x to the viewer's right, y down, eyes at y = 0. z points to the viewer.

Picture and points come from one bilinear interpolation of one grid, so they agree by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# y, half width, depth of the centre, half depth, from the crown to the underside of the chin.
_PROFILE = np.array(
    [
        (-1.75, 0.00, -0.05, 0.00),
        (-1.68, 0.40, -0.05, 0.55),
        (-1.45, 0.74, -0.05, 0.95),
        (-1.05, 0.95, -0.05, 1.19),
        (-0.60, 1.02, -0.03, 1.26),
        (-0.25, 1.02, 0.00, 1.24),
        (0.00, 1.00, 0.00, 1.21),
        (0.30, 0.99, 0.00, 1.18),
        (0.60, 0.95, 0.02, 1.14),
        (0.90, 0.88, 0.11, 1.03),
        (1.10, 0.80, 0.23, 0.87),
        (1.28, 0.69, 0.40, 0.65),
        (1.42, 0.55, 0.55, 0.45),
        (1.52, 0.39, 0.66, 0.30),
        (1.575, 0.20, 0.74, 0.16),
        (1.59, 0.00, 0.78, 0.00),
    ]
)
S_LIMIT = np.deg2rad(140.0)
# Viewer-left half of the inner points of the mean face, by iBUG index; the right half is its mirror.
_INNER = {
    17: (-0.80, -0.205), 18: (-0.685, -0.305), 19: (-0.52, -0.350), 20: (-0.345, -0.330), 21: (-0.18, -0.27),
    27: (0.0, -0.02), 28: (0.0, 0.155), 29: (0.0, 0.33), 30: (0.0, 0.505),
    31: (-0.195, 0.63), 32: (-0.10, 0.667), 33: (0.0, 0.69),
    36: (-0.625, 0.005), 37: (-0.515, -0.088), 38: (-0.36, -0.092), 39: (-0.245, 0.025),
    40: (-0.365, 0.066), 41: (-0.515, 0.066),
    48: (-0.36, 0.995), 49: (-0.235, 0.915), 50: (-0.09, 0.875), 51: (0.0, 0.895),
    57: (0.0, 1.150), 58: (-0.10, 1.142), 59: (-0.24, 1.090),
    60: (-0.315, 0.990), 61: (-0.12, 0.975), 62: (0.0, 0.980), 66: (0.0, 0.993), 67: (-0.125, 0.989),
}  # fmt: skip
# Jaw point i runs along a path over the cheek, from (s in degrees, y) to (s, y), and sits where the path
# reaches furthest along (dx, dy): the visible outline, which is what annotators mark on the far cheek.
_JAW = np.array(
    [
        (38, 0.03, 86, 0.04, -1.00, 0.00),
        (38, 0.30, 86, 0.31, -1.00, 0.00),
        (38, 0.56, 86, 0.57, -1.00, 0.05),
        (38, 0.82, 86, 0.83, -0.97, 0.20),
        (38, 1.02, 86, 1.08, -0.90, 0.42),
        (36, 1.16, 87, 1.31, -0.76, 0.65),
        (26, 1.30, 88, 1.46, -0.55, 0.83),
        (12, 1.39, 88, 1.55, -0.28, 0.96),
        (0, 1.42, 0, 1.59, 0.00, 1.00),
    ]
)


def _flip() -> NDArray[np.int64]:
    flip = np.arange(68)
    for low, high in ((0, 17), (17, 27), (31, 36), (48, 55), (55, 60), (60, 65), (65, 68)):
        flip[low:high] = np.arange(low, high)[::-1]
    flip[36:48] = [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    flip.flags.writeable = False
    return flip


FLIP_68: NDArray[np.int64] = _flip()
"""``points[FLIP_68]`` after ``x -> size - x`` are the points of the mirrored picture. Its own inverse."""


def _mean_inner() -> Floats:
    inner = np.zeros((68, 2), np.float32)
    for index, (x, y) in _INNER.items():
        inner[index], inner[FLIP_68[index]] = (x, y), (-x, y)
    return inner


MEAN_INNER = _mean_inner()
"""(68, 2) canonical coordinates of the mean face; rows 0..16 (jaw) are unused."""


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    t = np.minimum(np.maximum((value - low) * (1 / (high - low)), 0), 1).astype(np.float32)
    return t * t * (3 - 2 * t)


def bump(x: Floats, y: Floats, cx: float, cy: float, sx: float, sy: float) -> Floats:
    """Gaussian of height 1; ``cx`` > 0 means one on either side of the face."""
    u, v = (np.abs(x) - cx) * (1 / sx), (y - cy) * (1 / sy)
    return np.exp(-0.5 * (u * u + v * v)).astype(np.float32)


def _spaced(values: NDArray, weight: NDArray, count: int) -> Floats:
    """``count`` values along ``values`` with local density ``weight``."""
    steps = np.concatenate([[0], np.cumsum(0.5 * (weight[1:] + weight[:-1]))])
    return np.interp(np.linspace(0, steps[-1], count), steps, values).astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """The mean head and its modes. Arrays are (rows, columns[, 3])."""

    y: Floats  # (rows,) canonical y
    a: Floats  # (rows,) half width of the section
    s: Floats  # (columns,) angle
    mean: Floats
    modes: Floats  # (modes, rows * columns * 3)
    names: tuple[str, ...]
    ear: Floats  # x displacement that the ears are
    out: Floats  # unit outward direction of the bare section: where hair and cloth lie
    shut: Floats  # 0..1, how much of the sky a place does not see (sockets, nose base, lip groove, under jaw)

    @property
    def step_y(self) -> float:
        """Widest step between rows on the face, in head units."""
        return float(np.diff(self.y[np.abs(self.y) < 1.2]).max())

    @property
    def step_s(self) -> float:
        return float(np.diff(self.s).max())

    def rows_of(self, y: NDArray) -> NDArray:
        return np.interp(y, self.y, np.arange(len(self.y)))

    def columns_of(self, x: NDArray, rows: NDArray) -> NDArray:
        half = np.interp(rows, np.arange(len(self.a)), self.a)
        s = np.arcsin(np.clip(x / np.maximum(half, 1e-3), -0.999, 0.999))
        return np.interp(s, self.s, np.arange(len(self.s)))

    def sample(self, surface: Floats, rows: NDArray, columns: NDArray) -> NDArray:
        """Bilinear (..., 3) positions on ``surface`` (rows, columns, 3) at fractional indices."""
        r = np.clip(rows.astype(int), 0, len(self.y) - 2)
        c = np.clip(columns.astype(int), 0, len(self.s) - 2)
        fr, fc = (rows - r)[..., None], (columns - c)[..., None]
        top = surface[r, c] * (1 - fc) + surface[r, c + 1] * fc
        low = surface[r + 1, c] * (1 - fc) + surface[r + 1, c + 1] * fc
        return top * (1 - fr) + low * fr


@cache
def grid() -> Grid:
    """The head, built once (some 20 ms)."""
    # Denser around the nose and the ears, whose flanks stretch when the head turns.
    fine = np.linspace(-S_LIMIT, S_LIMIT, 2001)
    s = _spaced(
        fine,
        1 + 0.7 * np.exp(-((fine / 0.22) ** 4)) + 0.5 * np.exp(-(((np.abs(fine) - 1.74) / 0.2) ** 4)),
        117,
    )
    knots = np.linspace(0, len(_PROFILE) - 1, 2001)
    profile = np.stack([_cubic(_PROFILE[:, k], knots) for k in range(4)], 1)
    arc = np.concatenate([[0], np.hypot(np.diff(profile[:, 0]), np.diff(np.maximum(*profile[:, [1, 3]].T)))])
    at = _spaced(np.arange(2001), arc * (1 + 0.6 * np.exp(-(((profile[:, 0] - 0.58) / 0.16) ** 4))), 107)
    y, a, centre, b = (np.interp(at, np.arange(2001), profile[:, k]).astype(np.float32) for k in range(4))
    x = a[:, None] * np.sin(s)
    yy = np.broadcast_to(y[:, None], x.shape)
    z = centre[:, None] + b[:, None] * np.cos(s)
    front = smoothstep(0.05, 0.35, np.broadcast_to(np.cos(s), x.shape))
    side = np.sign(x)
    mean = np.stack([x, yy, z + front * _relief(x, yy)], 2).astype(np.float32)
    ear = (
        0.20
        * side
        * np.exp(-(((np.abs(s) - 1.74) / 0.16) ** 2))
        * smoothstep(-0.22, 0.0, yy)
        * (1 - smoothstep(0.35, 0.5, yy))
    )
    mean[..., 0] += ear
    modes = _modes(x, yy, mean[..., 2], front, side)
    out = np.stack([np.sin(s) * np.ones_like(x), smoothstep(-0.3, -1.75, yy) * -0.9, np.cos(s) * np.ones_like(x)], 2)
    shut = (
        (
            0.35 * bump(x, yy, 0.36, -0.04, 0.16, 0.09)
            + 0.55 * bump(x, yy, 0.0, 0.69, 0.15, 0.05)
            + 0.25 * bump(x, yy, 0.24, 0.60, 0.05, 0.08)
            + 0.30 * bump(x, yy, 0.0, 1.27, 0.22, 0.05)
            + 0.20 * bump(x, yy, 0.40, 1.0, 0.06, 0.08)
        )
        * front
        + 0.5 * smoothstep(1.48, 1.59, yy)
        + 0.5 * smoothstep(0.6, 1.2, yy) * smoothstep(1.45, 1.9, np.abs(s) * np.ones_like(x))
    )
    out /= np.linalg.norm(out, axis=2, keepdims=True)
    flat = np.stack([m.reshape(-1) for m in modes.values()]).astype(np.float32)
    return Grid(
        y,
        a,
        s,
        mean,
        flat,
        tuple(modes),
        ear.astype(np.float32),
        out.astype(np.float32),
        np.clip(shut, 0, 0.9).astype(np.float32),
    )


def _cubic(values: NDArray, at: NDArray) -> NDArray:
    """Catmull-Rom through ``values`` at fractional indices; linear at the ends."""
    padded = np.concatenate([[2 * values[0] - values[1]], values, [2 * values[-1] - values[-2]]])
    i = np.clip(at.astype(int), 0, len(values) - 2)
    t = at - i
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    return p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))


def curve(points: NDArray, per_span: int = 5) -> NDArray:
    """A smooth polyline through ``points`` (n, 2); every point lies on it."""
    at = np.linspace(0, len(points) - 1, (len(points) - 1) * per_span + 1)
    return np.stack([_cubic(points[:, 0], at), _cubic(points[:, 1], at)], 1)


def _relief(x: Floats, y: Floats) -> Floats:
    height = np.interp(
        y,
        [-0.2, 0, 0.15, 0.33, 0.49, 0.55, 0.61, 0.66, 0.74],
        [0, 0.05, 0.11, 0.21, 0.31, 0.32, 0.24, 0.09, 0],
    )
    width = np.interp(y, [-0.1, 0.15, 0.35, 0.5, 0.6, 0.7], [0.10, 0.095, 0.115, 0.14, 0.15, 0.15])
    relief = height * np.exp(-0.5 * np.abs(x / width) ** 2.1) + 0.10 * bump(x, y, 0.155, 0.585, 0.06, 0.055)
    relief += -0.145 * bump(x, y, 0.40, -0.01, 0.21, 0.14) + 0.07 * bump(x, y, 0.445, -0.005, 0.12, 0.085)
    relief += 0.05 * bump(x, y, 0.42, -0.30, 0.26, 0.07) + 0.05 * bump(x, y, 0.64, 0.36, 0.16, 0.15)
    relief += 0.08 * bump(x, y, 0.0, 0.98, 0.30, 0.22) + 0.04 * bump(x, y, 0.0, 0.91, 0.16, 0.045)
    relief += 0.05 * bump(x, y, 0.0, 1.11, 0.16, 0.055) - 0.02 * bump(x, y, 0.0, 0.78, 0.03, 0.07)
    relief += -0.06 * bump(x, y, 0.0, 1.27, 0.20, 0.055) + 0.09 * bump(x, y, 0.0, 1.44, 0.20, 0.11)
    return relief.astype(np.float32)


def _modes(x: Floats, y: Floats, z: Floats, front: Floats, side: Floats) -> dict[str, NDArray]:
    """Displacements of every vertex per unit of each mode. Units of the coefficients: half face widths."""
    zero = np.zeros_like(x)

    def move(dx: NDArray = zero, dy: NDArray = zero, dz: NDArray = zero) -> NDArray:
        return np.stack([dx, dy, dz], 2)

    low = smoothstep(0.5, 1.35, y)
    nose = bump(x, y, 0.0, 0.55, 0.17, 0.10) * front
    return {
        "jaw_width": move(dx=x * low),
        "brow_width": move(dx=x * smoothstep(-0.1, -0.9, y)),
        "cheek_width": move(dx=x * np.exp(-(((y - 0.45) / 0.35) ** 2))),
        "chin_length": move(dy=smoothstep(1.15, 1.55, y)),
        "midface": move(dy=smoothstep(0.2, 0.9, y)),
        "square_jaw": move(dx=side * np.exp(-(((y - 1.15) / 0.2) ** 2)) * smoothstep(0.3, 0.7, np.abs(x))),
        "chin_forward": move(dz=low * front),
        "cheek_fat": move(
            dx=0.6 * side * bump(x, y, 0.78, 0.85, 0.25, 0.25), dz=bump(x, y, 0.55, 0.85, 0.22, 0.25) * front
        ),
        "cheekbone": move(
            dx=0.3 * side * bump(x, y, 0.85, 0.35, 0.2, 0.15), dz=bump(x, y, 0.62, 0.33, 0.18, 0.13) * front
        ),
        "nose_out": move(dz=nose + 0.5 * bump(x, y, 0.0, 0.3, 0.09, 0.15) * front),
        "bridge": move(dz=bump(x, y, 0.0, 0.15, 0.07, 0.14) * front),
        "nose_width": move(dx=x / 0.2 * bump(x, y, 0.15, 0.59, 0.09, 0.09) * front),
        "nose_down": move(dy=bump(x, y, 0.0, 0.52, 0.16, 0.13) * front),
        "sockets": move(dz=-bump(x, y, 0.40, -0.02, 0.2, 0.14) * front),
        "muzzle": move(dz=bump(x, y, 0.0, 1.0, 0.3, 0.22) * front),
        "jaw_drop": move(dy=smoothstep(0.98, 1.35, y), dz=-0.25 * smoothstep(0.98, 1.5, y) * front),
        "smile_cheek": move(
            dx=0.4 * side * bump(x, y, 0.6, 0.6, 0.2, 0.2), dz=bump(x, y, 0.52, 0.55, 0.16, 0.16) * front
        ),
        "skew": move(dx=smoothstep(0.4, 1.6, y)),
    }


def rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """(3, 3) matrix for column vectors. Radians: positive yaw turns the face to the viewer's right, positive
    pitch lifts the chin, positive roll turns the picture clockwise."""
    cy, sy, cp, sp, cr, sr = (f(v) for v in (yaw, pitch, roll) for f in (np.cos, np.sin))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (about_z @ about_x @ about_y).astype(np.float32)


def landmarks(surface: Floats, inner: NDArray, turn: Floats, roll: float) -> Floats:
    """The 68 points of a posed head, orthographic, in head units: (68, 2), x right, y down.

    Args:
        surface: (rows, columns, 3) bare skin, not rotated.
        inner: (68, 2) canonical coordinates of points 17..67.
        turn: (3, 3) rotation; roll: its rotation in the picture plane, radians.
    """
    head = grid()
    rows = head.rows_of(inner[17:, 1])
    points = np.empty((68, 2))
    points[17:] = (head.sample(surface, rows, head.columns_of(inner[17:, 0], rows)) @ turn.T)[:, :2]
    step = np.linspace(0, 1, 25)[:, None]
    s = np.deg2rad(_JAW[:, 0] + step * (_JAW[:, 2] - _JAW[:, 0]))
    rows = head.rows_of(_JAW[:, 1] + step * (_JAW[:, 3] - _JAW[:, 1]))
    upright = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    for sign, order in ((-1, np.arange(9)), (1, 16 - np.arange(9))):
        columns = np.interp(sign * s, head.s, np.arange(len(head.s)))
        path = (head.sample(surface, rows, columns) @ turn.T)[..., :2]  # (25, 9, 2)
        reach = path @ upright @ np.diag([-sign, 1])
        best = (reach * _JAW[:, 4:]).sum(2).argmax(0)
        points[order] = path[best, np.arange(9)]
    return points.astype(np.float32)
