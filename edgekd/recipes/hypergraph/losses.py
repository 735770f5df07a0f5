"""What LightHGNN's student minimises: soft targets per vertex and, in LightHGNN+, per reliable hyperedge.

Feng et al., LightHGNN, ICLR 2024. Both the true divergence and what the authors' code computes are here:

``kl``        KL(p_t || p_s), p = softmax(z / T)
``released``  mean over vertices of  sum_c exp(p_t) · (p_t - log p_s),  p = softmax(z)

The second one hands probabilities to a function that takes log-probabilities. It is no divergence (it is not 0 where
student and teacher agree); its gradient is the cross-entropy's toward exp(p_t) / sum exp(p_t), a second softmax, times
sum exp(p_t). So the target's argmax stays, and a teacher that is certain of one of 7 classes becomes a target of 0.312:
strong label smoothing, which on small sets does no harm.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

from edgekd.distillers.soft_targets import soft_target_loss
from edgekd.nn.sparse import SparseRows

Form = Literal["kl", "released"]


def vertex_loss(student: torch.Tensor, teacher: torch.Tensor, form: Form, temperature: float = 1.0) -> torch.Tensor:
    """Soft targets, a mean over the vertices.

    Args:
        student, teacher: (B, C) logits.
        temperature: of the true form; the released one has none.
    """
    if form == "kl":
        return soft_target_loss(student, teacher, temperature)
    return _released(F.log_softmax(student.float(), dim=-1), F.softmax(teacher.float(), dim=-1))


def hyperedge_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    members: SparseRows,
    chosen: torch.Tensor,
    form: Form,
    temperature: float = 1.0,
) -> torch.Tensor:
    """High-order soft targets: the same divergence between the hyperedges' mean probabilities.

    Args:
        student, teacher: (B, C) logits.
        members: (E, B), the vertices of each hyperedge; those without any take no part.
        chosen: (E,) bool; where it is all False the loss is 0.
        temperature: of the ``released`` form only: it divides the mean probabilities, as the authors' code does.

    Returns:
        A mean over the chosen hyperedges.
    """
    sizes = members.row_sums()[:, None]
    chosen = chosen & (sizes[:, 0] > 0)
    q_s, q_t = ((members @ F.softmax(logits.float(), dim=-1))[chosen] / sizes[chosen] for logits in (student, teacher))
    if not len(q_s):
        return 0.0 * student.sum()  # of the student, so that it has a gradient
    floor = torch.finfo(q_s.dtype).tiny
    if form == "kl":
        log_t = q_t.clamp_min(floor).log()
        return F.kl_div(q_s.clamp_min(floor).log(), log_t, reduction="batchmean", log_target=True)
    return _released((q_s / temperature).clamp_min(floor).log(), q_t / temperature)


def _released(log_student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return F.kl_div(log_student, teacher, reduction="batchmean", log_target=True)


def vertex_entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """(V, C) -> (V,) -sum p log p, in nats; 0 log 0 is 0."""
    return torch.special.entr(probabilities).sum(dim=-1)


def reliability(clean: torch.Tensor, noisy: torch.Tensor, members: SparseRows) -> torch.Tensor:
    """How little a hyperedge's mean entropy changes under noise on the features: 1 = not at all, 0 = the most of all.

    Args:
        clean, noisy: (V, C) the teacher's probabilities on the features and on noisy ones.
        members: (E, V).

    Returns:
        (E,) in 0..1. All are 1 where no hyperedge changes (the authors' code divides 0 by 0 there).
    """
    change = (members @ (vertex_entropy(noisy) - vertex_entropy(clean))).abs() / members.row_sums().clamp_min(1)
    largest = change.max() if len(change) else change.sum()
    return 1 - change / largest if largest > 0 else torch.ones_like(change)
