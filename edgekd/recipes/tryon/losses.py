"""What the four stages minimise (DM-VTON, B4; the terms are those of PF-AFN and FS-VTON).

Each function gives weighted terms by name whose sum is its loss. ``n`` counts levels from 0, the coarsest; all
pictures are (B, C, H, W), pictures of a person or garment in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch.nn import functional as F

from edgekd.recipes.tryon.flow import LEVELS, Flows
from edgekd.recipes.tryon.models import Rendering

Terms = dict[str, torch.Tensor]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of two batches of pictures, a scalar
Warper = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

EPSILON = 1e-3  # below it a second difference of the flow costs little
FLOWS_FROM = 2  # the first level whose flow the student is to share with its teacher


def warp_terms(
    flows: Flows,
    clothes: torch.Tensor,
    edge: torch.Tensor,
    worn_clothes: torch.Tensor,
    worn: torch.Tensor,
    perceptual: Distance | None,
    warps: tuple[Warper, Warper],
) -> Terms:
    """How far the warped garment is from the one that is worn, at every level, and how uneven the flow is.

    Args:
        clothes, edge: the garment, and its mask (B, 1, H, W).
        worn_clothes, worn: the person's photo where the garment is worn and 0 elsewhere, and that mask.
        perceptual: left out where there is none yet.
        warps: of pictures and of masks.
    """
    terms: dict[str, list[torch.Tensor]] = {}

    def add(name: str, value: torch.Tensor) -> None:
        terms.setdefault(name, []).append(value)

    of_picture, of_mask = warps
    for n, grid in enumerate(flows.grids):
        warped, target = of_picture(_reduced(clothes, n), grid), _reduced(worn_clothes, n)
        add("l1", (n + 1) * F.l1_loss(warped, target))
        if perceptual is not None:
            add("perceptual", (n + 1) * 0.2 * perceptual(warped, target))
        add("edge", (n + 1) * 2 * F.l1_loss(of_mask(_reduced(edge, n), grid), _reduced(worn, n)))
        add("curvature", (n + 1) * 6 * curvature(grid))
    for offset in flows.offsets:
        add("roughness", 0.01 * total_variation(offset))
    return {name: torch.stack(values).sum() for name, values in terms.items()}


def true_warp_term(flows: Flows, truth: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """How far the flow of every level is from the true one where the garment is ``seen`` (B, 1, H, W); no paper's term.

    Args:
        truth: (B, 2, H, W) the true sampling grid.
    """
    levels = []
    for n, grid in enumerate(flows.grids):
        weight = _reduced(seen, n)
        # Averaged over seen places only: beside the garment the truth says nothing.
        wanted = _reduced(truth * seen, n) / weight.clamp(min=1e-6)
        apart = torch.linalg.vector_norm(grid - wanted, dim=1, keepdim=True)
        levels.append((n + 1) * (apart * weight).sum() / weight.sum().clamp(min=1))
    return torch.stack(levels).sum()


def curvature(grid: torch.Tensor) -> torch.Tensor:
    """Charbonnier mean of the second differences of x and of y, summed; along rows, columns and both diagonals.

    0.0 up to epsilon where the flow is affine: a garment may be moved, turned, scaled and sheared for nothing.
    """
    middle = 2 * grid[:, :, 1:-1, 1:-1]
    rows, columns = slice(1, -1), slice(1, -1)
    low, high = slice(None, -2), slice(2, None)
    pairs = (
        ((rows, low), (rows, high)),
        ((low, columns), (high, columns)),
        ((low, low), (high, high)),
        ((low, high), (high, low)),
    )
    found = [grid[:, :, a[0], a[1]] + grid[:, :, b[0], b[1]] - middle for a, b in pairs]
    return 2 * (torch.stack(found).square() + EPSILON**2).pow(0.45).mean()


def total_variation(offset: torch.Tensor) -> torch.Tensor:
    """Mean absolute step from pixel to pixel, down plus across."""
    down = (offset[:, :, 1:] - offset[:, :, :-1]).abs().mean()
    return down + (offset[:, :, :, 1:] - offset[:, :, :, :-1]).abs().mean()


def better_teacher(teacher: torch.Tensor, student: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The adjustable factor, (B,): 1 where the teacher's warped garment is nearer to the worn one, else 0."""
    errors = [(warped.detach() - truth).abs().mean((1, 2, 3)) for warped in (teacher, student)]
    return (errors[0] < errors[1]).to(truth.dtype)


def distillation_terms(student: Flows, teacher: Flows, factor: torch.Tensor) -> Terms:
    """Maps of both pyramids and the finer flows, each sample times its ``factor`` (B,).

    Maps of another number of channels are compared after the wider ones went through a fixed projection.
    """
    share = factor / factor.sum().clamp(min=1)
    features, flows = [], []
    for own, theirs in ((student.person, teacher.person), (student.clothes, teacher.clothes)):
        for n, maps in enumerate(own):  # a student without the finest levels has fewer
            a, b = _comparable(maps.float(), theirs[n].detach().float())
            features.append((LEVELS - n) * 0.04 * ((a - b).square().mean((1, 2, 3)) * share).sum())
    for n in range(FLOWS_FROM, LEVELS):
        apart = torch.linalg.vector_norm(student.grids[n] - teacher.grids[n].detach(), dim=1)
        flows.append((n + 1) * (apart.mean((1, 2)) * share).sum())
    return {"features": torch.stack(features).sum(), "flows": torch.stack(flows).sum()}


def rendering_terms(
    rendering: Rendering,
    photo: torch.Tensor,
    perceptual: Distance,
    skin: torch.Tensor | None = None,
    late: bool = False,
) -> Terms:
    """How far the try-on, and the picture below the garment, are from the photo.

    Args:
        skin: (B, 1, H, W) what the other garment covered and this one does not, for a student.
        late: the learning rate decays: skin counts twice.
    """
    terms = {
        "tryon": 5 * F.l1_loss(rendering.tryon, photo),
        "tryon_perceptual": perceptual(rendering.tryon, photo),
        "rendered": 5 * F.l1_loss(rendering.rendered, photo),
        "rendered_perceptual": perceptual(rendering.rendered, photo),
        "mask": (1 - rendering.mask).abs().mean(),
    }
    if skin is not None:
        weight, shown, truth = (2 if late else 1), rendering.rendered * skin, photo * skin
        terms["skin"] = weight * 30 * F.l1_loss(shown, truth)
        terms["skin_perceptual"] = weight * 2 * perceptual(shown, truth)
    return terms


def scaled(terms: Terms, weight: float) -> Terms:
    return {name: weight * value for name, value in terms.items()}


def _reduced(pictures: torch.Tensor, n: int) -> torch.Tensor:
    """To the size of level ``n``'s grid."""
    if n == LEVELS - 1:
        return pictures
    return F.interpolate(pictures, scale_factor=0.5 ** (LEVELS - 1 - n), mode="bilinear", align_corners=False)


@lru_cache
def _projection(wide: int, narrow: int) -> torch.Tensor:
    """(narrow, wide, 1, 1) orthonormal rows, the same in every run: distances shrink evenly (Johnson-Lindenstrauss)."""
    normal = torch.randn(wide, narrow, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(normal).Q.T.float()[:, :, None, None]


def _comparable(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with the channels of the narrower."""
    if a.shape[1] == b.shape[1]:
        return a, b
    if a.shape[1] < b.shape[1]:
        return a, F.conv2d(b, _projection(b.shape[1], a.shape[1]).to(b.device))
    return F.conv2d(a, _projection(a.shape[1], b.shape[1]).to(a.device)), b
