"""SimOTA (YOLOX, arXiv 2107.08430): which places are to say which box, decided by what they say now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from edgekd.recipes.streaming.head import Sizes, boxes, places

RADIUS = 2.5  # a box's centre region reaches so many strides
BEST = 10  # a box gets as many places as the IoUs of its best ten sum up to
OVERLAP_WEIGHT = 3.0
FAR = 1e5  # added to the cost of a place that is not in the box and in its centre region
TINY = 1e-8


@dataclass(frozen=True)
class Assignment:
    """The places of a batch that are to say a box, ``positive`` (B, A); the rest is about these P, in order.

    ``box`` (P,) is the box's row among its picture's, ``overlap`` (P,) the IoU with it.
    """

    positive: torch.Tensor
    box: torch.Tensor
    overlap: torch.Tensor

    @property
    def count(self) -> int:
        return len(self.box)

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, M, ...) by box -> (P, ...) by positive place."""
        return rows[self.positive.nonzero()[:, 0], self.box]


@torch.no_grad()
def assign(raw: torch.Tensor, sizes: Sizes, truth: torch.Tensor) -> Assignment:
    """Places for boxes.

    Args:
        raw: (B, A, 5 + classes) of the head, fp32.
        truth: (B, M, 5) class, cx, cy, w, h in px; class -1: no box.
    """
    grid, strides = places(sizes, raw)
    centres, said = (grid + 0.5) * strides, boxes(raw, sizes)
    positive = torch.zeros(raw.shape[:2], dtype=torch.bool, device=raw.device)
    chosen, overlaps = [], []
    for index, rows in enumerate(truth):
        real = (rows[:, 0] >= 0).nonzero()[:, 0]
        if not len(real):
            continue
        found, row, overlap = _one_picture(raw[index, :, 4:], said[index], centres, strides, rows[real])
        positive[index, found] = True
        chosen.append(real[row])
        overlaps.append(overlap)
    nothing = raw.new_zeros(0)
    return Assignment(
        positive,
        torch.cat(chosen) if chosen else nothing.long(),
        torch.cat(overlaps) if overlaps else nothing,
    )


def _one_picture(
    logits: torch.Tensor, said: torch.Tensor, centres: torch.Tensor, strides: torch.Tensor, truth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(P,) places, rising, with the row of ``truth`` (M, 5) that each gets and the IoU with it."""
    distance = (centres[:, None] - truth[None, :, 1:3]).abs()  # (A, M, 2)
    inside = (distance < truth[None, :, 3:5] / 2).all(-1)
    central = (distance < RADIUS * strides[:, None]).all(-1)
    candidates = (inside | central).any(1).nonzero()[:, 0]
    far = ~(inside & central)[candidates]
    overlap = pairwise_iou(said[candidates], truth[:, 1:])  # (K, M)
    confidence = (logits[candidates, 1:].sigmoid() * logits[candidates, :1].sigmoid()).sqrt()
    class_cost = _class_cost(confidence, truth[:, 0].long())
    cost = class_cost - OVERLAP_WEIGHT * (overlap + TINY).log() + FAR * far
    wanted = overlap.topk(min(BEST, len(candidates)), dim=0).values.sum(0).int().clamp(min=1)
    matches = torch.zeros_like(overlap, dtype=torch.bool)
    for column, count in enumerate(wanted.tolist()):
        matches[cost[:, column].topk(min(count, len(candidates)), largest=False).indices, column] = True
    several = matches.sum(1) > 1
    matches[several] = F.one_hot(cost[several].argmin(1), len(truth)).bool()
    taken = matches.any(1).nonzero()[:, 0]
    row = matches[taken].float().argmax(1)
    return candidates[taken], row, overlap[taken, row]


def _class_cost(confidence: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of (K, classes) with each box's own class alone: (K, M)."""
    right, wrong = (p.log().clamp(min=-100) for p in (confidence, 1 - confidence))
    return -(right - wrong)[:, classes] - wrong.sum(1, keepdim=True)


def pairwise_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(..., N, 4) and (..., M, 4) of cx, cy, w, h -> (..., N, M)."""
    return iou(a[..., :, None, :], b[..., None, :, :])


def iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Of boxes cx, cy, w, h, one by one: (..., 4) and (..., 4) -> (...)."""
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    common = (high - low).clamp(min=0).prod(-1)
    return common / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - common + 1e-16)
