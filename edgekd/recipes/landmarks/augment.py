"""Random changes of training faces, in batched torch operations (KD-Loss, A8).

What happens to a sample is drawn from (seed, epoch, index) alone, never from the order of calls or from
the batch around it: each sample has one row of uniform numbers, each parameter a column of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from edgekd.recipes.contract import Key
from edgekd.recipes.landmarks.config import AugmentConfig

RECTANGLES = 2
_COLUMNS = (
    *("rotation", "scale", "stretch", "shift_x", "shift_y", "flip"),
    *("color", "gamma", "contrast", "brightness", "red", "green", "blue", "grey"),
    *("blur", "blur_kind", "blur_strength"),
    *("noise", "noise_kind", "noise_strength", "noise_at"),
    "occlusion",
    *(f"{what}{k}" for k in range(RECTANGLES) for what in ("on", "x", "y", "w", "h", "r", "g", "b", "rough")),
)
# Noise is cut from one pool at a random place: a field for each sample would cost more than all the rest.
POOL = 1 << 20

Draws = Mapping[str, NDArray[np.float32]]


def draws(seed: int, keys: Sequence[Key]) -> Draws:
    """Column name to (B,) uniform numbers in [0, 1), one row per (epoch, index)."""
    rows = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, index)))).random(
            len(_COLUMNS), dtype=np.float32
        )
        for epoch, index in keys
    ]
    return dict(zip(_COLUMNS, np.stack(rows, axis=1), strict=True))


def noise_pool(seed: int) -> torch.Tensor:
    """(2^20,) normal numbers that depend on the seed alone."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 0x6E6F6973))))
    return torch.from_numpy(generator.standard_normal(POOL, dtype=np.float32))


def _centred(u: NDArray) -> NDArray:
    return 2.0 * u - 1.0


def geometry(draw: Draws, boxes: NDArray, points: NDArray, config: AugmentConfig) -> tuple[NDArray, NDArray, NDArray]:
    """How crop coordinates map to pixels: ``px = matrix @ crop + centre``.

    Args:
        boxes: (B, 4) px.
        points: (B, N, 2) px; they matter where ``config.fit`` is ``points``: the crop then leaves the same room
            around the turned points that the box leaves around the points.

    Returns:
        matrix (B, 2, 2), centre (B, 2), flipped (B,) bool. Crop coordinates are in -0.5..0.5, already
        mirrored where flipped.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    centre = (boxes[:, :2] + boxes[:, 2:]).astype(np.float64) / 2
    angle = config.rotation * _centred(draw["rotation"])
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    if config.fit == "points":
        turned = (points - centre[:, None]) @ rotation  # seen from the crop: each row times the inverse
        low = turned.min(axis=1) - (points.min(axis=1) - boxes[:, :2])
        high = turned.max(axis=1) + (boxes[:, 2:] - points.max(axis=1))
        sides, centre = high - low, centre + np.einsum("bij,bj->bi", rotation, (low + high) / 2)
    centre += sides * config.shift * np.stack([_centred(draw["shift_x"]), _centred(draw["shift_y"])], axis=1)
    flipped = draw["flip"] < config.flip
    # What gets wider gets lower by the same share: the proportions vary, the area hardly does.
    stretch = 0.5 * config.scale * _centred(draw["stretch"])
    scale = 1.0 + config.scale * _centred(draw["scale"])
    along = np.stack([scale * (1 + stretch) * np.where(flipped, -1, 1), scale * (1 - stretch)], axis=1) * sides
    return rotation * along[:, None, :], centre, flipped


def sample_crops(images: torch.Tensor, matrix: NDArray, centre: NDArray, size: int) -> torch.Tensor:
    """Crops (B, 3, size, size) float32 0..1 out of images (B, S, S, 3) uint8, bilinear, the edge repeated.

    A crop reduced to less than half would alias, so images are stored about as large as crops need.
    """
    side_y, side_x = images.shape[1:3]
    ticks = (torch.arange(size, dtype=torch.float32) + 0.5) / size - 0.5
    # grid_sample measures from -1 to 1 between the picture's outer edges (align_corners=False)
    scale = torch.tensor([2.0 / side_x, 2.0 / side_y])
    m = torch.from_numpy(matrix.astype(np.float32)) * scale[:, None]
    c = torch.from_numpy(centre.astype(np.float32)) * scale - 1.0
    across = ticks[None, :, None] * m[:, None, :, 0]  # (B, size, 2)
    down = ticks[None, :, None] * m[:, None, :, 1] + c[:, None, :]
    grid = down[:, :, None, :] + across[:, None, :, :]
    values = images.permute(0, 3, 1, 2).float()
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False).mul_(1 / 255)


def crop_coordinates(points: NDArray, matrix: NDArray, centre: NDArray, flipped: NDArray, flip: NDArray) -> NDArray:
    """Points (B, N, 2) px to crop coordinates (B, 2N), relabelled where the crop is mirrored."""
    own = np.einsum("bij,bnj->bni", np.linalg.inv(matrix), points.astype(np.float64) - centre[:, None, :])
    own[flipped] = own[flipped][:, flip]
    return own.reshape(len(points), -1).astype(np.float32)


def change_pixels(x: torch.Tensor, draw: Draws, config: AugmentConfig, pool: torch.Tensor) -> torch.Tensor:
    """Occlusion, colour, blur, noise of crops (B, 3, s, s) in 0..1, in place; in a camera's order."""
    _occlude(x, draw, config.occlusion, pool)
    _recolor(x, draw, config.color)
    _blur(x, draw, config.blur)
    _add_noise(x, draw, config.noise, pool)
    return x.clamp_(0.0, 1.0)


def _chosen(draw: Draws, what: str, probability: float) -> list[int]:
    return [int(k) for k in np.flatnonzero(draw[what] < probability)]


def _cut(pool: torch.Tensor, at: float, shape: tuple[int, ...]) -> torch.Tensor:
    count = int(np.prod(shape))
    if count >= POOL:  # a crop larger than the pool: repeat it
        pool = pool.repeat(count // POOL + 2)
    first = int(at * (len(pool) - count))
    return pool[first : first + count].view(shape)


def _occlude(x: torch.Tensor, draw: Draws, probability: float, pool: torch.Tensor) -> None:
    size = x.shape[-1]
    for b in _chosen(draw, "occlusion", probability):
        for k in range(RECTANGLES):
            own = {what: float(draw[f"{what}{k}"][b]) for what in ("on", "x", "y", "w", "h", "r", "g", "b", "rough")}
            if k and own["on"] < 0.5:
                continue
            w, h = (max(1, round(size * (0.1 + 0.3 * own[side]))) for side in ("w", "h"))
            left, top = round(own["x"] * size - w / 2), round(own["y"] * size - h / 2)
            part = x[b, :, max(0, top) : top + h, max(0, left) : left + w]
            color = torch.tensor([own["r"], own["g"], own["b"]])[:, None, None]
            part.copy_(color + 0.3 * max(0.0, own["rough"] - 0.5) * _cut(pool, own["x"], tuple(part.shape)))


def _recolor(x: torch.Tensor, draw: Draws, probability: float) -> None:
    chosen = _chosen(draw, "color", probability)
    if not chosen:
        return

    def column(name: str, reach: float) -> torch.Tensor:
        return torch.from_numpy(_centred(draw[name][chosen]) * reach)[:, None, None, None]

    own = x[chosen].clamp_(1e-4, 1.0)
    grey = [k for k, b in enumerate(chosen) if draw["grey"][b] < 0.25]
    if grey:
        own[grey] = (own[grey] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    gains = torch.cat([column(name, 0.15) for name in ("red", "green", "blue")], dim=1)
    gains[grey] = gains[grey].mean(dim=1, keepdim=True)  # a grey picture stays grey
    own.log_().mul_(torch.exp(column("gamma", 0.7))).exp_()  # gamma 0.5..2.0; exp(log) is the faster pow
    middle = own.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + column("contrast", 0.4)
    own.sub_(middle).mul_(contrast * (1 + gains)).add_(middle + column("brightness", 0.08))
    x[chosen] = own.clamp_(0.0, 1.0)


def _blur(x: torch.Tensor, draw: Draws, probability: float) -> None:
    chosen = _chosen(draw, "blur", probability)
    if not chosen:
        return
    size = x.shape[-1]
    # Each blur is a matrix along rows and the same along columns, so that all of them are two products.
    along = torch.from_numpy(
        np.stack(
            [
                _defocus(size, (0.5 + 1.5 * strength) * size / 112)
                if kind < 0.5
                else _enlargement(size, max(8, round(size / (1.5 + 3.5 * strength))))
                for kind, strength in zip(draw["blur_kind"][chosen], draw["blur_strength"][chosen], strict=True)
            ]
        )
    )[:, None]
    x[chosen] = torch.matmul(torch.matmul(along, x[chosen]), along.transpose(2, 3))


def _defocus(size: int, sigma: float) -> NDArray[np.float32]:
    """(size, size): a Gaussian of ``sigma`` px, renormalised at the border."""
    ticks = np.arange(size, dtype=np.float32)
    weights = np.exp(-0.5 * ((ticks[:, None] - ticks) / np.float32(sigma)) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def _enlargement(size: int, small: int) -> NDArray[np.float32]:
    """(size, size): averaged down to ``small`` pixels and enlarged again, as a small picture looks."""
    edges = np.linspace(0, size, small + 1)
    pixels = np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    down = np.clip(covered, 0, None) * (small / size)
    at = np.clip((pixels + 0.5) * small / size - 0.5, 0, small - 1)
    up = np.clip(1 - np.abs(at[:, None] - np.arange(small)), 0, None)
    return (up @ down).astype(np.float32)


def _add_noise(x: torch.Tensor, draw: Draws, probability: float, pool: torch.Tensor) -> None:
    chosen = _chosen(draw, "noise", probability)
    grain = [b for b in chosen if draw["noise_kind"][b] < 0.6]
    salt = [b for b in chosen if draw["noise_kind"][b] >= 0.6]
    shape = tuple(x.shape[1:])
    if grain:
        fields = torch.stack([_cut(pool, float(draw["noise_at"][b]), shape) for b in grain])
        strength = torch.from_numpy(0.01 + 0.07 * draw["noise_strength"][grain])
        x[grain] = torch.addcmul(x[grain], fields, strength[:, None, None, None])
    if salt:
        # Pixels whose normal number is beyond the bound, about 0.5..10 % of them, turn white or black.
        fields = torch.stack([_cut(pool, float(draw["noise_at"][b]), (1, *shape[1:])) for b in salt])
        bound = torch.from_numpy(2.8 - 1.15 * draw["noise_strength"][salt])[:, None, None, None]
        x[salt] = torch.where(fields.abs() > bound, (fields > 0).float(), x[salt])
