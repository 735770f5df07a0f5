"""What lies on the head: hair, caps, headscarves, masks. Each is a colour, a cover 0..1 and a thickness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.recipes.landmarks.face_head import Floats, curve, smoothstep
from edgekd.recipes.landmarks.face_skin import Canvas, Look, Rng, enlarged, noise

_ANGLES = np.deg2rad([0, 18, 36, 52, 64, 74, 84, 100, 140])


@dataclass
class Cover:
    """Hair or cloth on the head above ``edge`` (canonical y at ``_ANGLES``) or, for a mask, below it."""

    color: Floats
    edge: NDArray  # (2, 9): viewer's left and right side
    thickness: float = 0.0
    below: bool = False
    soft: float = 0.04
    ragged: float = 0.0
    strands: float = 0.0
    cloth: str = "plain"
    behind: float = 0.0  # canonical y to which hair falls behind the neck; 0: none

    def line(self, s: NDArray) -> NDArray:
        left, right = (np.interp(np.abs(s), *curve(np.stack([_ANGLES, e], 1)).T) for e in self.edge)
        return np.where(s < 0, left, right)

    def mask(self, s: NDArray, y: NDArray, soft: float, bend: NDArray | float = 0.0) -> Floats:
        """0..1 at (…, columns) places; ``bend`` moves the edge in canonical y."""
        gap = (y - self.line(s) - bend) * (1 if self.below else -1)
        return np.clip(gap / soft + 0.5, 0, 1).astype(np.float32)


def sample_covers(rng: Rng, look: Look) -> list[Cover]:
    """Hair first, then what is worn over it."""
    covers = []
    style = rng.choice(
        ["bald", "cropped", "short", "fringe", "long", "afro", "tied"],
        p=[0.08, 0.15, 0.25, 0.16, 0.2, 0.06, 0.1],
    )
    if style != "bald":
        covers.append(_hair(rng, look, str(style)))
    worn = rng.choice(["none", "cap", "scarf", "mask"], p=[0.84, 0.07, 0.05, 0.04])
    cloth = rng.uniform(0.08, 0.95, 3).astype(np.float32)
    if worn == "cap":
        height = rng.uniform(-0.75, -0.42)
        edge = np.tile(height + np.array([0, 0, 0.02, 0.03, 0.05, 0.06, 0.05, 0.1, 0.25]), (2, 1))
        covers.append(Cover(cloth, edge, rng.uniform(0.06, 0.14), cloth="knit", behind=0.0, soft=0.02))
    elif worn == "scarf":
        top = rng.uniform(-0.85, -0.6)
        side = rng.uniform(0, 0.12)
        edge = np.tile(np.array([top, top + 0.05, top + 0.2, -0.15 - side, 2.5, 3, 3, 3, 3]), (2, 1))
        covers[:] = [Cover(cloth, edge, rng.uniform(0.05, 0.10), soft=0.02, cloth="folds", behind=2.6)]
    elif worn == "mask":
        cloth = np.array([(0.92, 0.94, 0.95), (0.62, 0.78, 0.86), (0.10, 0.10, 0.11)], np.float32)[rng.integers(3)]
        top = rng.uniform(0.22, 0.42)
        edge = np.tile(top + np.array([0, 0.02, 0.06, 0.10, 0.16, 0.22, 0.3, 2, 3]), (2, 1))
        covers.append(Cover(cloth, edge, 0.0, below=True, soft=0.02, cloth="pleats"))
    return covers


def _hair(rng: Rng, look: Look, style: str) -> Cover:
    top = rng.uniform(-1.0, -0.68)
    temple = rng.uniform(-0.6, -0.35)
    burn = rng.uniform(-0.1, 0.5)
    form: dict[str, Any]
    if style == "cropped":
        edge = np.array([top, top, top + 0.08, temple - 0.1, temple + 0.05, burn - 0.15, burn - 0.1, -0.25, 0.7])
        form = {"thickness": rng.uniform(0.0, 0.04), "soft": 0.16, "ragged": 0.06, "strands": 0.25}
    elif style == "short":
        edge = np.array([top, top + 0.02, top + 0.1, temple, -0.2, burn - 0.1, burn, -0.2, 0.9])
        form = {"thickness": rng.uniform(0.06, 0.2), "soft": 0.06, "ragged": 0.10, "strands": 0.5}
    elif style == "fringe":
        low = rng.uniform(-0.62, -0.28)
        edge = np.array([low, low, low + 0.02, low + 0.06, burn - 0.2, burn, burn + 0.15, rng.choice([-0.2, 0.6]), 1.0])
        form = {"thickness": rng.uniform(0.06, 0.16), "soft": 0.05, "ragged": 0.13, "strands": 0.6}
    elif style == "long":
        edge = np.array([top, top + 0.03, top + 0.16, rng.uniform(-0.5, -0.3), rng.uniform(-0.1, 0.5), 2.2, 3, 3, 3])
        form = {
            "thickness": rng.uniform(0.06, 0.16),
            "soft": 0.06,
            "ragged": 0.08,
            "strands": 0.6,
            "behind": rng.uniform(1.5, 2.8),
        }
    elif style == "afro":
        edge = np.array([top, top + 0.01, top + 0.08, temple, -0.25, burn - 0.2, burn, 0.2, 0.9])
        form = {"thickness": rng.uniform(0.15, 0.35), "soft": 0.10, "ragged": 0.07, "strands": 0.15}
    else:  # tied back
        edge = np.array([top, top + 0.01, top + 0.06, temple - 0.1, temple + 0.1, -0.25, -0.05, -0.1, 0.8])
        form = {"thickness": rng.uniform(0.02, 0.06), "soft": 0.07, "ragged": 0.05, "strands": 0.5}
    sides = np.stack([edge, edge])
    part = rng.normal(0, 0.10)
    sides += np.array([[part], [-part]]) * (np.abs(_ANGLES) < 0.9) * np.array([1, 1, 1, 0.6, 0, 0, 0, 0, 0])
    return Cover(look.hair, sides, **form)


def thickness_on(covers: list[Cover], s: Floats, y: Floats) -> Floats:
    """(rows, columns) distance by which the covers lie over the skin, for the coarse grid."""
    raised = np.zeros((len(y), len(s)), np.float32)
    for cover in covers:
        if cover.thickness:
            raised = np.maximum(raised, cover.thickness * cover.mask(s[None, :], y[:, None], 0.22, -0.06))
    return raised


def paint_covers(canvas: Canvas, covers: list[Cover], rng: Rng) -> None:
    for cover in covers:
        _paint(canvas, cover, rng)


def _paint(canvas: Canvas, cover: Cover, rng: Rng) -> None:
    shape = canvas.x.shape
    s, y = canvas.s[None, :], canvas.y[:, :1]
    bend: NDArray | float = 0.0
    if cover.strands:
        # Locks run downwards: noise that is fine across and long along the rows.
        locks = enlarged(rng.uniform(-0.7, 0.7, (9, 150)) + np.repeat(rng.uniform(-0.4, 0.4, (9, 50)), 3, 1), shape)
        bend = cover.ragged * enlarged(
            rng.uniform(-0.6, 0.6, (3, 75)) + np.repeat(rng.uniform(-0.5, 0.5, (3, 15)), 5, 1), shape
        )
        tone = 1 + cover.strands * locks
        shadow, spread = 0.30, 0.16
    else:
        tone = _cloth(cover, s, y, shape, rng)
        shadow, spread = 0.22, 0.10
    gap = (y - cover.line(s) - bend) * (1 if cover.below else -1)
    near = np.flatnonzero(gap > -spread)
    gap, tone = gap.reshape(-1)[near].astype(np.float32), tone.reshape(-1)[near].astype(np.float32)
    mask = np.clip(gap / cover.soft + 0.5, 0, 1)
    if cover.strands:
        mask = np.clip(mask * (1 + 0.35 * (tone - 1) * (mask < 1)), 0, 1)
    albedo = canvas.albedo.reshape(-1, 3)
    under = albedo[near] * (1 - shadow * np.clip(gap / spread + 1, 0, 1))[:, None]  # its shadow on the skin
    color = np.clip(cover.color * tone[:, None] + 0.02, 0.01, 1)
    albedo[near] = under + mask[:, None] * (color - under)
    canvas.gloss.reshape(-1)[near] *= 1 - (0.7 if cover.strands else 1.0) * mask


def _cloth(cover: Cover, s: NDArray, y: NDArray, shape: tuple[int, int], rng: Rng) -> NDArray:
    below = y - cover.line(s)
    if cover.cloth == "knit":
        tone = 1 + 0.12 * np.sin(s * 60) + 0.1 * noise(rng, 60, 90, shape)
        return tone * (1 - 0.25 * smoothstep(0.30, 0.28, -below))  # a turned-up band
    if cover.cloth == "folds":
        return 1 + 0.3 * noise(rng, 7, 22, shape) + 0.12 * noise(rng, 40, 12, shape)
    return 1 + 0.10 * np.sin(np.clip(below * 36, 0, 30)) + 0.06 * noise(rng, 12, 12, shape)  # pleats
