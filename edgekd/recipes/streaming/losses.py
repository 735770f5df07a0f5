"""What a detector learns: YOLOX's terms, weighted by how objects move, and a still teacher's word on the next frame.

**Trend-aware loss** (StreamYOLO, CVPR 2022). An object that hardly moves is easy to forecast. Its box now and its box
in the next frame overlap much, so its weight is 1 / IoU^gamma of the two; a new object, which no box now overlaps,
counts as if the IoU were ``trend_new``. Weights are normalised so that the sum of the loss stays what it was.

**Asymmetric distillation** (DAMO-StreamNet, IJCAI 2023). The teacher sees the frame that the student forecasts. Raw
logits of all places are drawn together by their squared distance, without sigmoid or temperature, and the boxes of the
student's positive places by 1 - IoU², weighted by the same trend.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from edgekd.recipes.streaming.assignment import TINY, assign, iou, pairwise_iou
from edgekd.recipes.streaming.config import LossConfig
from edgekd.recipes.streaming.head import Sizes, boxes, places


def trend_weights(after: torch.Tensor, now: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """(B, M) weight of each box ``after`` (B, M, 5), by its largest IoU with a box ``now`` (B, K, 5); rows of class -1
    are none. In a picture without boxes now every weight is 1.
    """
    real = now[..., 0] >= 0
    best = pairwise_iou(after[..., 1:], now[..., 1:]).masked_fill(~real[:, None], 0.0).amax(-1)
    best = torch.where(best < config.trend_seen, config.trend_new, best)
    weights = 1 / (best**config.trend_gamma + TINY)
    return torch.where(real.any(-1, keepdim=True), weights, 1.0)


def detection_terms(
    raw: torch.Tensor,
    sizes: Sizes,
    truth: torch.Tensor,
    config: LossConfig,
    now: torch.Tensor | None = None,
    teacher: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Weighted terms whose sum is the loss, each per positive place, but for the teacher's logits, which are means.

    Args:
        raw: (B, A, 5 + classes) of the head.
        truth: (B, M, 5) class, cx, cy, w, h in px of what is to be said; class -1: no box.
        now: (B, K, 5) boxes of the frame that is seen, where ``truth`` is of the next; None: no trend.
        teacher: (B, A, 5 + classes), boxes in px and raw logits; None: no teacher.
    """
    raw = raw.float()
    matched = assign(raw, sizes, truth)
    positive, count = matched.positive, max(matched.count, 1)
    targets, said = matched.of(truth), boxes(raw, sizes)[positive]
    ones = raw.new_ones(truth.shape[:2])
    weights = matched.of(ones if now is None else trend_weights(truth, now, config))

    classes = F.one_hot(targets[:, 0].long(), raw.shape[-1] - 5) * matched.overlap[:, None]
    terms = {
        "box": config.box * _weighted(1 - iou(said, targets[:, 1:]).square(), weights) / count,
        "object": F.binary_cross_entropy_with_logits(raw[..., 4], positive.float(), reduction="sum") / count,
        "class": F.binary_cross_entropy_with_logits(raw[..., 5:][positive], classes, reduction="sum") / count,
        "l1": _weighted((raw[..., :4][positive] - _offsets(targets, sizes, positive)).abs().sum(-1), weights) / count,
    }
    if teacher is not None:
        teacher = teacher.float()
        apart = 1 - iou(said, teacher[..., :4][positive]).square()
        terms |= {
            "kd_class": config.kd_class * F.mse_loss(raw[..., 5:], teacher[..., 5:]),
            "kd_object": config.kd_object * F.mse_loss(raw[..., 4], teacher[..., 4]),
            "kd_box": config.kd_box * _weighted(apart, weights) / count,
        }
    return terms


def _weighted(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The sum of (P,) losses with their weights, scaled so that it is the sum without them."""
    with torch.no_grad():
        scale = losses.sum() / (weights * losses).sum().clamp(min=TINY)
    return (weights * scale * losses).sum()


def _offsets(targets: torch.Tensor, sizes: Sizes, positive: torch.Tensor) -> torch.Tensor:
    """(P, 4): what a head that is right says raw, for the boxes (P, 5) of its positive places."""
    grid, strides = (values.expand(len(positive), -1, -1)[positive] for values in places(sizes, targets))
    return torch.cat((targets[:, 1:3] / strides - grid, (targets[:, 3:5] / strides + TINY).log()), dim=-1)
