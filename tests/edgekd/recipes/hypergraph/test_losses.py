"""Figures of section B2 of the notes on LightHGNN, and what the authors' code leaves undefined."""

import math

import pytest
import torch
from torch.nn import functional as F

from edgekd.nn.sparse import SparseRows
from edgekd.recipes.hypergraph.losses import hyperedge_loss, reliability, vertex_entropy, vertex_loss


def members(*edges, vertices):
    offsets = [0]
    for edge in edges:
        offsets.append(offsets[-1] + len(edge))
    flat = [v for edge in edges for v in edge]
    return SparseRows(torch.tensor(offsets), torch.tensor(flat, dtype=torch.int64), None, vertices)


def optimum(teacher, form):
    """The student's probabilities at rest, by gradient descent on its logits."""
    logits = torch.zeros_like(teacher, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        vertex_loss(logits, teacher, form).backward()
        optimizer.step()
    return F.softmax(logits.detach(), -1)


@pytest.mark.parametrize(("classes", "figure"), [(3, 0.576), (4, 0.475), (7, 0.312), (8, 0.280)])
def test_a_certain_teacher_becomes_this_target_in_the_released_form(classes, figure):
    certain = torch.full((1, classes), -40.0)
    certain[0, 0] = 40.0
    at_rest = optimum(certain, "released")
    assert at_rest.max().item() == pytest.approx(figure, abs=1e-3)
    assert at_rest.argmax() == 0
    assert at_rest.max().item() == pytest.approx(math.e / (math.e + classes - 1), abs=2e-3)  # softmax of a one-hot


def test_the_true_form_comes_to_rest_at_the_teacher_and_the_released_one_at_its_second_softmax():
    teacher = torch.tensor([[1.0, 0.2, -0.5]])
    torch.testing.assert_close(optimum(teacher, "kl"), F.softmax(teacher, -1), atol=2e-3, rtol=0)
    twice = F.softmax(F.softmax(teacher, -1), -1)
    torch.testing.assert_close(optimum(teacher, "released"), twice, atol=2e-3, rtol=0)


def test_the_released_gradient_is_the_second_softmaxs_cross_entropy_times_the_sum_of_exponentials():
    teacher = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.5, 0.1]])
    student = torch.tensor([[0.1, 0.4, -0.3], [1.0, 0.0, 0.0]], requires_grad=True)
    vertex_loss(student, teacher, "released").backward()
    weights = F.softmax(teacher, -1).exp()
    target, total = weights / weights.sum(-1, keepdim=True), weights.sum(-1, keepdim=True)
    torch.testing.assert_close(student.grad, (total * (F.softmax(student, -1) - target) / 2).detach())


def test_the_released_value_by_hand_is_not_zero_for_equal_distributions():
    z = torch.zeros(1, 2)  # p = 1/2: 2 · e^0.5 · (0.5 - ln 0.5)
    assert vertex_loss(z, z, "released").item() == pytest.approx(2 * math.exp(0.5) * (0.5 + math.log(2)), rel=1e-6)
    assert vertex_loss(z, z, "kl").item() == pytest.approx(0, abs=1e-7)


def test_hyperedges_compare_means_of_probabilities_over_those_that_were_drawn():
    student, teacher = (torch.randn(4, 3, generator=torch.Generator().manual_seed(k)) for k in range(2))
    edges = members([0, 1], [1, 2, 3], [3], vertices=4)
    q_s, q_t = (F.softmax(z, -1)[[1, 2, 3]].mean(0) for z in (student, teacher))
    chosen = torch.tensor([False, True, False])
    assert hyperedge_loss(student, teacher, edges, chosen, "kl").item() == pytest.approx(
        (q_t * (q_t / q_s).log()).sum().item(), rel=1e-5
    )
    assert hyperedge_loss(student, teacher, edges, chosen, "released", 0.5).item() == pytest.approx(
        ((q_t / 0.5).exp() * (q_t / 0.5 - (q_s / 0.5).log())).sum().item(), rel=1e-5
    )


@pytest.mark.parametrize("form", ["kl", "released"])
def test_no_hyperedge_drawn_or_none_at_all_is_a_loss_of_zero_with_a_gradient(form):
    student = torch.randn(3, 2, requires_grad=True)
    for edges in (members([0, 1], [2], vertices=3), members(vertices=3)):
        loss = hyperedge_loss(student, torch.randn(3, 2), edges, torch.zeros(len(edges)).bool(), form)
        loss.backward()
        assert loss.item() == 0
        assert not student.grad.any()


@pytest.mark.parametrize("form", ["kl", "released"])
def test_one_hyperedge_is_enough_and_a_teacher_of_certainty_makes_no_nan(form):
    student = torch.zeros(2, 3, requires_grad=True)
    certain = torch.tensor([[500.0, 0.0, -500.0]] * 2)
    loss = hyperedge_loss(student, certain, members([0, 1], vertices=2), torch.tensor([True]), form)
    loss.backward()
    assert math.isfinite(loss.item())
    assert student.grad.isfinite().all()


def test_entropy_of_certainty_is_zero_and_of_ignorance_the_logarithm_of_the_classes():
    assert vertex_entropy(torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])).tolist() == pytest.approx(
        [0, math.log(3)]
    )


def test_reliability_is_one_less_the_share_of_the_largest_change():
    clean = torch.tensor([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    noisy = torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    edges = members([0], [1], [0, 1], [1, 2, 0, 2], vertices=3)  # changes 0, ln 2, ln 2 / 2, ln 2 / 4
    assert reliability(clean, noisy, edges).tolist() == pytest.approx([1, 0, 0.5, 0.75])


def test_all_hyperedges_are_reliable_where_none_changes():
    p = torch.full((3, 2), 0.5)
    assert reliability(p, p, members([0, 1], [2], vertices=3)).tolist() == [1, 1]
    assert reliability(p, p, members([0, 1, 2], vertices=3)).tolist() == [1]
    assert reliability(p, p, members(vertices=3)).tolist() == []
