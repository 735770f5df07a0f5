"""The moving average of a model's weights, which is judged and kept in place of them where a stage says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """Of all floating-point weights and buffers: average = decay * average + (1 - decay) * weights, after every step.

    Args:
        decay: of how many steps were taken, from 1.
    """

    def __init__(self, model: nn.Module, decay: Callable[[int], float]) -> None:
        self._decay, self._steps = decay, 0
        self._average = {name: value.detach().clone() for name, value in _averaged(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self._steps += 1
        share = 1 - self._decay(self._steps)
        for name, value in _averaged(model).items():
            self._average[name].lerp_(value, share)

    @contextmanager
    def instead(self, model: nn.Module) -> Iterator[None]:
        """Within the block the model has the averages for its weights."""
        own = {name: value.detach().clone() for name, value in _averaged(model).items()}
        _put(model, self._average)
        try:
            yield
        finally:
            _put(model, own)

    def to(self, device: torch.device) -> None:
        self._average = {name: value.to(device) for name, value in self._average.items()}

    def state(self) -> dict[str, Any]:
        """For a checkpoint: plain data and tensors."""
        return {"steps": self._steps, "average": self._average}

    def restore(self, state: dict[str, Any]) -> None:
        self._steps, self._average = int(state["steps"]), dict(state["average"])


def _averaged(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


@torch.no_grad()
def _put(model: nn.Module, values: dict[str, torch.Tensor]) -> None:
    for name, value in _averaged(model).items():
        value.copy_(values[name])
