"""The operations that the evaluator knows, by MIL's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Operation = Callable[..., Any]
OPS: dict[str, Operation] = {}


def op(*names: str) -> Callable[[Operation], Operation]:
    """Registers a function for operations of these names.

    It takes MIL's inputs by their names: tensors of torch (float16 already as float32, in which it computes), Python
    numbers, truth values and strings for constants of rank 0, and None for an input that was left out.
    """

    def register(function: Operation) -> Operation:
        for name in names:
            if name in OPS:
                raise ValueError(f"two functions for {name}")
            OPS[name] = function
        return function

    return register


def ints(value: Any) -> list[int]:
    """Sizes, axes or strides, however a program gives them."""
    if value is None:
        return []
    if isinstance(value, torch.Tensor):
        return [int(v) for v in value.flatten().tolist()]
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
