"""Light, skin, head, hair and trousers: all of a picture that is not the garment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekd.recipes.tryon.wardrobe_field import Floats, Rng, blurred, inside, noise, smoothstep, vector
from edgekd.recipes.tryon.wardrobe_person import Arm, Person
from edgekd.recipes.tryon.wardrobe_worn import Limb, Torso, View, tilted

# Numbers of the parsing (VITON's label maps, as the teacher reads them) and of the body parts (DensePose).
HAIR, CLOTHES, BOTTOM, LEFT_LEG, RIGHT_LEG, LEFT_ARM, FACE, RIGHT_ARM = 1, 4, 8, 9, 10, 11, 12, 13
TORSO, RIGHT_HAND, LEFT_HAND, RIGHT_THIGH, LEFT_THIGH, RIGHT_HEAD, LEFT_HEAD = 2, 3, 4, 9, 10, 23, 24
LEFT_UPPER, RIGHT_UPPER, LEFT_LOWER, RIGHT_LOWER = 17, 18, 21, 22

Window = tuple[slice, slice]


class Canvas:
    """A picture being drawn from back to front, with its labels.

    Attributes:
        rgb: (H, W, 3) float32, 0..1.
        bare: (H, W) float32, the share of each pixel that nothing covers yet.
        label, part: (H, W) uint8.
    """

    def __init__(self, rgb: Floats) -> None:
        self.rgb = rgb
        self.bare = np.ones(rgb.shape[:2], np.float32)
        self.label = np.zeros(rgb.shape[:2], np.uint8)
        self.part = np.zeros(rgb.shape[:2], np.uint8)

    def lay(
        self, window: Window, cover: Floats, color: Floats, label: int | None = None, part: int | Floats | None = None
    ) -> None:
        """Covers a window; what is covered by half and more has the label and the part."""
        below = self.rgb[window]
        below += (color - below) * cover[..., None]
        self.bare[window] *= 1 - cover
        solid = cover > 0.5
        if label is not None:
            self.label[window][solid] = label
        if part is not None:
            self.part[window][solid] = part if isinstance(part, int) else part[solid]

    def darken(self, window: Window, by: Floats) -> None:
        self.rgb[window] *= (1 - by)[..., None]


@dataclass(frozen=True)
class Light:
    direction: Floats  # (3,), to the light: x right, y down, z to the viewer
    ambient: float
    tint: Floats

    def on(self, nx: Floats, ny: Floats, nz: Floats, slope: tuple[Floats, Floats] | None = None) -> Floats:
        """How bright a surface with this normal is, about 1 where it faces the viewer."""
        if slope is not None:
            nx, ny = nx - slope[0], ny - slope[1]
            size = 1 / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-4))
            nx, ny, nz = nx * size, ny * size, nz * size
        x, y, z = self.direction
        straight = nx * x + ny * y + nz * z
        value = np.float32(self.ambient) * (0.75 + 0.25 * nz - 0.1 * ny) + np.float32(1 - self.ambient) * np.maximum(
            straight, 0
        ) / np.float32(z)
        return np.minimum(value, np.float32(1.45))


def sample_light(rng: Rng) -> Light:
    direction = np.array([rng.uniform(-0.75, 0.75), -rng.uniform(0.1, 0.7), 1.0])
    direction /= np.linalg.norm(direction)
    tint = rng.normal(1, 0.025, 3)
    return Light(direction.astype(np.float32), float(rng.uniform(0.38, 0.62)), tint.astype(np.float32))


def skin_of(person: Person, light: Light, shade: Floats, blush: Floats | float = 0.0) -> Floats:
    """Lit skin (..., 3): shadows turn warmer, as light that went through skin is red."""
    dark = np.clip(1 - shade, 0, 1)[..., None]
    color = person.skin * shade[..., None] * light.tint
    color = color * (1 + dark * vector(0.10, -0.04, -0.08))
    if not isinstance(blush, float):
        color = color * (1 + blush[..., None] * vector(0.06, -0.10, -0.08))
    return np.minimum(color, 1)


def draw_torso(canvas: Canvas, view: View, body: Torso, light: Light) -> None:
    """Neck and bare torso; collar bones, the shadow below the chin."""
    person = view.person
    window = view.window(np.array([-0.62, -0.34]), np.array([0.62, 1.16]))
    body = body.part(window)
    cos, sin = np.float32(np.cos(person.yaw)), np.float32(np.sin(person.yaw))
    reach = np.hypot(body.width * cos, body.depth * sin)
    share = (body.x / reach).clip(-1, 1)
    nz = np.sqrt(1 - share * share)
    edge = np.minimum((reach - np.abs(body.x)) * 0.9, np.minimum(body.y + np.float32(0.3), np.float32(1.12) - body.y))
    cover = inside(edge, view.pixel)
    bone = np.exp(-(((body.y - 0.075 - 0.12 * np.abs(body.x)) / 0.012) ** 2)) * smoothstep(0.03, 0.07, np.abs(body.x))
    cleft = np.exp(-((body.x / 0.03) ** 2)) * smoothstep(0.04, 0.1, body.y) * smoothstep(0.22, 0.12, body.y)
    chin = smoothstep(0.06, -0.12, body.y - 0.25 * np.abs(body.x))
    strands = np.exp(-(((np.abs(body.x) - 0.045 * (1.6 - body.y * 3)) / 0.014) ** 2)) * smoothstep(0.03, -0.06, body.y)
    shade = light.on(share * np.float32(0.9), np.zeros_like(nz), nz)
    shade = shade * (1 - 0.09 * bone - 0.05 * cleft - 0.34 * chin + 0.05 * strands)
    canvas.lay(window, cover, skin_of(person, light, shade))
    canvas.part[window][(cover > 0.5) & (body.y > 0)] = TORSO


def draw_bottom(canvas: Canvas, rng: Rng, view: View, body: Torso, light: Light) -> tuple[Window, Floats]:
    """Trousers, jeans or a skirt, and bare legs below it. Returns what it covers, and of which window."""
    person, size = view.person, view.size
    window = view.window(np.array([-1.0, person.waist - 0.1]), np.array([1.0, 3.0]))
    body = body.part(window)
    label, part = canvas.label[window], canvas.part[window]
    y = body.y
    cos, sin = np.float32(np.cos(person.yaw)), np.float32(np.sin(person.yaw))
    reach = np.hypot(body.width * cos, body.depth * sin) + np.float32(0.006)
    fold = noise(rng, (0.09, 0.5), size, float(rng.normal(0, 0.2)), window)
    crease = noise(rng, (0.25, 0.05), size, float(rng.normal(0, 0.4)), window)
    crotch = 1.14
    gap = smoothstep(crotch, crotch + 0.5, y) * np.float32(0.035)
    left_leg = body.x > 0
    leg_x, leg_r = np.abs(body.x) - (reach / 2 + gap / 2), reach / 2 - gap / 2
    legs = inside(np.minimum(leg_r - np.abs(leg_x), y - np.float32(1.0)), view.pixel)
    leg_share = (leg_x / leg_r).clip(-1, 1)
    legs_nx = leg_share * np.where(left_leg, np.float32(1), np.float32(-1))
    thigh = np.where(left_leg, LEFT_THIGH, RIGHT_THIGH).astype(np.uint8)
    part[(legs > 0.5) & (y > 1.05)] = thigh[(legs > 0.5) & (y > 1.05)]
    if person.bottom == "skirt":
        bare = skin_of(person, light, light.on(legs_nx * np.float32(0.9), np.zeros_like(y), np.sqrt(1 - leg_share**2)))
        canvas.lay(window, legs * smoothstep(1.2, 1.21, y), bare)
        for is_left, number in ((True, LEFT_LEG), (False, RIGHT_LEG)):
            label[(legs > 0.5) & (y > 1.2) & (left_leg == is_left)] = number
        reach += np.float32(0.16) * smoothstep(0.95, person.bottom_length + 0.2, y)
        hem = np.float32(person.bottom_length) - y + np.float32(0.02) * fold
    else:
        hem = np.float32(3) - y
    share = (body.x / reach).clip(-1, 1)
    nz = np.sqrt(1 - share * share)
    top = y - np.float32(person.waist) + np.float32(0.02) * nz
    edge = np.minimum(np.minimum(reach - np.abs(body.x), top), hem)
    nx = share
    if person.bottom != "skirt":
        split = smoothstep(crotch - 0.12, crotch + 0.1, y)
        nx = share * (1 - split) + legs_nx * split
        edge = np.where(y > crotch, np.minimum(edge, leg_r - np.abs(leg_x)), edge)
        nz = np.sqrt(np.clip(1 - nx * nx, 0.03, 1))
    shade = light.on(nx * np.float32(0.9), np.zeros_like(y), nz, (0.13 * fold, 0.09 * crease))
    color = np.broadcast_to(person.bottom_color, (*y.shape, 3))
    if person.bottom == "jeans":
        worn = np.exp(-((leg_x / (0.5 * leg_r)) ** 2)) * smoothstep(1.0, 1.4, y)
        color = color * (1 + 0.22 * worn + 0.02 * noise(rng, (0.012, 0.03), size, 0.0, window))[..., None]
    band = np.exp(-(((top - 0.075) / 0.006) ** 2))
    fly = np.exp(-((body.x / 0.006) ** 2)) * (top > 0.07) * (y < crotch) * (person.bottom != "skirt")
    lit = color * (shade * (1 - 0.25 * band - 0.2 * fly))[..., None] * light.tint
    cover = inside(edge * np.float32(0.95), view.pixel)
    canvas.lay(window, cover, lit, BOTTOM)
    return window, cover


def draw_bare_arm(
    canvas: Canvas, view: View, arm: Arm, side: int, found: Limb, light: Light, begins: float | None = None
) -> None:
    """Arm and hand; ``begins``: only what lies so far from the shoulder, with a hard edge."""
    person, window = view.person, found.window
    whole = inside(found.radius - found.distance, view.pixel)
    cover = whole * (found.apart if begins is None else inside(found.along - np.float32(begins), view.pixel))
    share = (found.distance / found.radius).clip(0, 1)
    nz = np.sqrt(1 - share * share)
    elbow = np.exp(-(((found.along - np.float32(arm.elbow)) / np.float32(0.03)) ** 2)) * smoothstep(
        0.0, -0.6, found.across / found.radius
    )
    shade = light.on(found.nx * share * np.float32(0.92), found.ny * share * np.float32(0.92), nz) * (1 - 0.08 * elbow)
    upper, lower = (RIGHT_UPPER, RIGHT_LOWER) if side < 0 else (LEFT_UPPER, LEFT_LOWER)
    arm_there = whole * found.apart > 0.5  # body parts are known below clothes too, so they tell nothing about them
    canvas.part[window][arm_there] = np.where(found.along < arm.elbow, upper, lower)[arm_there]
    canvas.lay(window, cover, skin_of(person, light, shade), RIGHT_ARM if side < 0 else LEFT_ARM)
    _hand(canvas, view, arm, side, light)


def _hand(canvas: Canvas, view: View, arm: Arm, side: int, light: Light) -> None:
    person = view.person
    wrist = arm.points[-1, :2].copy()
    wrist[1] += float(tilted(person, wrist[:1], wrist[1:])[0])
    aim = arm.hand
    inner = np.array([-aim[1], aim[0]]) * side  # towards the thumb's side
    grown = float(arm.radius[-1]) / 0.043
    bones = [(-0.01, 0.0, 0.10, 0.0, 0.040, 0.044)]
    for k in range(4):
        spread = (k - 1.5) * 0.022
        bones.append((0.09, spread * 0.9, 0.205 - 0.014 * abs(k - 1.3), spread * 1.25, 0.0145, 0.011))
    bones.append((0.03, 0.03, 0.115, 0.078, 0.017, 0.013))
    for k, (a0, c0, a1, c1, r0, r1) in enumerate(bones):
        start, end = (((a * aim + c * inner) * grown).astype(np.float32) for a, c in ((a0, c0), (a1, c1)))
        d = end - start
        length = float(np.hypot(*d))
        room = 2 * r0 * grown
        window = view.window(wrist + np.minimum(start, end) - room, wrist + np.maximum(start, end) + room)
        x, y = view.x[window] - wrist[0], view.y[window] - wrist[1]
        if not x.size:
            continue
        t = (((x - start[0]) * d[0] + (y - start[1]) * d[1]) / np.float32(length * length)).clip(0, 1)
        rx, ry = x - start[0] - t * d[0], y - start[1] - t * d[1]
        radius = (np.float32(r0) + t * np.float32(r1 - r0)) * np.float32(grown)
        distance = np.hypot(rx, ry)
        share = (distance / radius).clip(0, 1)
        scale = share / np.maximum(distance, 1e-4) * np.float32(0.75)
        shade = light.on(rx * scale, ry * scale, np.sqrt(1 - 0.6 * share * share)) * np.float32(0.97 if k else 1)
        blush = smoothstep(0.5, 1.0, t) * np.float32(0.6)
        canvas.lay(
            window, inside(radius - distance, view.pixel), skin_of(person, light, shade, blush),
            RIGHT_ARM if side < 0 else LEFT_ARM, RIGHT_HAND if side < 0 else LEFT_HAND,
        )  # fmt: skip


def cast_shadow(canvas: Canvas, view: View, found: Limb, light: Light, on: Floats) -> None:
    """What an arm takes from the light of what lies behind it."""
    window, height = found.window, view.size[0]
    cover = np.zeros(view.size, np.float32)
    cover[window] = inside(found.radius * np.float32(1.05) - found.distance, view.pixel) * found.apart
    shift = (round(0.012 * height), round(float(-light.direction[0]) * 0.02 * height))
    soft = blurred(np.roll(cover, shift, (0, 1)), 0.014 * height)
    canvas.darken((slice(None), slice(None)), 0.42 * soft * on)
