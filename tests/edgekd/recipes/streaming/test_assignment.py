from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from edgekd.recipes.streaming.assignment import assign, iou
from edgekd.recipes.streaming.head import boxes, places

SIZES = [(6, 8), (3, 4), (2, 2)]
PLACES = sum(rows * columns for rows, columns in SIZES)


def head_output(seed: int, pictures: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(pictures, PLACES, 13, generator=generator)
    raw[..., 2:4] += 0.7  # boxes of about two strides
    return raw


def one_by_one(raw: torch.Tensor, truth: list[list[float]]) -> dict[int, int]:
    """SimOTA as YOLOX describes it (section 2.1 and the released assignment), place by place: place -> box."""
    grid, strides = places(SIZES, raw)
    said = boxes(raw[None], SIZES)[0]
    cost: list[dict[int, float]] = [{} for _ in truth]
    overlaps: list[dict[int, float]] = [{} for _ in truth]
    for place in range(PLACES):
        x, y = ((grid[place] + 0.5) * strides[place]).tolist()
        stride = float(strides[place])
        inside = [abs(x - b[1]) < b[3] / 2 and abs(y - b[2]) < b[4] / 2 for b in truth]
        central = [abs(x - b[1]) < 2.5 * stride and abs(y - b[2]) < 2.5 * stride for b in truth]
        if not any(inside) and not any(central):
            continue
        confidence = (raw[place, 4].sigmoid() * raw[place, 5:].sigmoid()).sqrt()
        for k, b in enumerate(truth):
            overlap = float(iou(said[place], torch.tensor(b[1:])))
            one_hot = F.one_hot(torch.tensor(int(b[0])), 8).float()
            class_cost = float(F.binary_cross_entropy(confidence, one_hot, reduction="sum"))
            far = 0.0 if inside[k] and central[k] else 1e5
            overlaps[k][place] = overlap
            cost[k][place] = class_cost - 3 * math.log(overlap + 1e-8) + far
    claimed: dict[int, list[int]] = {}
    for k in range(len(truth)):
        wanted = max(1, int(sum(sorted(overlaps[k].values())[-10:])))
        for place in sorted(cost[k], key=cost[k].__getitem__)[:wanted]:
            claimed.setdefault(place, []).append(k)
    return {
        place: min(range(len(truth)), key=lambda k: cost[k][place]) if len(ks) > 1 else ks[0]
        for place, ks in claimed.items()
    }


TRUTH = [[2, 30.0, 20.0, 30.0, 24.0], [5, 33.0, 22.0, 28.0, 30.0], [0, 5.0, 44.0, 4.0, 6.0]]


@pytest.mark.parametrize("seed", range(6))
def test_places_and_boxes_are_those_of_the_definition(seed):
    raw = head_output(seed)
    want = one_by_one(raw[0], TRUTH)
    got = assign(raw, SIZES, torch.tensor([TRUTH]))
    found = got.positive[0].nonzero()[:, 0].tolist()
    assert dict(zip(found, got.box.tolist(), strict=True)) == want
    assert len(set(want.values())) >= 2
    said = boxes(raw, SIZES)[0, found]
    assert torch.allclose(got.overlap, iou(said, torch.tensor(TRUTH)[got.box, 1:]))


def test_a_box_that_is_said_well_at_many_places_gets_many():
    raw = torch.full((1, PLACES, 13), -3.0)
    grid, strides = places(SIZES, raw)
    box = torch.tensor([32.0, 24.0, 40.0, 32.0])
    raw[0, :, :2] = box[:2] / strides - grid
    raw[0, :, 2:4] = (box[2:] / strides).log()  # every place says the very box
    assert assign(raw, SIZES, torch.tensor([[[1.0, *box.tolist()]]])).count == 10


def test_rows_that_are_no_box_get_nothing_and_boxes_keep_their_rows():
    raw = head_output(0, pictures=3)
    none = [-1.0, 0.0, 0.0, 0.0, 0.0]
    truth = torch.tensor([[none, none], [none, [1, 20.0, 20.0, 16.0, 16.0]], [none, none]])
    got = assign(raw, SIZES, truth)
    assert got.count > 0
    assert set(got.box.tolist()) == {1}
    assert not got.positive[[0, 2]].any()
    assert got.of(truth)[:, 0].tolist() == [1.0] * got.count


def test_a_picture_without_boxes_has_no_positive_place():
    got = assign(head_output(0), SIZES, torch.full((1, 4, 5), -1.0))
    assert got.count == 0
    assert got.of(torch.zeros(1, 4, 5)).shape == (0, 5)
