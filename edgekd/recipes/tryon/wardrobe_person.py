"""Who wears a garment: shape, pose, colours. Lengths are in body units: from the base of the neck to the hips is 1.

One unit is about 60 cm. The origin is the middle of the neck's base, x to the viewer's right, y down, z to the viewer.
"Left" and "right" are the person's, as in the data sets: the person's right arm is on the picture's left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgekd.recipes.tryon.wardrobe_field import Floats, Profile, Rng

SKIN = np.float32(
    [[246, 214, 194], [233, 192, 164], [219, 172, 138], [197, 145, 109], [164, 112, 79], [122, 80, 56], [86, 57, 43]]
)
HAIR = np.float32(
    [[28, 24, 22], [52, 36, 28], [88, 60, 40], [126, 88, 54], [188, 150, 98], [142, 62, 36], [120, 118, 116]]
)
POSES = ("sides", "bent", "hip", "crossed", "front", "raised", "behind")
_POSE_SHARES = (0.34, 0.16, 0.14, 0.12, 0.11, 0.07, 0.06)


@dataclass(frozen=True)
class Arm:
    """One arm as a curve.

    Attributes:
        points: (K, 3) of its middle line, body units, shoulder to wrist.
        along: (K,) length from the shoulder.
        radius: (K,) bare.
        elbow: length from the shoulder at which the forearm begins.
        roll: radians by which the arm is turned inward about its own line.
        hand: (2,) direction that the hand points to.
        behind: drawn before the torso.
    """

    points: Floats
    along: Floats
    radius: Floats
    elbow: float
    roll: float
    hand: Floats
    behind: bool


@dataclass(frozen=True)
class Person:
    """A person in a pose. ``arms`` are (right, left): picture's left, picture's right."""

    scale: float  # heights of the picture per body unit
    middle: float  # x of the neck's base, heights of the picture, from the picture's middle
    top: float  # y of the neck's base, heights of the picture
    lean: float  # radians, clockwise
    yaw: float  # radians, to the picture's right
    tilt: float  # of the shoulder line, slope
    sway: float  # sideways shift of the waist
    width: Profile  # half width of the torso over y
    depth: Profile  # half depth over y
    shoulder: float
    bust: float
    neck: float
    head: tuple[float, float]  # half width, half height
    nod: tuple[float, float]  # turn (shares of the half width) and tilt (radians) of the head
    arms: tuple[Arm, Arm]
    pose: str
    skin: Floats
    hair: Floats
    hair_style: Literal["bald", "short", "bob", "long", "bun"]
    hair_fall: tuple[float, float]  # how far long hair falls in front of either shoulder; 0: behind it
    bottom: Literal["trousers", "jeans", "skirt"]
    bottom_color: Floats
    bottom_length: float
    tucked: bool
    waist: float  # y of the waistband


def sample_person(rng: Rng) -> Person:
    """A person, every trait drawn at random."""
    woman = rng.random() < 0.6
    stout = float(np.clip(rng.normal(0, 0.35), -0.6, 1.0))
    shoulder = float(rng.normal(0.315 if woman else 0.345, 0.012) + 0.02 * stout)
    chest = (0.255 if woman else 0.29) * (1 + 0.16 * stout) * float(rng.normal(1, 0.03))
    waist = (0.205 if woman else 0.255) * (1 + 0.32 * stout) * float(rng.normal(1, 0.04))
    hip = (0.285 if woman else 0.27) * (1 + 0.22 * stout) * float(rng.normal(1, 0.03))
    neck = (0.092 if woman else 0.108) * (1 + 0.12 * stout)
    waist_y = float(rng.uniform(0.58, 0.68))
    width = Profile(
        [(-0.3, neck), (-0.05, neck), (0.0, neck + 0.035), (0.06, 0.72 * shoulder), (0.115, 0.97 * shoulder)]
        + [(0.16, shoulder), (0.26, max(0.94 * shoulder, chest)), (0.38, chest), (waist_y, waist)]
        + [(0.86, 0.94 * hip), (1.0, hip), (1.2, 0.98 * hip), (1.8, 0.9 * hip)],
        0.035,
    )
    depth = Profile(
        [(-0.3, 0.9 * neck), (0.0, 0.9 * neck), (0.1, 0.12), (0.3, 0.17 * (1 + 0.3 * stout)), (waist_y, 0.76 * waist)]
        + [(1.0, 0.75 * hip), (1.8, 0.7 * hip)],
        0.05,
    )
    yaw = float(np.clip(rng.normal(0, 0.22), -0.6, 0.6))
    pose = str(rng.choice(POSES, p=_POSE_SHARES))
    plump = 1 + 0.25 * stout + (0.0 if woman else 0.14)
    joint_x = shoulder - 0.072
    arms = tuple(_arm(rng, pose, side, joint_x, yaw, plump, hip) for side in (-1, 1))
    style = rng.choice(
        ["bald", "short", "bob", "long", "bun"], p=[0, 0.1, 0.2, 0.5, 0.2] if woman else [0.1, 0.8, 0.06, 0.04, 0]
    )
    tone = rng.uniform(0, len(SKIN) - 1)
    first = int(tone)
    skin = SKIN[first] + (SKIN[min(first + 1, len(SKIN) - 1)] - SKIN[first]) * np.float32(tone - first)
    bottom = str(rng.choice(["trousers", "jeans", "skirt"], p=[0.36, 0.42, 0.22] if woman else [0.4, 0.58, 0.02]))
    scale = float(rng.uniform(0.50, 0.60))
    return Person(
        scale=scale,
        middle=float(np.clip(rng.normal(0, 0.018), -0.05, 0.05)),
        top=float(rng.uniform(0.205, 0.29)),
        lean=float(rng.normal(0, 0.025)),
        yaw=yaw,
        tilt=float(np.clip(rng.normal(0, 0.05), -0.12, 0.12)),
        sway=float(np.clip(rng.normal(0, 0.018), -0.04, 0.04)),
        width=width,
        depth=depth,
        shoulder=shoulder,
        bust=float(rng.uniform(0.35, 1.0)) if woman else 0.12,
        neck=neck,
        head=(float(rng.normal(0.128, 0.004)), float(rng.normal(0.182, 0.006))),
        nod=(float(np.clip(yaw * 0.5 + rng.normal(0, 0.12), -0.4, 0.4)), float(rng.normal(0, 0.05))),
        arms=(arms[0], arms[1]),
        pose=pose,
        skin=skin / 255 * np.float32(rng.uniform(0.95, 1.02)),
        hair=np.clip(
            HAIR[int(rng.integers(len(HAIR)))] / 255 * rng.uniform(0.75, 1.2) * rng.normal(1, 0.03, 3), 0, 1
        ).astype(np.float32),
        hair_style=str(style),  # type: ignore[arg-type]
        hair_fall=(_fall(rng), _fall(rng)),
        bottom=bottom,  # type: ignore[arg-type]
        bottom_color=_bottom_color(rng, bottom),
        bottom_length=float(rng.uniform(1.35, 1.9)),
        tucked=bool(rng.random() < (0.28 if woman else 0.1)),
        waist=waist_y + float(rng.uniform(0.12, 0.26)),
    )


def _fall(rng: Rng) -> float:
    return float(rng.uniform(0.12, 0.5)) if rng.random() < 0.45 else 0.0


def _bottom_color(rng: Rng, kind: str) -> Floats:
    if kind == "jeans":
        base = np.float32([70, 92, 132]) * np.float32(rng.uniform(0.35, 1.45)) + np.float32(rng.uniform(0, 25))
    elif rng.random() < 0.5:
        base = np.full(3, rng.uniform(22, 70), np.float32)
    else:
        base = rng.uniform(30, 235, 3).astype(np.float32)
        base = base.mean() + (base - base.mean()) * np.float32(0.55)
    return np.clip(base / 255, 0.04, 0.95).astype(np.float32)


def _arm(rng: Rng, pose: str, side: int, joint_x: float, yaw: float, plump: float, hip: float) -> Arm:
    """The arm on the picture's left (-1) or right (1)."""
    upper, lower = float(rng.normal(0.50, 0.015)), float(rng.normal(0.43, 0.012))
    shoulder = np.array([side * joint_x * np.cos(yaw), 0.165, -side * joint_x * np.sin(yaw) * 0.6])
    # directions of the two bones: (out, down, to the viewer), unit vectors after normalising
    jitter = rng.normal(0, 0.05, (2, 3))
    roll, behind = float(rng.normal(0.1, 0.15)), False
    kind = pose
    if pose in ("raised", "hip", "bent") and rng.random() < 0.45:
        kind = "sides"  # one arm only
    if kind == "sides":
        spread = rng.uniform(0.04, 0.24)
        bones = [(spread, 1, -0.05), (spread - rng.uniform(0.0, 0.16), 1, 0.12)]
    elif kind == "bent":
        out = rng.uniform(0.15, 0.4)
        bones = [(out, 1, -0.2), (rng.uniform(-0.5, 0.35), rng.uniform(0.15, 0.8), rng.uniform(0.4, 0.9))]
        roll += 0.2
    elif kind == "hip":
        out = rng.uniform(0.5, 0.85)
        bones = [(out, 0.95, -0.25), (-rng.uniform(0.55, 0.85), rng.uniform(0.55, 0.8), 0.15)]
        roll += 0.4
    elif kind == "crossed":
        level = rng.uniform(-0.12, 0.12) + 0.07 * side
        bones = [(0.16, 1, 0.1), (-1.0, -0.02 + level, 0.3)]
        roll += 0.9
    elif kind == "front":
        bones = [(rng.uniform(0.12, 0.24), 1, 0.0), (-rng.uniform(0.5, 0.75), rng.uniform(0.5, 0.9), 0.45)]
        roll += 0.6
    elif kind == "raised":
        bones = [(1.0, rng.uniform(-0.5, 0.1), 0.2), (-rng.uniform(0.25, 0.6), -1.0, 0.1)]
        roll -= 0.4
    else:
        bones = [(0.14, 1, -0.2), (-rng.uniform(0.35, 0.6), 0.75, -0.4)]
        behind = True
    directions = np.array(bones) + jitter
    directions[:, 0] *= side
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    elbow = shoulder + upper * directions[0]
    wrist = elbow + lower * directions[1]
    points, along = _rounded(shoulder, elbow, wrist)
    total = along[-1]
    radius = np.interp(
        along / total, [0, 0.12, 0.35, 0.53, 0.62, 0.85, 1], np.array([82, 84, 74, 60, 63, 46, 39]) / 1000
    )
    aim = wrist - elbow
    bend = rng.normal(0, 0.25)
    hand = np.array([aim[0] * np.cos(bend) - aim[1] * np.sin(bend), aim[0] * np.sin(bend) + aim[1] * np.cos(bend)])
    hand /= max(float(np.linalg.norm(hand)), 1e-3)
    return Arm(
        points.astype(np.float32), along.astype(np.float32), (radius * plump).astype(np.float32), upper, roll,
        hand.astype(np.float32), behind,
    )  # fmt: skip


def _rounded(
    shoulder: np.ndarray, elbow: np.ndarray, wrist: np.ndarray, steps: int = 17
) -> tuple[np.ndarray, np.ndarray]:
    """The line shoulder-elbow-wrist with its corner rounded by a quadratic curve, evenly spaced; and lengths along it."""
    first, last = shoulder + 0.72 * (elbow - shoulder), elbow + 0.28 * (wrist - elbow)
    t = np.linspace(0, 1, 12)[:, None]
    curve = (1 - t) ** 2 * first + 2 * t * (1 - t) * elbow + t * t * last
    line = np.concatenate([shoulder[None], curve, wrist[None]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    along = np.linspace(0, length[-1], steps)
    return np.stack([np.interp(along, length, line[:, k]) for k in range(3)], 1), along
