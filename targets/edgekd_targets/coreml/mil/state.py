"""Core ML's own state (iOS 18): tensors that a program reads and changes, and that outlive a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgekd_targets.coreml.mil.registry import op


@dataclass(frozen=True)
class Held:
    """A place in the caller's state."""

    name: str
    states: dict[str, Tensor]


@op("read_state")
def read_state(input: Held) -> Tensor:
    return input.states[input.name]


@op("coreml_update_state")
def coreml_update_state(state: Held, value: Any) -> Tensor:
    """Gives what the state now holds."""
    held = state.states[state.name]
    state.states[state.name] = value.to(held.dtype)
    return state.states[state.name]
