import pytest
import torch

from edgekd.distillers.soft_targets import soft_target_loss


@pytest.fixture
def logits():
    random = torch.Generator().manual_seed(0)
    return (torch.randn(6, 5, generator=random) * 3 for _ in range(2))


def test_it_is_the_divergence_of_the_two_distributions_by_its_definition(logits):
    student, teacher = logits
    for temperature in (0.5, 1.0, 4.0):
        p_s, p_t = ((z.double() / temperature).softmax(1) for z in (student, teacher))
        want = temperature**2 * (p_t * (p_t / p_s).log()).sum(1).mean()
        assert soft_target_loss(student, teacher, temperature).item() == pytest.approx(want.item(), rel=1e-5)


def test_it_is_zero_for_equal_distributions_and_positive_otherwise(logits):
    student, teacher = logits
    assert soft_target_loss(teacher + 3, teacher, 2.0).item() == pytest.approx(0, abs=1e-5)  # the same softmax
    assert soft_target_loss(student, teacher, 2.0) > 0


def test_it_does_not_depend_on_how_often_the_batch_is_repeated(logits):
    student, teacher = logits
    twice = soft_target_loss(torch.cat([student] * 2), torch.cat([teacher] * 2), 3.0)
    assert twice.item() == pytest.approx(soft_target_loss(student, teacher, 3.0).item(), rel=1e-6)


def test_at_a_high_temperature_its_gradient_is_that_of_matching_centred_logits(logits):
    """Hinton et al. 2015, section 2.1: T² · KL tends to the squared error of zero-mean logits over 2 C."""
    student, teacher = logits
    student.requires_grad_()
    (found,) = torch.autograd.grad(soft_target_loss(student, teacher, 1000.0), student)
    centred = [z - z.mean(1, keepdim=True) for z in (student.detach(), teacher)]
    torch.testing.assert_close(found, (centred[0] - centred[1]) / student.numel(), rtol=0.02, atol=2e-3)
