"""One drawn person at one moment: the shape of the head, its pose, and where the features are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.recipes.landmarks import face_head
from edgekd.recipes.landmarks.face_head import MEAN_INNER, Floats

Rng = np.random.Generator
_COEFFICIENTS = {  # standard deviations of the modes of shape, in half face widths
    "jaw_width": 0.06, "brow_width": 0.03, "cheek_width": 0.03, "chin_length": 0.06, "midface": 0.04,
    "square_jaw": 0.035, "chin_forward": 0.04, "cheek_fat": 0.05, "cheekbone": 0.03, "nose_out": 0.05,
    "bridge": 0.03, "nose_width": 0.02, "nose_down": 0.03, "sockets": 0.03, "muzzle": 0.025, "skew": 0.012,
}  # fmt: skip


@dataclass
class Person:
    """Everything about a face that its points depend on. Angles in radians."""

    yaw: float
    pitch: float
    roll: float
    skin: Floats  # (rows, columns, 3) surface in head units
    inner: NDArray  # (68, 2) canonical coordinates
    smile: float

    @property
    def turn(self) -> Floats:
        return face_head.rotation(self.yaw, self.pitch, self.roll)


def _pose(rng: Rng) -> tuple[float, float, float]:
    wide = rng.random() < 0.3
    yaw = rng.uniform(-45, 45) if wide else np.clip(rng.normal(0, 17), -45, 45)
    pitch, roll = np.clip(rng.normal(0, 9.5, 2), -25, 25)
    return float(np.deg2rad(yaw)), float(np.deg2rad(pitch)), float(np.deg2rad(roll))


def sample_person(rng: Rng) -> Person:
    head = face_head.grid()
    weights = dict(zip(_COEFFICIENTS, rng.normal(0, list(_COEFFICIENTS.values())), strict=True))
    smile = float(np.clip(rng.normal(0.2, 0.45), -0.6, 1.0))
    opening = float(rng.choice([0.0, 0.04, 0.2], p=[0.45, 0.25, 0.30]) * rng.uniform(0.5, 1.6)) + 0.05 * max(smile, 0)
    weights |= {"jaw_drop": 0.75 * opening, "smile_cheek": 0.10 * max(smile, 0)}
    coefficients = np.array([weights[name] for name in head.names], np.float32)
    skin = head.mean + np.einsum("k,kn->n", coefficients, head.modes).reshape(head.mean.shape)
    skin *= rng.normal(1, (0.035, 0.035, 0.03)).astype(np.float32)
    pose = _pose(rng)
    return Person(*pose, skin, _features(rng, smile, opening).astype(np.float32), smile)


def _features(rng: Rng, smile: float, opening: float) -> NDArray:
    """The mean face's inner points, changed by identity and expression."""
    p = MEAN_INNER.astype(np.float64)
    side = np.sign(p[:, :1]) * np.array([1.0, 0.0])  # outwards

    def scale(which: slice, fx: float, fy: float) -> None:
        centre = p[which].mean(0)
        p[which] = centre + (p[which] - centre) * (fx, fy)

    right, left = slice(36, 42), slice(42, 48)
    mouth = slice(48, 68)
    size_x, size_y = rng.normal(1, 0.06), rng.normal(1, 0.14)
    slant, apart, drop = rng.normal(0, 0.018), rng.normal(0, 0.022), rng.normal(0, 0.02)
    shut = (
        rng.choice([0.0, 0.35, 0.95], p=[0.78, 0.15, 0.07])
        + abs(rng.normal(0, 0.06))
        + 0.22 * max(smile, 0) * rng.random()
    )
    wink = rng.random(2) < 0.03
    for eye, winks in ((right, wink[0]), (left, wink[1])):
        scale(eye, size_x, np.clip(size_y, 0.65, 1.4))
        turn = np.array([1.0 if eye is left else -1.0])
        p[eye, 1] -= slant * turn * (p[eye, 0] - p[eye, 0].mean()) / 0.2
        corners = p[eye][[0, 3], 1].mean()
        lift = np.clip(0.95 if winks else shut, -0.1, 0.95)
        low = p[eye][[5, 4]]
        p[eye.start + 1 : eye.start + 3, 1] += lift * (low[:, 1] - p[eye][1:3, 1])
        p[eye, 1] += lift * 0.12 * (corners + 0.06 - p[eye, 1])
        p[eye] += side[eye] * apart + (0.0, drop)
    raised, frown = rng.normal(0.0, 0.045), abs(rng.normal(0, 0.02))
    arch, tail = rng.normal(0, 0.02), rng.normal(0, 0.03)
    for brow, inward in ((slice(17, 22), np.linspace(0, 1, 5)), (slice(22, 27), np.linspace(1, 0, 5))):
        scale(brow, rng.normal(1, 0.03), 1.0)
        height = -raised - arch * np.sin(np.pi * inward) + tail * (1 - inward) ** 2 + frown * inward**2
        p[brow, 1] += np.clip(height + rng.normal(0, 0.012), -0.16, 0.06) + drop + 0.03 * (shut > 0.5)
        p[brow] += side[brow] * (apart - frown * inward[:, None])
    upper, lower = rng.lognormal(0, 0.22), rng.lognormal(0, 0.2)
    width = rng.normal(1, 0.07) * (0.8 if rng.random() < 0.06 else 1.0) * (1 + 0.17 * smile)
    seam = 0.985
    above, below = p[mouth, 1] < seam - 0.02, p[mouth, 1] > seam + 0.02
    thin = 1 - 0.2 * max(smile, 0)
    p[mouth, 1] = seam + (p[mouth, 1] - seam) * np.where(above, upper * thin, np.where(below, lower * thin, 1))
    p[mouth, 0] *= width
    reach = np.abs(p[mouth, 0]) / (0.36 * width)
    under = np.isin(np.arange(48, 68), [55, 56, 57, 58, 59, 65, 66, 67])
    lips_apart = np.where(np.arange(48, 68) < 60, 0.35, 0.75)  # the jaw carries the lip's outer edge further
    p[mouth, 1] += lips_apart * opening * under * (1 - 0.25 * reach**2) + 0.12 * opening * (reach > 0.8)
    p[mouth, 1] -= 0.45 * 0.12 * opening * (~under & (reach < 0.8))
    p[mouth, 1] += smile * 0.085 * (0.35 - reach**2)
    p[mouth] += rng.normal(0, (0.008, 0.02))
    p[mouth, 1] += rng.normal(0, 0.02) * p[mouth, 0] / 0.36  # a crooked mouth
    return p
