"""Which operations of an ML Program compute in float16, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
import torch

from edgekd.contracts import Arrays, Calibration
from edgekd.nn.half_range import (
    COMPUTES_PLACES,
    MARKED,
    READS_PLACES,
    activation_misfit,
    constant_too_large,
    constant_too_small,
    sum_misfit,
)
from edgekd.nn.keep_float import KeepFloat
from edgekd_targets.coreml.mil.evaluator import Evaluator

# Between a map of places and what it was learned by: their rounding to float16 moves what is read by whole pixels.
_LEARNED = ("conv", "conv_transpose", "linear", "matmul")
# These add up all that they read before they divide: the sum must fit, too.
SUMS = (
    "reduce_mean", "reduce_sum", "reduce_l1_norm", "reduce_l2_norm", "reduce_sum_square", "avg_pool", "l2_norm",
    "layer_norm", "instance_norm",
)  # fmt: skip
SQUARES = ("reduce_l2_norm", "reduce_sum_square", "l2_norm", "layer_norm", "instance_norm")
EPSILON = "epsilon"  # of an operation that has a type of its own for it


class Halves:
    """coremltools asks it operation by operation whether float16 will do; the first time, it looks at all of them.

    That is when all passes before are done and no type was changed yet, so that operations have the names and the
    numbers that they are judged by.

    Args:
        module: the student; what lies in a ``KeepFloat`` of it stays in fp32.
        calibration: what the program is run on in fp32, by the reference evaluator; None: no range is judged.

    Attributes:
        kept: operation -> why it stays in fp32; empty before a conversion.
    """

    def __init__(self, module: torch.nn.Module, calibration: Calibration | None) -> None:
        self.kept: dict[str, str] = {}
        self._marked, self._calibration, self._judged = marked_classes(module), calibration, False

    def __call__(self, op: Any) -> bool:
        if not self._judged:
            self._judged = True
            function = _function_of(op)
            ranges = largest(function, self._calibration) if self._calibration is not None else {}
            places = _places(function)
            why = {one.name: self._why(one, places, ranges) for one in function.operations if _floats(one)}
            self.kept = {name: reason for name, reason in why.items() if reason}
        return op.name not in self.kept

    def _why(self, op: Any, places: set[str], ranges: Mapping[str, float]) -> str:
        if in_classes(op, self._marked):
            return MARKED
        if op.op_type == "resample":
            return READS_PLACES
        return COMPUTES_PLACES if op.name in places else _out_of_range(op, ranges)


def largest(function: Any, feeds: Iterable[Arrays]) -> dict[str, float]:
    """The largest magnitude of every floating-point value of a MIL function; infinite where one is no number."""
    evaluator, seen = Evaluator(function), dict[str, float]()

    def widen(op: str, name: str, value: torch.Tensor) -> None:
        if value.is_floating_point() and value.numel():
            most = float(value.float().abs().max())
            seen[name] = max(seen.get(name, 0.0), float("inf") if np.isnan(most) else most)

    for feed in feeds:
        evaluator.run(feed, {name: torch.from_numpy(feed[name]).half() for name in evaluator.states}, widen)
    return seen


def marked_classes(module: torch.nn.Module) -> set[str]:
    """Names of the module's classes whose arithmetic stays in fp32."""
    return {type(block).__name__ for block in module.modules() if isinstance(block, KeepFloat)}


def in_classes(op: Any, classes: set[str]) -> bool:
    """Whether an operation was traced in a module of one of these classes."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    return not classes.isdisjoint(op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_TYPE, ()))


def _function_of(op: Any) -> Any:
    """The outermost block."""
    block = op.enclosing_block
    while block.outer_op is not None:
        block = block.outer_op.enclosing_block
    return block


def _floats(op: Any) -> list[tuple[str, Any]]:
    """Every float32 value of an operation, with the parameter that it is; what it gives has none."""
    if op.op_type == "const":
        return []
    given = [(name, var) for name, value in op.inputs.items() for var in _several(value)]
    return [(name, var) for name, var in [*given, *(("", out) for out in op.outputs)] if _is_float(var)]


def _several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _is_float(var: Any) -> bool:
    return hasattr(var, "is_tensor_or_scalar_of") and bool(var.is_tensor_or_scalar_of(dtype="fp32"))


def _out_of_range(op: Any, ranges: Mapping[str, float]) -> str:
    for parameter, var in _floats(op):
        if var.val is None:
            found = activation_misfit(var.name, ranges.get(var.name, 0.0))
        else:
            value = np.asarray(var.val)
            single = value.size == 1 and parameter != EPSILON
            found = constant_too_large(var.name, value) or (constant_too_small(var.name, value) if single else "")
        if found:
            return found
    read = op.inputs.get("x")
    if op.op_type in SUMS and read is not None and read.name in ranges:
        return sum_misfit(ranges[read.name], _size(read) / max(1, _size(op.outputs[0])), op.op_type in SQUARES)
    return ""


def _size(var: Any) -> int:
    """Number of elements; an axis of any size counts as 1."""
    return prod(int(axis) if isinstance(axis, (int, np.integer)) else 1 for axis in var.shape)


def _places(function: Any) -> set[str]:
    """Operations that compute places to read at, back to what was learned: float16 has 11 bits for them."""
    waiting = [op.coordinates for op in function.operations if op.op_type == "resample"]
    found: set[str] = set()
    while waiting:
        op = waiting.pop().op  # none of an input
        if op is not None and op.op_type not in ("const", "resample", *_LEARNED) and op.name not in found:
            found.add(op.name)
            waiting += [var for value in op.inputs.values() for var in _several(value)]
    return found
