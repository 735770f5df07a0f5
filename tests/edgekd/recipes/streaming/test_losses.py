from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from edgekd.recipes.streaming.assignment import assign, iou
from edgekd.recipes.streaming.config import LossConfig
from edgekd.recipes.streaming.head import boxes, places
from edgekd.recipes.streaming.losses import detection_terms, trend_weights

SIZES = [(6, 8), (3, 4), (2, 2)]
PLACES = sum(rows * columns for rows, columns in SIZES)
NONE = [-1.0, 0.0, 0.0, 0.0, 0.0]
AFTER = torch.tensor([[[2, 30.0, 20.0, 30.0, 24.0], [0, 10.0, 40.0, 8.0, 10.0], NONE]])
NOW = torch.tensor([[[2, 27.0, 20.0, 30.0, 24.0], NONE]])  # the second one is new


def head_output(seed: int = 0) -> torch.Tensor:
    raw = torch.randn(1, PLACES, 13, generator=torch.Generator().manual_seed(seed))
    raw[..., 2:4] += 0.7
    return raw


def saying(truth: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """A head that says the boxes of ``truth`` at the places that ``wanted`` gives them, and nothing elsewhere."""
    grid, strides = places(SIZES, truth)
    matched = assign(wanted, SIZES, truth)
    raw = torch.full_like(wanted, -30.0)
    raw[..., :4] = -9.0  # tiny boxes that overlap nothing
    found, rows = matched.positive[0].nonzero()[:, 0], matched.of(truth)
    raw[0, found, :2] = rows[:, 1:3] / strides[found] - grid[found]
    raw[0, found, 2:4] = (rows[:, 3:] / strides[found]).log()
    raw[0, found, 4] = 30
    raw[0, found, 5 + rows[:, 0].long()] = 30
    return raw


def test_what_moves_weighs_more_and_what_is_new_as_configured():
    overlap = 27 / 33  # shifted by a tenth of its width
    weights = trend_weights(AFTER, NOW, LossConfig())
    assert weights[0, :2].tolist() == pytest.approx([1 / overlap, 1 / 1.5])
    squared = trend_weights(AFTER, NOW, LossConfig(trend_gamma=2, trend_new=1.6))
    assert squared[0, :2].tolist() == pytest.approx([1 / overlap**2, 1 / 1.6**2])
    assert trend_weights(AFTER, NOW, LossConfig(trend_gamma=0)).tolist() == [[pytest.approx(1.0)] * 3]
    assert trend_weights(AFTER, torch.tensor([[NONE]]), LossConfig()).tolist() == [[1.0, 1.0, 1.0]]


def test_a_head_that_says_the_truth_and_nothing_else_has_no_loss():
    terms = detection_terms(saying(AFTER, head_output()), SIZES, AFTER, LossConfig(), NOW)
    assert set(terms) == {"box", "object", "class", "l1"}
    assert sum(terms.values()).item() == pytest.approx(0, abs=1e-4)


def test_terms_are_the_equations():
    raw, config = head_output(), LossConfig(box=5.0)
    terms = detection_terms(raw, SIZES, AFTER, config, NOW)
    matched = assign(raw, SIZES, AFTER)
    found, rows, count = matched.positive[0].nonzero()[:, 0], matched.of(AFTER), matched.count
    weights = trend_weights(AFTER, NOW, config)[0, matched.box]
    assert len(weights.unique()) == 2
    losses = 1 - iou(boxes(raw, SIZES)[0, found], rows[:, 1:]) ** 2
    # The weights only shift what matters: the sum of the term is as it was without them (StreamYOLO, section 3.3).
    assert terms["box"].item() == pytest.approx(5 * losses.sum().item() / count, rel=1e-5)
    target = torch.zeros(count, 8)
    target[range(count), rows[:, 0].long()] = matched.overlap
    cls = F.binary_cross_entropy(raw[0, found, 5:].sigmoid(), target, reduction="sum") / count
    assert terms["class"].item() == pytest.approx(cls.item(), rel=1e-4)
    every = F.binary_cross_entropy(raw[0, :, 4].sigmoid(), matched.positive[0].float(), reduction="sum") / count
    assert terms["object"].item() == pytest.approx(every.item(), rel=1e-4)
    grid, strides = places(SIZES, raw)
    wanted = torch.cat((rows[:, 1:3] / strides[found] - grid[found], (rows[:, 3:] / strides[found]).log()), 1)
    l1 = (raw[0, found, :4] - wanted).abs().sum() / count
    assert terms["l1"].item() == pytest.approx(l1.item(), rel=1e-4)


def test_the_trend_moves_the_gradient_to_what_moves():
    def pulls(now):
        raw = head_output().requires_grad_()
        terms = detection_terms(raw, SIZES, AFTER, LossConfig(), now)
        (terms["box"] + terms["l1"]).backward()
        matched = assign(raw.detach(), SIZES, AFTER)
        return [float(raw.grad[0, matched.positive[0]][matched.box == k].abs().sum()) for k in (0, 1)]

    (moving, new), (moving_alike, new_alike) = pulls(NOW), pulls(None)
    assert moving / moving_alike > 1.05 * new / new_alike


def test_the_teachers_terms_are_the_squared_distance_of_logits_and_the_boxes_of_the_students_places():
    raw, config = head_output(), LossConfig(kd_class=0.2, kd_object=0.4, kd_box=0.1)
    teacher = torch.cat((boxes(head_output(1), SIZES), head_output(1)[..., 4:]), -1)
    terms = detection_terms(raw, SIZES, AFTER, config, NOW, teacher)
    matched = assign(raw, SIZES, AFTER)
    apart = 1 - iou(boxes(raw, SIZES), teacher[..., :4])[matched.positive] ** 2
    assert terms["kd_class"].item() == pytest.approx(0.2 * (raw - teacher)[..., 5:].square().mean().item())
    assert terms["kd_object"].item() == pytest.approx(0.4 * (raw - teacher)[..., 4].square().mean().item())
    assert terms["kd_box"].item() == pytest.approx(0.1 * apart.sum().item() / matched.count, rel=1e-5)


def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn_from_it():
    raw = head_output()
    teacher = torch.cat((boxes(raw, SIZES), raw[..., 4:]), -1)
    terms = detection_terms(raw, SIZES, AFTER, LossConfig(), NOW, teacher)
    assert [terms[name].item() for name in ("kd_class", "kd_object", "kd_box")] == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_batch_without_a_single_box_still_learns_that_nothing_is_there():
    raw = head_output().requires_grad_()
    terms = detection_terms(raw, SIZES, torch.tensor([[NONE]]), LossConfig(), torch.tensor([[NONE]]))
    assert {name: value.item() for name, value in terms.items() if name != "object"} == {"box": 0, "class": 0, "l1": 0}
    sum(terms.values()).backward()
    assert raw.grad[..., 4].abs().min() > 0
    assert raw.grad.isfinite().all()


def test_losses_are_taken_in_full_precision():
    raw = head_output().bfloat16()
    assert all(value.dtype == torch.float32 for value in detection_terms(raw, SIZES, AFTER, LossConfig(), NOW).values())
