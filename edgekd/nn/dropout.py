"""Dropout whose mask is cheap on a CPU."""

from __future__ import annotations

import torch
from torch import nn

LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """``nn.Dropout`` from 16 random bits a value, so ``p`` is rounded to 1 / 65,536.

    PyTorch draws a double for every value, which costs a small network more than its matrix products do.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        return x * mask(x.shape, self.p, x.device, x.dtype)


def mask(shape: torch.Size, p: float, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """0 with probability ``p``, else 1 / (1 - p)."""
    threshold = round(p * LEVELS)
    words = -(-shape.numel() // 4)
    bits = torch.randint(-(2**63), 2**63 - 1, (words,), device=device).view(torch.int16)[: shape.numel()]
    return (bits >= threshold - LEVELS // 2).view(shape).to(dtype).mul_(LEVELS / (LEVELS - threshold))
