"""Procedurally drawn faces with exact iBUG-68 points, for tests and warm starts.

A parametric 3D head (``face_head``, ``face_person``) is posed, painted on its unrolled surface (``face_skin``,
``face_cover``), lit and splatted into a scene (``face_scene``). The points are places on that surface, except the
jaw line (0..16), which is the visible outline of the cheek as annotators mark it. What is hidden is labelled too,
where it would be.

Coordinates are continuous pixels: x to the right, y down, the centre of the first pixel at (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.errors import InputError
from edgekd.recipes.landmarks import face_cover, face_head, face_scene, face_skin
from edgekd.recipes.landmarks.face_head import FLIP_68, MEAN_INNER, Floats, smoothstep
from edgekd.recipes.landmarks.face_person import Person, sample_person

__all__ = ["FLIP_68", "annotator_noise", "draw_face", "draw_faces", "mean_face"]

Rng = np.random.Generator
_SUPERSAMPLING = 1.35


def _streams(seed: int, index: int) -> list[Rng]:
    """Independent generators (shape, look, scene, camera): what the camera draws depends on the size."""
    key = np.array([seed, index], np.uint64)
    return [np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, k])) for k in range(4)]


def _frame(points: Floats, rng: Rng) -> tuple[float, NDArray]:
    """Scale (frame sides per head unit) and shift (frame sides) that frame points as a detector does."""
    low, high = points.min(0), points.max(0)
    scale = float(rng.uniform(0.60, 0.72) / (high - low).max())
    jitter = np.clip(rng.normal(0, 0.03, 2), -0.06, 0.06)
    return scale, 0.5 + jitter - scale * (low + high) / 2


def draw_face(seed: int, index: int, size: int) -> tuple[NDArray[np.uint8], Floats]:
    """Draws one face; a pure function of its arguments.

    The same (seed, index) at another size is the same face, and its points scale exactly.

    Returns:
        the picture, (size, size, 3) RGB, and its points, (68, 2) x, y in pixels, iBUG order.

    Raises:
        InputError: seed or index negative, or size below 16.
    """
    if seed < 0 or index < 0 or size < 16:
        raise InputError(
            f"no face can be drawn for seed {seed}, index {index}, size {size}",
            "seed and index count from 0, and a face needs at least 16 pixels",
        )
    shape, look, scene, lens = _streams(seed, index)
    person = sample_person(shape)
    points = face_head.landmarks(person.skin, person.inner, person.turn, person.roll)
    scale, shift = _frame(points, shape)
    # Every fourth face is small: drawn with few pixels and enlarged, as real detections are.
    share = float(np.exp(scene.uniform(np.log(0.2), 0))) if scene.random() < 0.28 else 1.0
    resolved = min(size, max(20, round(share * size)))
    side = max(round(_SUPERSAMPLING * resolved), 72)
    drawing = _draw(person, scale * side, shift * side, side, look, scene)
    return face_scene.camera(lens, drawing, resolved, size), (points * scale + shift).astype(np.float32) * size


def draw_faces(
    seed: int, start: int, count: int, size: int, progress: Callable[[float], None] | None = None
) -> tuple[NDArray[np.uint8], Floats]:
    """Faces ``start`` to ``start + count`` of a seed.

    Args:
        progress: called with the share done, 0..1, after each face.

    Returns:
        pictures (count, size, size, 3) and points (count, 68, 2), as in ``draw_face``.

    Raises:
        InputError: as ``draw_face``, or ``count`` negative.
    """
    if count < 0:
        raise InputError(f"{count} faces cannot be drawn", "the count is negative")
    images = np.empty((count, size, size, 3), np.uint8)
    points = np.empty((count, 68, 2), np.float32)
    for k in range(count):
        images[k], points[k] = draw_face(seed, start + k, size)
        if progress is not None:
            progress((k + 1) / count)
    return images, points


def annotator_noise(points: NDArray, seed: int, share: float) -> Floats:
    """Points as a person would have clicked them: Gaussian noise, the same in x and y.

    Args:
        points: (..., 68, 2).
        share: mean distance of a point from its place, as a share of the outer-eye-corner distance (36, 45).

    Raises:
        InputError: ``share`` is negative.
    """
    if share < 0:
        raise InputError(f"annotator noise of {share} eye distances", "a share cannot be negative")
    eyes = np.linalg.norm(points[..., 36, :] - points[..., 45, :], axis=-1)[..., None, None]
    sigma = share * eyes / np.sqrt(np.pi / 2)  # the mean length of a 2D Gaussian is sigma * sqrt(pi / 2)
    offsets = np.random.Generator(np.random.Philox(seed)).standard_normal(points.shape)
    return (points + sigma * offsets).astype(np.float32)


def mean_face() -> Floats:
    """The neutral mean face from the front: (68, 2) in half face widths, eyes at y = 0. Symmetric."""
    return face_head.landmarks(face_head.grid().mean, MEAN_INNER, np.eye(3, dtype=np.float32), 0.0)


def _draw(person: Person, unit: float, shift: NDArray, side: int, look_rng: Rng, scene: Rng) -> Image.Image:
    """The head in its scene, ``side`` pixels square, ``unit`` pixels per head unit."""
    head = face_head.grid()
    look = face_skin.sample_look(look_rng)
    covers = face_cover.sample_covers(look_rng, look)
    light = _sample_light(scene)
    raised = face_cover.thickness_on(covers, head.s, head.y)
    surface = person.skin + raised[..., None] * head.out
    covered = smoothstep(0.0, 0.03, raised)
    surface[..., 0] -= head.ear * covered
    placed = _turned(surface, person.turn)
    # Lit as if bare: the ramp up to the hair would catch the light as a bright rim.
    shade, sheen = _lit(_turned(person.skin, person.turn), head.shut * (1 - covered), light)

    span = 1.66  # radians to either side of the middle that the camera can see
    middle = -person.yaw
    col0, col1 = np.searchsorted(head.s, (middle - span, middle + span))
    across = placed[..., 1] * unit + shift[1]
    row0, row1 = _range((across > -2) & (across < side + 2))
    rows = round(1.05 * unit * head.step_y * (row1 - row0))
    columns = round(1.05 * unit * head.step_s * int(col1 - col0))

    def dense(coarse: Floats) -> Floats:
        image = Image.fromarray(np.ascontiguousarray(coarse[row0:row1, col0:col1]))
        return np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))

    at_row = np.clip((np.arange(rows) + 0.5) * (row1 - row0) / rows - 0.5, 0, row1 - row0 - 1) + row0
    at_column = np.clip((np.arange(columns) + 0.5) * (col1 - col0) / columns - 0.5, 0, col1 - col0 - 1) + col0
    y = np.interp(at_row, np.arange(len(head.y)), head.y).astype(np.float32)
    half = np.interp(at_row, np.arange(len(head.y)), head.a).astype(np.float32)
    s = np.interp(at_column, np.arange(len(head.s)), head.s).astype(np.float32)
    x = half[:, None] * np.sin(s)
    canvas = face_skin.Canvas(
        x,
        np.broadcast_to(y[:, None], x.shape),
        s,
        half,
        np.empty((*x.shape, 3), np.float32),
        np.ones_like(x),
        1 / unit,
    )
    _paint(canvas, person, look, covers, look_rng, float(light.direction[0]))
    pixel_x, pixel_y = (dense(placed[..., k]) * unit + shift[k] for k in range(2))
    which = _splat(pixel_x, pixel_y, dense(placed[..., 2]), side)
    picture = _behind(person, unit, shift, side, look, covers, light, scene)
    pixels = np.array(picture)
    seen = which >= 0
    texels = which[seen]
    color = canvas.albedo.reshape(-1, 3)[texels]
    color *= dense((np.minimum(shade, 2) * 127.5).astype(np.uint8)).reshape(-1, 3)[texels] * np.float32(1 / 127.5)
    color += (dense(sheen) * canvas.gloss).reshape(-1)[texels, None] * light.color
    pixels[seen] = np.clip(color * 255, 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    if scene.random() < 0.17:
        picture = face_scene.glasses(scene, picture, *_spectacles(person, unit, shift, scene), unit)
    if scene.random() < 0.09:
        tone = face_skin.SKIN[scene.integers(7)] / 255 if scene.random() < 0.3 else look.skin
        picture = face_scene.in_front(scene, picture, tone * light.level, unit)
    return picture


@dataclass
class _Light:
    direction: NDArray  # (3,) unit vector to the light: x right, y down, z to the viewer
    color: Floats  # (3,) key light
    ambient: Floats  # (3,)
    sheen: float

    @property
    def level(self) -> NDArray:
        return self.ambient + 0.6 * self.color


def _sample_light(rng: Rng) -> _Light:
    hard = rng.random() < 0.25
    direction = np.array([rng.normal(0, 1.1 if hard else 0.5), -rng.uniform(-0.15, 1.1), rng.uniform(0.35, 1.0)])
    direction /= np.linalg.norm(direction)
    warmth = rng.normal(0, 0.07)
    color = np.array([1 + warmth, 1.0, 1 - 1.3 * warmth])
    cast = rng.normal(0, 0.04)
    fill = rng.uniform(0.2, 0.45) if hard else rng.uniform(0.42, 0.7)
    exposure = rng.uniform(0.92, 1.18)
    key = (1.1 - fill) * exposure * color
    ambient = fill * exposure * np.array([1 - cast, 1.0, 1 + cast])
    return _Light(direction, key.astype(np.float32), ambient.astype(np.float32), float(rng.uniform(0, 0.35)))


def _lit(placed: Floats, shut: Floats, light: _Light) -> tuple[Floats, Floats]:
    """Shade (rows, columns, 3) and sheen (rows, columns) of a turned surface."""
    down, along = np.empty_like(placed), np.empty_like(placed)
    down[1:-1], down[0], down[-1] = placed[2:] - placed[:-2], placed[1] - placed[0], placed[-1] - placed[-2]
    along[:, 1:-1] = placed[:, 2:] - placed[:, :-2]
    along[:, 0], along[:, -1] = along[:, 1], along[:, -2]
    (ax, ay, az), (bx, by, bz) = np.moveaxis(along, 2, 0), np.moveaxis(down, 2, 0)
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    lx, ly, lz = light.direction.astype(np.float32)
    facing = (lx * nx + ly * ny + lz * nz) / length
    diffuse = np.clip((facing + 0.15) / 1.15, 0, 1)  # light scatters under the skin past the terminator
    sky = 0.80 + 0.20 * np.clip(-ny / length, -1, 1)
    half = np.array([lx, ly, lz + 1], np.float32) / np.linalg.norm([lx, ly, lz + 1])
    sheen = np.clip((half[0] * nx + half[1] * ny + half[2] * nz) / length, 0, 1) ** 24 * (light.sheen * (1 - shut))
    open_ = 1 - shut
    shade = (
        diffuse[..., None] * (0.35 + 0.65 * open_)[..., None] * light.color + (sky * open_)[..., None] * light.ambient
    )
    return shade.astype(np.float32), sheen.astype(np.float32)


def _paint(
    canvas: face_skin.Canvas,
    person: Person,
    look: face_skin.Look,
    covers: list[face_cover.Cover],
    rng: Rng,
    light_x: float,
) -> None:
    face_skin.paint_skin(canvas, look, rng)
    face_skin.paint_wrinkles(canvas, person.inner, look, rng, person.smile)
    face_skin.paint_beard(canvas, person.inner, look, rng)
    face_skin.paint_nose(canvas, person.inner, look, rng)
    face_skin.paint_mouth(canvas, person.inner, look, rng)
    face_skin.paint_eyes(canvas, person.inner, look, rng, light_x)
    face_skin.paint_brows(canvas, person.inner, look, rng)
    face_cover.paint_covers(canvas, covers, rng)


def _turned(surface: Floats, turn: Floats) -> Floats:
    # Not by matrix product: threads would cost more than nine multiplications.
    x, y, z = np.moveaxis(surface, 2, 0)
    return np.stack([r[0] * x + r[1] * y + r[2] * z for r in turn], 2)


def _range(rows: NDArray[np.bool_]) -> tuple[int, int]:
    """First row with a True in it, and one past the last."""
    found = np.flatnonzero(rows.any(1))
    return int(found[0]), int(found[-1]) + 1


def _splat(x: Floats, y: Floats, z: Floats, side: int) -> NDArray[np.int64]:
    """(side, side) index of the nearest texel that falls on each pixel, or -1."""
    column, row = x.astype(np.int32), y.astype(np.int32)
    inside = np.flatnonzero((x >= 0) & (y >= 0) & (column < side) & (row < side))
    depth = z.reshape(-1)[inside]
    level = ((depth + 2) * 12000).clip(0, 65535).astype(np.uint16)
    order = inside[np.argsort(level, kind="stable")]  # radix sort; the last write is the nearest
    which = np.full(side * side, -1)
    which[(row.reshape(-1)[order] * side + column.reshape(-1)[order])] = order
    grid = which.reshape(side, side)
    height = np.where(grid >= 0, z.reshape(-1)[grid], np.float32(-9))
    for reach in (1, 2):  # pixels between two much nearer ones are gaps in a stretched surface
        for axis in (0, 1):
            ids, z_of = (np.moveaxis(f, axis, 0) for f in (grid, height))
            before, at, after = (slice(k, side - 2 * reach + k) for k in (0, reach, 2 * reach))
            hole = z_of[at] < np.minimum(z_of[before], z_of[after]) - 0.12
            ids[at][hole] = ids[before][hole]
            z_of[at][hole] = z_of[before][hole]
    return grid


def _behind(
    person: Person,
    unit: float,
    shift: NDArray,
    side: int,
    look: face_skin.Look,
    covers: list[face_cover.Cover],
    light: _Light,
    rng: Rng,
) -> Image.Image:
    picture = face_scene.background(rng, side)
    anchor = (person.turn @ np.array([0.0, 1.0, -0.15]))[:2] * unit + shift
    lean = 0.5 * person.roll
    down = np.array([-np.sin(lean), np.cos(lean)])
    falling = [c for c in covers if c.behind]
    hair = falling[-1].color * light.level if falling else None
    return face_scene.body(
        rng,
        picture,
        anchor,
        down,
        unit,
        look.skin * light.level,
        hair,
        falling[-1].behind if falling else 0.0,
    )


def _spectacles(person: Person, unit: float, shift: NDArray, rng: Rng) -> tuple[list[list[NDArray]], list[NDArray]]:
    """Outlines of the rims in three shapes, and bridge and temples, as pixels."""
    head = face_head.grid()
    eyes = np.stack([person.inner[36:42].mean(0), person.inner[42:48].mean(0)])
    rows = head.rows_of(eyes[:, 1])
    centres = head.sample(person.skin, rows, head.columns_of(eyes[:, 0], rows))
    centres += (0.0, 0.03, 0.16)
    w, h = rng.uniform(0.27, 0.34), rng.uniform(0.17, 0.28)
    turns = np.linspace(0, 2 * np.pi, 29)[:-1]

    def project(places: NDArray) -> NDArray:
        return (places @ person.turn.T)[..., :2] * unit + shift

    rims = []
    for power in (1.0, 0.6, 0.38):  # round, soft, square
        cos, sin = (np.sign(f) * np.abs(f) ** power for f in (np.cos(turns), np.sin(turns)))
        outline = np.stack([w * cos, h * sin, -0.10 * np.abs(cos)], 1)
        rims.append([project(c + outline) for c in centres])
    inner, outer = (
        centres + np.array([(w, 0, 0), (-w, 0, 0)]),
        centres + np.array([(-w, -0.02, -0.10), (w, -0.02, -0.10)]),
    )
    lines = [project(inner)]
    for sign, end in ((-1, outer[0]), (1, outer[1])):
        if sign * person.yaw < 0.3:  # the far temple is behind the head
            lines.append(project(np.stack([end, (sign * 1.03, -0.02, 0.0)])))
    return rims, lines
