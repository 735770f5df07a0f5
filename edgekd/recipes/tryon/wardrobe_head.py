"""Head and hair of a drawn person; small in the picture, so a face is shading more than lines."""

from __future__ import annotations

import numpy as np

from edgekd.recipes.tryon.wardrobe_field import Floats, Rng, inside, noise, smoothstep
from edgekd.recipes.tryon.wardrobe_person import Person
from edgekd.recipes.tryon.wardrobe_scene import FACE, HAIR, LEFT_HEAD, RIGHT_HEAD, Canvas, Light, Window, skin_of
from edgekd.recipes.tryon.wardrobe_worn import Torso, View

CHIN_TO_NECK = 0.075  # the chin lies this far above the neck's base, body units


def head_middle(person: Person) -> tuple[float, float]:
    """Of the head, body units."""
    return 0.05 * person.nod[0], -CHIN_TO_NECK - person.head[1]


def face_points(person: Person) -> dict[str, tuple[float, float]]:
    """Nose, eyes and ears, body units; ``right`` is the person's."""
    (cx, cy), (w, h), turn = head_middle(person), person.head, person.nod[0]
    shift = 0.42 * turn * w
    return {
        "nose": (cx + 1.25 * shift, cy + 0.18 * h),
        "right_eye": (cx + shift - 0.4 * w, cy - 0.06 * h), "left_eye": (cx + shift + 0.4 * w, cy - 0.06 * h),
        "right_ear": (cx - w * (1 - 0.2 * max(turn, 0)), cy + 0.06 * h),
        "left_ear": (cx + w * (1 + 0.2 * min(turn, 0)), cy + 0.06 * h),
    }  # fmt: skip


def _around(view: View, reach: float, down: float) -> Window:
    cx, cy = head_middle(view.person)
    return view.window(np.array([cx - reach, cy - 0.36]), np.array([cx + reach, cy + down]))


def _strands(rng: Rng, view: View, window: Window) -> Floats:
    along = noise(rng, (0.012, 0.16), view.size, 0.08, window)
    return along + 0.5 * noise(rng, (0.03, 0.25), view.size, -0.05, window)


def _hair_color(person: Person, light: Light, strands: Floats, nx: Floats, shine: Floats) -> Floats:
    shade = light.on(nx, np.full_like(nx, -0.2), np.sqrt(np.clip(1 - nx * nx, 0.05, 1))) * (1 + 0.16 * strands)
    glow = np.clip(shine * (0.6 + 0.4 * strands), 0, 1)
    return np.clip(person.hair * shade[..., None] * light.tint + 0.16 * glow[..., None], 0, 1)


def draw_hair_behind(canvas: Canvas, rng: Rng, view: View, light: Light) -> None:
    """What falls behind neck and shoulders."""
    person = view.person
    if person.hair_style not in ("long", "bob"):
        return
    (cx, cy), (w, h) = head_middle(person), person.head
    window = _around(view, 0.42, 0.9)
    x, y = view.x[window] - np.float32(cx), view.y[window] - np.float32(cy)
    end = np.float32(h * 1.15 if person.hair_style == "bob" else h + 0.34)
    width = np.float32(1.12 * w) + np.float32(0.05) * smoothstep(-h, 1.4 * h, y)
    crown = np.sqrt(np.clip(1 - np.clip(-y / np.float32(1.13 * h), 0, 1) ** 2, 0, 1))
    wave = np.float32(0.02) * noise(rng, (0.05, 0.2), view.size, 0.0, window)
    edge = np.minimum(np.minimum(width * crown - np.abs(x) + wave, end + wave - y), y + np.float32(1.1 * h))
    nx = (x / width).clip(-1, 1)
    color = _hair_color(person, light, _strands(rng, view, window), nx, np.zeros_like(x)) * np.float32(0.62)
    canvas.lay(window, inside(edge, view.pixel), color, HAIR)


def draw_hair_in_front(canvas: Canvas, rng: Rng, view: View, body: Torso, light: Light) -> None:
    """Long hair over the shoulders, which hides the garment."""
    person = view.person
    if person.hair_style != "long":
        return
    (cx, cy), (w, h) = head_middle(person), person.head
    for side, fall in zip((-1, 1), person.hair_fall, strict=True):
        if not fall:
            continue
        window = _around(view, 0.45, h + CHIN_TO_NECK + fall + 0.1)
        x, y = side * (view.x[window] - np.float32(cx)), view.y[window] - np.float32(cy)
        down = smoothstep(0.1 * h, h + CHIN_TO_NECK + 0.1, y)
        middle = np.float32(0.98 * w) + np.float32(0.035) * down
        end = np.float32(h + CHIN_TO_NECK + fall)
        wave = np.float32(0.016) * noise(rng, (0.04, 0.18), view.size, 0.0, window)
        half = (
            np.float32(0.052)
            * np.sqrt(np.clip((end - y) / 0.2, 0, 1))
            * smoothstep(-0.35 * h, 0.5 * h, y)
            * (1 + 12 * wave)
        )
        edge = np.minimum(half - np.abs(x - middle - wave), y + np.float32(0.3 * h))
        nx = ((x - middle) / 0.07).clip(-1, 1) * side
        color = _hair_color(person, light, _strands(rng, view, window), nx, np.zeros_like(x))
        canvas.lay(window, inside(edge, view.pixel), color * np.float32(0.92), HAIR)


def draw_head(canvas: Canvas, rng: Rng, view: View, light: Light) -> None:
    """Ears, face, its features, and the hair on the head."""
    person = view.person
    (cx, cy), (w, h), (turn, tilt) = head_middle(person), person.head, person.nod
    window = _around(view, 0.3, 0.34)
    x0, y0 = view.x[window] - np.float32(cx), view.y[window] - np.float32(cy)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    x, y = (x0 * cos + y0 * sin) / np.float32(w), (y0 * cos - x0 * sin) / np.float32(h)
    unit = np.float32(view.pixel / w)
    jaw = np.float32(rng.uniform(0.62, 0.8))
    wide = np.where(
        y < 0,
        np.sqrt(np.clip(1 - y * y, 0, 1)),
        (1 - (1 - jaw) * y.clip(0, 1) ** 2) * np.sqrt(np.clip(1 - y.clip(0, 1) ** 4.2, 0, 1)),
    )
    cover = inside((wide - np.abs(x)) * np.float32(0.9), float(unit))
    for side in (-1, 1):
        ear = np.hypot((x - side * np.float32(1.0 + 0.2 * min(0.0, side * -turn))) / 0.13, (y - 0.04) / 0.2)
        tone = light.on(np.full_like(x, 0.5 * side), np.zeros_like(x), np.full_like(x, 0.8)) * (
            0.88 + 0.1 * ear.clip(0, 1)
        )
        canvas.lay(window, inside((1 - ear) * 0.13, float(unit)), skin_of(person, light, tone), FACE)
    share = (x / np.maximum(wide, np.float32(0.05))).clip(-1, 1)
    nz = np.sqrt(np.clip(1 - 0.9 * share * share, 0.05, 1))
    fx = x - np.float32(0.42 * turn)  # features turn with the head
    far = np.float32(1.25) * turn * np.float32(0.42)

    def spot(at_x: float, at_y: float, half_x: float, half_y: float) -> Floats:
        return np.exp(
            -(((fx - np.float32(at_x)) / np.float32(half_x)) ** 2 + ((y - np.float32(at_y)) / np.float32(half_y)) ** 2)
        )

    nose_x = far - np.float32(0.42 * turn)
    lit_side = np.float32(np.sign(light.direction[0]) or 1)
    eye_y, mouth_y, gap = -0.06, 0.52, 0.40
    shade = light.on(share * np.float32(0.85), 0.25 * y, nz)
    shade = shade * (1 - 0.20 * (spot(-gap, eye_y - 0.02, 0.26, 0.12) + spot(gap, eye_y - 0.02, 0.26, 0.12)))
    shade = shade * (
        1 - 0.24 * spot(float(nose_x - 0.09 * lit_side), 0.12, 0.05, 0.18) + 0.10 * spot(float(nose_x), 0.08, 0.06, 0.2)
    )
    shade = shade * (1 - 0.26 * spot(float(nose_x), 0.27, 0.15, 0.035) - 0.12 * spot(float(nose_x), 0.68, 0.22, 0.04))
    shade = shade * (1 + 0.05 * (spot(-0.5, 0.2, 0.2, 0.15) + spot(0.5, 0.2, 0.2, 0.15)))
    blush = 0.8 * (spot(-0.5, 0.25, 0.22, 0.16) + spot(0.5, 0.25, 0.22, 0.16)) + 0.5 * spot(
        float(nose_x), 0.22, 0.12, 0.1
    )
    color = skin_of(person, light, shade * (1 + 0.015 * noise(rng, (0.02, 0.02), view.size, 0.0, window)), blush)

    def tint(amount: Floats, ink: Floats) -> None:
        nonlocal color
        color = color + (np.float32(ink) * shade[..., None] - color) * amount.clip(0, 1)[..., None]

    iris = np.float32([[60, 40, 26], [84, 60, 34], [66, 96, 110], [58, 84, 54]])[int(rng.integers(4))] / 255
    made_up = np.float32(rng.uniform(0, 0.7))
    for side in (-1, 1):
        ex = side * gap
        opening = smoothstep(0.16, 0.10, np.abs(fx - ex)) * smoothstep(0.065, 0.04, np.abs(y - eye_y))
        tint(0.85 * opening, np.float32([0.93, 0.91, 0.90]))
        tint(opening * smoothstep(0.09, 0.065, np.hypot(fx - ex, (y - eye_y) * h / w)), iris)
        tint(opening * smoothstep(0.05, 0.03, np.hypot(fx - ex, (y - eye_y) * h / w)), np.float32([0.05, 0.04, 0.04]))
        lash = np.exp(-(((y - eye_y + 0.055 - 0.9 * (fx - ex) ** 2) / 0.022) ** 2)) * smoothstep(
            0.22, 0.15, np.abs(fx - ex)
        )
        tint((0.55 + 0.4 * made_up) * lash, np.float32([0.10, 0.07, 0.06]))
        brow = np.exp(-(((y - eye_y + 0.2 - 1.0 * (fx - ex * 1.02) ** 2) / 0.034) ** 2)) * smoothstep(
            0.28, 0.2, np.abs(fx - ex * 1.02)
        )
        tint(0.62 * brow, person.hair * np.float32(0.7) + person.skin * np.float32(0.12))
    lips = np.float32([0.72, 0.36, 0.34]) * (0.35 + 0.65 * person.skin.mean())
    mouth = smoothstep(0.30, 0.2, np.abs(fx - nose_x * 0.9)) * np.exp(-(((y - mouth_y) / 0.055) ** 2))
    tint((0.35 + 0.5 * made_up) * mouth, lips)
    tint(
        0.5 * smoothstep(0.28, 0.2, np.abs(fx - nose_x * 0.9)) * np.exp(-(((y - mouth_y) / 0.016) ** 2)),
        lips * np.float32(0.5),
    )
    if person.hair_style in ("short", "bald") and rng.random() < 0.4:  # a beard
        beard = smoothstep(0.25, 0.5, y + 0.25 * x * x) * (1 - 0.9 * mouth)
        tint(np.float32(rng.uniform(0.2, 0.75)) * beard, person.hair)
    part = np.where(x0 > 0, LEFT_HEAD, RIGHT_HEAD).astype(np.uint8)
    canvas.lay(window, cover, np.clip(color, 0, 1), FACE, part)  # type: ignore[arg-type]
    _hair_on_head(canvas, rng, view, light, window, x, y, float(unit))


def _hair_on_head(
    canvas: Canvas, rng: Rng, view: View, light: Light, window: Window, x: Floats, y: Floats, unit: float
) -> None:
    person = view.person
    style = person.hair_style
    line = np.float32(rng.uniform(-0.72, -0.5))
    part_at, sweep = np.float32(rng.uniform(-0.45, 0.45)), np.float32(rng.uniform(0.1, 0.5))
    wave = np.float32(0.05) * noise(rng, (0.03, 0.06), view.size, 0.0, window)
    if style == "bald":
        return
    thick = {"short": 0.10, "bob": 0.16, "long": 0.14, "bun": 0.07}[style]
    outer = np.hypot(x / np.float32(1 + thick), (y + 0.02) / np.float32(1 + thick * 1.1))
    forehead = line + sweep * (x - part_at) ** 2 + wave
    scalp = np.minimum((1 - outer) * 1.0, forehead - y)
    edge = scalp
    if style in ("bob", "long"):
        hang = 1.05 if style == "bob" else 0.9
        round_top = np.float32(1.16) + wave - np.hypot(x, np.minimum(y, 0))
        curtain = np.minimum(np.abs(x) - np.float32(0.82) - np.float32(0.12) * y + wave, round_top)
        curtain = np.minimum(curtain, np.float32(hang) + wave - y)
        edge = np.maximum(edge, curtain)
    elif style == "short":
        sides = np.minimum(np.float32(1 + 0.5 * thick) - np.hypot(x, np.minimum(y, 0)), np.abs(x) - np.float32(0.86))
        edge = np.maximum(edge, np.minimum(sides, np.float32(0.02) - y))
    if style == "bun":
        bun = np.float32(0.36) - np.hypot(x - part_at * 0.4, y + 1.22)
        edge = np.maximum(edge, bun)
    shine = np.exp(-(((outer - 0.78) / 0.09) ** 2)) * smoothstep(0.1, -0.6, y)
    color = _hair_color(person, light, _strands(rng, view, window), (x * np.float32(0.8)).clip(-0.95, 0.95), shine)
    gap = np.exp(-(((x - part_at) / 0.03) ** 2)) * smoothstep(-0.55, -0.9, y)
    color = color * (1 - 0.3 * gap[..., None])
    canvas.lay(window, inside(edge, unit), color, HAIR)
    solid = inside(edge, unit) > 0.5
    canvas.part[window][solid & (outer < 1)] = np.where(x > 0, LEFT_HEAD, RIGHT_HEAD)[solid & (outer < 1)]
