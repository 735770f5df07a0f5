"""Evaluates an ML Program operation by operation, in the types that the program gives its values.

float16 is computed in float32 and rounded after every operation. Core ML's compute units round elsewhere too (a GPU
may keep float32 inside of fused kernels, the Neural Engine has accumulators of its own): this is what the program
says, not what one of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd.contracts import Array, Arrays, IoSpec, check_feeds
from edgekd.errors import InputError
from edgekd_targets.coreml.feeds import to_pixels
from edgekd_targets.coreml.library import quiet
from edgekd_targets.coreml.mil import elementwise, neural, shaping, state  # noqa: F401, fill the registry
from edgekd_targets.coreml.mil.registry import OPS
from edgekd_targets.coreml.package import FUNCTION, WEIGHTS, pictures, read_spec

Observe = Callable[[str, str, torch.Tensor], None]  # operation, name of its result, the result
_TYPES = {
    "fp16": torch.float16, "fp32": torch.float32, "bool": torch.bool, "int4": torch.int8, "int8": torch.int8,
    "int16": torch.int16, "int32": torch.int32, "int64": torch.int64, "uint1": torch.uint8, "uint2": torch.uint8,
    "uint3": torch.uint8, "uint4": torch.uint8, "uint6": torch.uint8, "uint8": torch.uint8, "uint16": torch.int32,
    "uint32": torch.int64,
}  # fmt: skip


def load_program(path: Path) -> Any:
    """The package as coremltools' own representation, PyMIL.

    Raises:
        InputError: no package, a part of it missing, or a program that coremltools cannot read.
    """
    spec = read_spec(path)
    from coremltools.converters.mil.frontend.milproto import load

    try:
        with quiet():
            return load.load(spec, spec.specificationVersion, str((path / WEIGHTS).parent))
    except Exception as error:  # it raises whatever a program that it did not foresee makes it raise
        raise InputError(f"coremltools cannot read the program of {path.name}", str(error).partition("\n")[0]) from None


class Evaluator:
    """One function of a program in PyMIL, ready to be evaluated on arrays."""

    def __init__(self, function: Any) -> None:
        """Raises InputError for operations that it does not know; each is named with its first result."""
        self._inputs = dict(function.inputs)
        self._outputs = list(function.outputs)
        self._values: dict[str, Any] = {}  # constants
        self._steps: list[tuple[Any, Callable[..., Any]]] = []
        unknown: dict[str, str] = {}
        for op in function.operations:
            if op.op_type.startswith("constexpr_"):
                self._values[op.outputs[0].name] = _constant(op.outputs[0], op.materialized_val_inference())
            elif all(out.val is not None for out in op.outputs):
                for out in op.outputs:
                    self._values[out.name] = _constant(out, out.val)
            elif op.op_type in OPS:
                self._steps.append((op, OPS[op.op_type]))
            else:
                unknown.setdefault(op.op_type, op.outputs[0].name if op.outputs else op.name)
        if unknown:
            named = ", ".join(f"{op} (first as {name})" for op, name in sorted(unknown.items()))
            raise InputError("the MIL reference evaluator lacks operations of this program", named)

    @property
    def states(self) -> list[str]:
        """Names of Core ML's own state."""
        return [name for name, var in self._inputs.items() if _is_state(var)]

    def run(
        self, feeds: Mapping[str, Any], states: dict[str, torch.Tensor] | None = None, observe: Observe | None = None
    ) -> dict[str, torch.Tensor]:
        """Named arrays in, named tensors out.

        Args:
            states: Core ML's own state, which the program changes.
            observe: is told of every input and every result.
        """
        values = dict(self._values)
        for name, var in self._inputs.items():
            if _is_state(var):
                values[name] = state.Held(name, states if states is not None else {})
            else:
                values[name] = torch.from_numpy(np.asarray(feeds[name])).to(_type(var))
                if observe is not None:
                    observe("input", name, values[name])

        def value(var: Any) -> Any:
            if isinstance(var, (list, tuple)):
                return [value(v) for v in var]
            found = None if var is None else values[var.name] if var.name in values else _constant(var, var.val)
            half = isinstance(found, torch.Tensor) and found.dtype == torch.float16
            return found.float() if half else found  # type: ignore[union-attr]

        with torch.inference_mode():
            for op, function in self._steps:
                given = {name: value(var) for name, var in op.inputs.items()}
                results = function(**{**dict.fromkeys(_left_out(function)), **given})
                several = results if isinstance(results, (list, tuple)) else (results,)
                for var, result in zip(op.outputs, several, strict=True):
                    values[var.name] = result.to(_type(var))
                    if observe is not None:
                        observe(op.op_type, var.name, values[var.name])
        return {var.name: values[var.name] for var in self._outputs}


class MilReference:
    """A session of the reference evaluator, which gates compare with. It is slow, and it is not Core ML."""

    def __init__(self, path: Path, io: IoSpec) -> None:
        self.io = io
        self.name = f"MIL reference evaluator (coremltools {version('coremltools')}, torch {version('torch')})"
        self._pictures = pictures(read_spec(path))
        self._evaluator = Evaluator(load_program(path).functions[FUNCTION])

    def run(self, feeds: Arrays) -> dict[str, Array]:
        return {name: value.numpy() for name, value in self.observed(feeds, None).items()}

    def observed(self, feeds: Arrays, observe: Observe | None) -> dict[str, torch.Tensor]:
        ready = check_feeds(self.io, feeds)
        for name in self._pictures:
            ready[name] = to_pixels(ready[name], self.io.input(name))
        states = {name: torch.from_numpy(ready.pop(name)).half() for name in self._evaluator.states}
        said = self._evaluator.run(ready, states, observe)
        return {**said, **{out: states[name].float() for out, name in self.io.state.items() if name in states}}

    def reset(self) -> None:
        pass  # state is carried by edgekd.bundle.session, Core ML's own too: it is written before every call


@cache
def _left_out(function: Callable[..., Any]) -> tuple[str, ...]:
    """Inputs that a program may leave out: those without a default are then None."""
    parameters = signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD and p.default is p.empty)


def _constant(var: Any, value: Any) -> Any:
    """Arrays as tensors of their declared type; numbers, truth values and strings as Python has them."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, np.ndarray) and value.ndim:
        return torch.from_numpy(np.ascontiguousarray(value)).to(_type(var))
    return value.item() if hasattr(value, "item") else value


def _type(var: Any) -> torch.dtype:
    from coremltools.converters.mil.mil import types

    return _TYPES[types.builtin_to_string(var.dtype)]


def _is_state(var: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return bool(types.is_state(var.sym_type))
