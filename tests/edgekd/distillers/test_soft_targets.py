import pytest
import torch
from torch.nn import functional as F

from edgekd.distillers.ensembles import mean_logits
from edgekd.distillers.soft_targets import soft_target_loss


def test_it_is_the_divergence_from_teacher_to_student_times_the_square_of_the_temperature():
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    p_s, p_t = (F.softmax(z.double() / 2, -1) for z in (student, teacher))
    by_hand = 4 * (p_t * (p_t / p_s).log()).sum() / 2
    assert soft_target_loss(student, teacher, 2.0).item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_it_is_zero_where_the_distributions_are_equal_and_its_gradient_is_their_difference():
    z = torch.tensor([[0.3, -1.2, 2.0]], requires_grad=True)
    assert soft_target_loss(z, z.detach() + 5).item() == pytest.approx(0, abs=1e-6)
    teacher = torch.tensor([[1.0, 1.0, -2.0]])
    soft_target_loss(z, teacher).backward()
    torch.testing.assert_close(z.grad, (F.softmax(z, -1) - F.softmax(teacher, -1)).detach())


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_several_teachers_speak_by_their_mean_probability(temperature):
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    mean = F.softmax(logits / temperature, -1).mean(1)
    torch.testing.assert_close(F.softmax(mean_logits(logits, temperature) / temperature, -1), mean)


def test_one_teacher_speaks_for_itself():
    logits = torch.randn(4, 1, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mean_logits(logits), logits[:, 0])
