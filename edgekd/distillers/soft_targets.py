"""Soft targets: the student's distribution drawn to the teacher's (Hinton et al., 2015)."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def soft_target_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """``T² · KL(p_t || p_s)`` with p = softmax(logits / T), a mean over the batch.

    Args:
        student_logits, teacher_logits: (B, C).

    The square keeps the gradient's size as T changes. 0 where the two distributions are equal.
    """
    student = F.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
