from __future__ import annotations

import itertools

import pytest
import torch

from edgekd.errors import InputError
from edgekd.recipes.landmarks.losses import KD_CONSTANTS, KDLoss


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


TEACHERS = list(itertools.product([False, True], repeat=2))
EVERY = [
    (form, tough, tolerant, hard)
    for form in KD_CONSTANTS
    for tough, tolerant in TEACHERS
    for hard in (("l2",) if tolerant else ("l2", "l1"))
]


def grid(values: list[float] | torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32).reshape(1, -1)


def given(loss: KDLoss, tough: torch.Tensor, tolerant: torch.Tensor) -> dict[str, torch.Tensor]:
    named = {"tough": tough, "tolerant": tolerant}
    return {name: tensor for name, tensor in named.items() if loss.uses[name]}


def curve(loss: KDLoss, p: torch.Tensor, g: float, tough: float, tolerant: float) -> tuple[torch.Tensor, ...]:
    """Value and gradient of the loss at every p of a row, coordinate by coordinate."""
    p = p.clone().requires_grad_()
    values = []
    for column in p[0]:
        one = column.reshape(1, 1)
        teachers = given(loss, torch.full((1, 1), tough), torch.full((1, 1), tolerant))
        values.append(sum(loss(one, torch.full((1, 1), g), **teachers).values()))
    value = torch.stack(values)
    (gradient,) = torch.autograd.grad(value.sum(), p)
    return value.detach(), gradient[0]


# papers/landmarks A5: p, g, tough, tolerant, total, main, assistance of the tough and of the tolerant teacher
GOLDEN = [
    (0.05, 0, 0.02, 0.03, 0.2762, 0.1832, 0.057, 0.036),
    (0.01, 0, 0.02, 0.03, 0.0475, 0.06, -0.0045, -0.008),
    (0.002, 0, 0.02, 0.03, 0.012, 0.012, 0, 0),
    (-0.025, 0, 0.02, 0.03, 0.1575, 0.15, 0.0095, -0.002),
    (-0.05, 0, 0.02, -0.03, 0.2762, 0.1832, 0.057, 0.036),
    (0.1, 0.1, 0.02, 0.03, 0, 0, 0, 0),
]


@pytest.mark.parametrize(("p", "g", "tough", "tolerant", "total", "main", "by_tough", "by_tolerant"), GOLDEN)
def test_released_form_has_its_golden_values(p, g, tough, tolerant, total, main, by_tough, by_tolerant) -> None:
    terms = KDLoss("released", True, True)(grid([p]), grid([g]), grid([tough]), grid([tolerant]))
    got = [sum(terms.values()), terms["main"], terms["tough"], terms["tolerant"]]
    assert [v.item() for v in got] == pytest.approx([total, main, by_tough, by_tolerant], abs=1e-7)


# By hand from the drawn figures (papers/landmarks A4), with d = 0.5, so that the ramp ends at 0.2 and the
# main term's edge is the drawn 0.5: p, main (before its weight 2.5), weight of the assistance.
DRAWN = [
    (0.1, 0.1, -0.225),  # half way up the ramp
    (0.2, 0.2, -0.45),  # its end
    (0.4, 0.4, -0.45),  # nearer than the teacher
    (-0.4, 0.4, -0.45),
    (0.8, 0.89, 0.9),  # beyond: 0.8² + 0.25
    (1.0, 1.25, 0.9),
]


@pytest.mark.parametrize(("p", "main", "weight"), DRAWN)
def test_paper_form_is_as_drawn(p: float, main: float, weight: float) -> None:
    terms = KDLoss("paper", True, True)(grid([p]), grid([0.0]), grid([0.5]), grid([-0.5]))
    assert terms["main"].item() == pytest.approx(2.5 * main, abs=1e-6)
    assistance = weight * abs(0.5 - abs(p))
    assert terms["tough"].item() == pytest.approx(assistance, abs=1e-6)
    assert terms["tolerant"].item() == pytest.approx(assistance, abs=1e-6)


@pytest.mark.parametrize("form", list(KD_CONSTANTS))
def test_gradient_of_the_assistance_has_the_weight_of_each_region(form: str) -> None:
    c = KD_CONSTANTS[form]
    alpha, alpha_n = c.tough
    d = 0.2
    shares = torch.tensor([0.25 * c.beta, 0.9 * c.beta, 1.1 * c.beta, 0.9, 1.1, 3.0])
    low = [0.25 * -alpha_n, 0.9 * -alpha_n] if c.ramp else [0.0, 0.0]
    want = torch.tensor([*low, -alpha_n, -alpha_n, alpha, alpha])
    for side in (1, -1):
        p = (0.1 + side * d * shares).reshape(1, -1).requires_grad_()
        terms = KDLoss(form, True, False)(p, torch.full_like(p, 0.1), torch.full_like(p, 0.1 + d))
        (gradient,) = torch.autograd.grad(terms["tough"] * p.numel(), p)
        assert torch.allclose(gradient[0], side * want, atol=1e-5)


@pytest.mark.parametrize(("form", "tough", "tolerant", "hard"), EVERY)
def test_gradient_points_to_the_ground_truth_from_everywhere(form, tough, tolerant, hard) -> None:
    loss = KDLoss(form, tough, tolerant, hard)
    generator = torch.Generator().manual_seed(0)
    g, a, s = (torch.rand(1, 4000, generator=generator) - 0.5 for _ in range(3))
    a[:, :50], s[:, 50:100] = g[:, :50], g[:, 50:100]  # a teacher may be exactly right
    # Students at every share of a teacher's distance, and at every distance of their own.
    share, either, side = (torch.rand(1, 4000, generator=generator) for _ in range(3))
    reach = 1.5 * share * torch.where(either < 0.5, 1.0, (a - g).abs())
    p = (g + reach * torch.where(side < 0.5, 1, -1)).requires_grad_()
    (gradient,) = torch.autograd.grad(sum(loss(p, g, **given(loss, a, s)).values()), p)
    away = (p - g).detach()
    moved = away.abs() > 1e-6
    assert moved.sum() > 3900
    assert torch.equal(gradient.sign()[moved], away.sign()[moved])


@pytest.mark.parametrize(("form", "tough", "tolerant", "hard"), EVERY)
def test_at_the_ground_truth_loss_and_gradient_are_zero(form, tough, tolerant, hard) -> None:
    loss = KDLoss(form, tough, tolerant, hard)
    g = torch.linspace(-0.5, 0.5, 12).reshape(2, 6)
    p = g.clone().requires_grad_()
    terms = loss(p, g, **given(loss, g + 0.05, g - 0.1))
    assert all(term.item() == 0 for term in terms.values())
    (gradient,) = torch.autograd.grad(sum(terms.values()), p)
    assert not gradient.any()


VALUE_MINIMUM = [
    ("paper", True, True, "l2"),
    ("paper", False, True, "l2"),
    ("paper", True, False, "l1"),
    ("released", True, True, "l2"),
    ("released", False, True, "l2"),
    *((form, False, False, hard) for form in KD_CONSTANTS for hard in ("l2", "l1")),
]


@pytest.mark.parametrize(("form", "tough", "tolerant", "hard"), VALUE_MINIMUM)
def test_value_is_least_at_the_ground_truth_while_the_tolerant_teacher_errs(form, tough, tolerant, hard) -> None:
    loss = KDLoss(form, tough, tolerant, hard)
    generator = torch.Generator().manual_seed(1)
    steps = torch.cat([torch.logspace(-6, 0, 301), -torch.logspace(-6, 0, 301)])
    for g, d, ratio in torch.rand(40, 3, generator=generator).tolist():
        a = g + d * 0.3
        s = g - d * 0.3 * (0.03 + 3 * ratio)  # errs at least 3 % as much as the tough teacher
        value, _ = curve(loss, (g + steps).reshape(1, -1)[:, ::13], g, a, s)
        assert value.min() > 0


@pytest.mark.parametrize("form", list(KD_CONSTANTS))
def test_value_dips_below_zero_where_the_tolerant_teacher_is_exact_but_the_gradient_does_not(
    form: str,
) -> None:
    value, gradient = curve(KDLoss(form, True, True), grid([0.002, 0.005, 0.018]), 0.0, 0.1, 0.0)
    assert value.min() < 0  # why a checkpoint is not chosen by this loss
    assert (gradient > 0).all()


def jump(form: str, at: float, tough: float, tolerant: float, term: str) -> float:
    terms = [
        KDLoss(form, True, True)(grid([at * (1 + s)]), grid([0.0]), grid([tough]), grid([tolerant]))[term].item()
        for s in (-1e-5, 1e-5)
    ]
    return terms[1] - terms[0]


@pytest.mark.parametrize("form", list(KD_CONSTANTS))
@pytest.mark.parametrize("q", [0.01, 0.1, 0.5])
def test_main_term_is_continuous_at_the_tolerant_teachers_distance(form: str, q: float) -> None:
    assert jump(form, q, 0.05, q, "main") == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("form", list(KD_CONSTANTS))
def test_assistance_is_continuous_where_the_student_passes_the_teacher(form: str) -> None:
    assert jump(form, 0.2, 0.2, 0.1, "tough") == pytest.approx(0, abs=1e-4)


def test_assistance_is_continuous_at_beta_in_the_paper_form_and_jumps_in_the_released_one() -> None:
    assert jump("paper", 0.4 * 0.2, 0.2, 0.1, "tough") == pytest.approx(0, abs=1e-4)
    # papers/landmarks A4: up by |alpha_n| * 0.85 * d when e shrinks below beta
    assert jump("released", 0.15 * 0.2, 0.2, 0.1, "tough") == pytest.approx(-0.45 * 0.85 * 0.2, abs=1e-4)


@pytest.mark.parametrize(("form", "tough", "tolerant", "hard"), EVERY)
def test_loss_is_the_same_on_either_side_of_the_truth_and_for_a_teacher_on_either_side(
    form, tough, tolerant, hard
) -> None:
    loss = KDLoss(form, tough, tolerant, hard)
    p = torch.linspace(-0.3, 0.3, 61).reshape(1, -1)
    zero, a, s = torch.zeros_like(p), torch.full_like(p, 0.08), torch.full_like(p, 0.12)
    values = [
        [loss(x[:, [i]], zero[:, [i]], **given(loss, m[:, [i]], n[:, [i]])) for i in range(61)]
        for x, m, n in ((p, a, s), (-p, a, s), (p, -a, s), (p, a, -s))
    ]
    totals = torch.tensor([[sum(terms.values()).item() for terms in row] for row in values])
    assert torch.allclose(totals, totals[:1].expand_as(totals), atol=1e-7)
    assert totals.std(dim=1).min() > 1e-3


@pytest.mark.parametrize("form", list(KD_CONSTANTS))
def test_no_gradient_reaches_teachers_or_truth(form: str) -> None:
    p, g, a, s = (torch.rand(3, 8).requires_grad_() for _ in range(4))
    sum(KDLoss(form, True, True)(p, g, a, s).values()).backward()
    assert p.grad is not None
    assert (g.grad, a.grad, s.grad) == (None, None, None)


@pytest.mark.parametrize("form", list(KD_CONSTANTS))
def test_each_term_is_the_mean_over_every_coordinate_of_the_batch(form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    p, g, a, s = (torch.rand(3, 8, generator=generator) * 0.2 for _ in range(4))
    loss = KDLoss(form, True, True)
    got = loss(p, g, a, s)
    rows = zip(*(t.flatten().tolist() for t in (p, g, a, s)), strict=True)
    single = [loss(*(grid([v]) for v in row)) for row in rows]
    for name, value in got.items():
        assert value.item() == pytest.approx(sum(one[name].item() for one in single) / 24, abs=1e-6)


@pytest.mark.parametrize(("tough", "tolerant"), TEACHERS)
def test_terms_are_main_and_those_of_the_teachers_in_use(tough: bool, tolerant: bool) -> None:
    loss = KDLoss("paper", tough, tolerant)
    t = torch.rand(2, 4)
    assert set(loss(t, t, **given(loss, t, t))) == {"main"} | set(given(loss, t, t))


def test_main_term_without_a_tolerant_teacher_is_the_hard_loss_and_l2_is_that_of_q_zero() -> None:
    p, g = torch.rand(2, 4), torch.rand(2, 4)
    for form, weight in (("paper", 2.5), ("released", 2.0)):
        l2 = KDLoss(form, False, False, "l2")(p, g)["main"]
        l1 = KDLoss(form, False, False, "l1")(p, g)["main"]
        assert l2.item() == pytest.approx(weight * (p - g).square().mean().item())
        assert l1.item() == pytest.approx(weight * (p - g).abs().mean().item())
        assert KDLoss(form, False, True)(p, g, tolerant=g)["main"].item() == pytest.approx(l2.item())


def test_bf16_predictions_are_compared_in_full_precision() -> None:
    p = torch.rand(2, 4).bfloat16().requires_grad_()
    g, a = torch.rand(2, 4), torch.rand(2, 4)
    terms = KDLoss("paper", True, True)(p, g, a, a)
    want = KDLoss("paper", True, True)(p.detach().float(), g, a, a)
    assert all(torch.equal(terms[name], want[name]) for name in want)


def test_missing_or_superfluous_teachers_and_other_shapes_are_refused() -> None:
    t = torch.rand(2, 4)
    with pytest.raises(ValueError, match="the tough teacher is in use"):
        KDLoss("paper", True, False)(t, t)
    with pytest.raises(ValueError, match="the tolerant teacher is not in use"):
        KDLoss("paper", False, False)(t, t, tolerant=t)
    with pytest.raises(ValueError, match="tough is"):
        KDLoss("paper", True, False)(t, t, t[:1])
    with pytest.raises(InputError, match=r"loss\.form is 'drawn'"):
        KDLoss("drawn", True, True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"loss\.hard"):
        KDLoss("paper", True, True, "huber")  # type: ignore[arg-type]
