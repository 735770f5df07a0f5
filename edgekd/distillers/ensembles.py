"""Several teachers as one."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def mean_logits(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Logits whose softmax at ``temperature`` is the mean of the teachers' softmax at ``temperature``.

    Args:
        logits: (B, teachers, C).

    Returns:
        (B, C).
    """
    log_shares = F.log_softmax(logits.float() / temperature, dim=-1)
    if logits.shape[1] == 1:
        return logits[:, 0].float()
    return temperature * (torch.logsumexp(log_shares, dim=1) - torch.log(torch.tensor(float(logits.shape[1]))))
