"""COCO's average precision in numpy: equal to pycocotools' COCOeval on boxes, to the last digit that matters.

COCO's rules: per class and picture the 100 best boxes; each, best first, takes the free true box that it overlaps
most, if by the threshold; true boxes outside of an area range, and boxes without a partner outside of it, do not
count; precision is read at 101 recalls. Own code because it must run wherever a bundle does, and because the gates
look at one set of pictures hundreds of times with some left out: what a picture contributes is worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST = 100  # boxes of a class in a picture that are looked at
_LOW, _HIGH = (np.array(bounds) for bounds in zip(*AREAS.values(), strict=True))


@dataclass(frozen=True)
class Matches:
    """What one picture's boxes of one class come to. A area ranges, T thresholds, D boxes, best first.

    Attributes:
        scores: (D,).
        hit, ignored: (A, T, D) bool: has found its true box; does not count.
        truths: (A,) true boxes that count.
    """

    scores: Floats
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truths: NDArray[np.int64]


Evidence = dict[int, Matches]  # of one picture, by class


def overlaps(boxes: NDArray, others: NDArray) -> Floats:
    """(n, m) intersection over union of (n, 4) and (m, 4) boxes x0, y0, x1, y1."""
    a, b = np.asarray(boxes, np.float64)[:, None], np.asarray(others, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inter = np.prod(np.maximum(sides, 0.0), axis=2)
    union = np.prod(a[..., 2:] - a[..., :2], axis=2) + np.prod(b[..., 2:] - b[..., :2], axis=2) - inter
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(inter > 0, inter / union, 0.0)


def evidence(boxes: NDArray, scores: NDArray, truth: NDArray) -> Evidence:
    """Of one picture.

    Args:
        boxes: (n, 5) class, x0, y0, x1, y1.
        scores: (n,).
        truth: (m, 5), as ``boxes``; rows of a negative class hold no box.
    """
    boxes, truth = np.asarray(boxes, np.float64), np.asarray(truth, np.float64)
    truth = truth[truth[:, 0] >= 0]
    found: Evidence = {}
    for kind in {*boxes[:, 0].tolist(), *truth[:, 0].tolist()}:
        own = np.flatnonzero(boxes[:, 0] == kind)
        own = own[np.argsort(-np.asarray(scores, np.float64)[own], kind="stable")[:MOST]]
        found[int(kind)] = _matches(boxes[own, 1:], np.asarray(scores, np.float64)[own], truth[truth[:, 0] == kind, 1:])
    return found


def _outside(boxes: Floats) -> NDArray[np.bool_]:
    """(A, n): which boxes' areas are outside of each range."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return (area[None] < _LOW[:, None]) | (area[None] > _HIGH[:, None])


def _matches(boxes: Floats, scores: Floats, truth: Floats) -> Matches:
    ranges, levels = len(AREAS), len(THRESHOLDS)
    void = _outside(truth)  # (A, G)
    hit = np.zeros((ranges, levels, len(boxes)), bool)
    ignored = np.broadcast_to(_outside(boxes)[:, None], hit.shape).copy()
    if len(truth) and len(boxes):
        iou = overlaps(boxes, truth)
        free = np.ones((ranges, levels, len(truth)), bool)
        counts = ~void[:, None]  # (A, 1, G)
        areas, steps = np.ogrid[:ranges, :levels]
        last = len(truth) - 1
        for k in np.flatnonzero(iou.max(axis=1) >= THRESHOLDS[0]):
            fits = free & (iou[k] >= THRESHOLDS[:, None])
            # True boxes that count come first; of equals the later one is taken, as COCOeval does.
            worth = np.where(fits, iou[k] + 2.0 * counts, 0.0)
            taken = last - np.argmax(worth[:, :, ::-1], axis=2)
            some = worth[areas, steps, taken] > 0
            free[areas, steps, taken] &= ~some
            hit[:, :, k] = some
            ignored[:, :, k] = np.where(some, void[areas, taken], ignored[:, :, k])
    return Matches(scores, hit, ignored, (~void).sum(axis=1))


def average_precision(pictures: Sequence[Evidence]) -> dict[str, float]:
    """``AP``, ``AP50``, ``AP75``, ``AP_small``, ``AP_medium``, ``AP_large``, 0..1, mean over classes.

    Classes that no picture has are left out, as in COCOeval; a figure without any is no number.
    """
    kinds = sorted({kind for picture in pictures for kind in picture})
    curves = [_class_precision([picture[kind] for picture in pictures if kind in picture]) for kind in kinds]
    by_class = np.stack(curves) if curves else np.full((1, len(AREAS), len(THRESHOLDS)), np.nan)
    there = ~np.isnan(by_class).all(axis=(1, 2))
    by_class = by_class[there] if there.any() else by_class[:1]

    def mean(values: Floats) -> float:
        known = values[~np.isnan(values)]
        return float(known.mean()) if known.size else float("nan")

    names = {f"AP_{name}": mean(by_class[:, k]) for k, name in enumerate(AREAS) if name != "all"}
    at = {round(100 * t): k for k, t in enumerate(THRESHOLDS)}
    return {
        "AP": mean(by_class[:, 0]),
        "AP50": mean(by_class[:, 0, at[50]]),
        "AP75": mean(by_class[:, 0, at[75]]),
        **names,
    }


def _class_precision(matches: Sequence[Matches]) -> Floats:
    """(A, T) mean precision over the recalls; no number where no true box counts."""
    scores = np.concatenate([m.scores for m in matches])
    order = np.argsort(-scores, kind="stable")
    hit = np.concatenate([m.hit for m in matches], axis=2)[:, :, order]
    counted = ~np.concatenate([m.ignored for m in matches], axis=2)[:, :, order]
    truths = np.sum([m.truths for m in matches], axis=0)
    good = np.cumsum(hit & counted, axis=2, dtype=np.float64)
    bad = np.cumsum(~hit & counted, axis=2, dtype=np.float64)
    result = np.full(hit.shape[:2], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = good / (good + bad + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, :, ::-1], axis=2)[:, :, ::-1]
    for a in np.flatnonzero(truths):
        for t in range(len(THRESHOLDS)):
            at = np.searchsorted(good[a, t] / truths[a], RECALLS, side="left")
            result[a, t] = np.append(precision[a, t], 0.0)[at].mean()
    return result
