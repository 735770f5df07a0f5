"""A student in torch becomes an ML Program with the io spec's names, shapes and pictures."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from edgekd.contracts import Calibration, IoSpec, Profile, Source, TensorSpec
from edgekd.errors import InputError, MachineError
from edgekd.nn.half_range import note
from edgekd.nn.lowering import Lowerable
from edgekd_targets.coreml.feeds import factor, offsets, takes_pictures
from edgekd_targets.coreml.halves import Halves, in_classes, marked_classes
from edgekd_targets.coreml.library import coremltools, quiet

TYPES = ("float32", "float16", "int32")
SETTINGS = {"deployment": "iOS17", "images": True, "largest": 4096, "state": "inputs"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def settings(profile: Profile) -> dict[str, Any]:
    """The profile's ``[build]``, with what it leaves out.

    Raises:
        InputError: a key or a value that this target does not know.
    """
    found = {**SETTINGS, **profile.build}
    if strangers := sorted(found.keys() - SETTINGS.keys()):
        raise InputError(f"coreml knows no [build] setting {strangers[0]!r}", fix="there are: " + ", ".join(SETTINGS))
    targets = coremltools().target
    if not hasattr(targets, str(found["deployment"])):
        known = ", ".join(target.name for target in targets if target.name >= "iOS17" or target.name >= "macOS14")
        raise InputError(f"coreml knows no deployment {found['deployment']!r}", fix=f"one of {known}")
    if found["state"] not in ("inputs", "own"):
        raise InputError(f"[build] state = {found['state']!r} cannot be used", fix='"inputs" or "own"')
    return found


def convert(
    source: Source, profile: Profile, half: bool, calibration: Calibration | None = None
) -> tuple[Any, tuple[str, ...]]:
    """An ``MLModel`` in float32, or in float16 but for what must not be, with a note about that.

    Args:
        calibration: samples on which numbers are looked for that float16 cannot hold.

    Raises:
        InputError: the io spec has what Core ML lacks, or the module an operation that it lacks.
    """
    library, chosen = coremltools(), settings(profile)
    if source.module is None:
        raise InputError(
            "coreml converts from torch, and there is only a file",
            "coremltools reads no ONNX: its converter was removed in version 6",
            "--target onnxruntime or openvino; or a student of an edgekd recipe",
        )
    own = chosen["state"] == "own" and bool(source.io.state)
    if own and not str(chosen["deployment"]).startswith(("iOS18", "macOS15", "iOS26", "macOS26")):
        raise InputError("Core ML's own state needs iOS 18 or macOS 15", f"the profile says {chosen['deployment']}")
    _check(source.io)
    module = (StateInside(source.module, source.io) if own else source.module).eval()
    example = tuple(_example(spec) for spec in _fed(source.io, own))
    halves = Halves(module, calibration)
    precision = library.transform.FP16ComputePrecision(op_selector=halves) if half else library.precision.FLOAT32
    try:
        with quiet(), torch.no_grad():
            traced = torch.jit.trace(module, example, check_trace=False)
            model = library.convert(
                traced,
                convert_to="mlprogram",
                minimum_deployment_target=getattr(library.target, chosen["deployment"]),
                compute_precision=precision,
                skip_model_load=True,
                **_interface(library, source.io, chosen, own),
            )
    except (NotImplementedError, RuntimeError, ValueError, TypeError, KeyError, IndexError, AssertionError) as error:
        raise _cannot(error, source.module) from error
    model.short_description = f"{', '.join(t.name for t in source.io.inputs)} -> {', '.join(_given(source.io))}"
    samples = len(calibration) if calibration is not None else None
    return model, (note(halves.kept, samples),) if half else ()


def kept(model: Any, source: Source) -> list[str]:
    """Names of what the operations of a fresh ``convert`` give that lie in a module that must stay in fp32."""
    marked = marked_classes(source.module)
    made = model._mil_program.functions["main"].operations
    return [
        out.name for op in made if op.op_type not in ("const", "cast") and in_classes(op, marked) for out in op.outputs
    ]


class StateInside(torch.nn.Module):
    """A student whose state are buffers: Core ML's own state, read and changed in place (iOS 18)."""

    def __init__(self, student: torch.nn.Module, io: IoSpec) -> None:
        super().__init__()
        self.student, self.io = student, io
        for name in io.state.values():
            spec = io.input(name)
            self.register_buffer(name, torch.zeros([int(a) for a in spec.shape], dtype=torch.float16))

    def forward(self, *fed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rest = iter(fed)
        held = set(self.io.state.values())
        every = [getattr(self, t.name).float() if t.name in held else next(rest) for t in self.io.inputs]
        said = self.student(*every)
        outputs = dict(zip([t.name for t in self.io.outputs], said, strict=True))
        for output, name in self.io.state.items():
            getattr(self, name)[:] = outputs[output].half()
        return tuple(value for name, value in outputs.items() if name not in self.io.state)


def _fed(io: IoSpec, own: bool) -> list[TensorSpec]:
    held = set(io.state.values()) if own else set()
    return [t for t in io.inputs if t.name not in held]


def _given(io: IoSpec) -> list[str]:
    return [t.name for t in io.outputs if t.name not in io.state]


def _interface(library: Any, io: IoSpec, chosen: dict[str, Any], own: bool) -> dict[str, Any]:
    ranges = {
        axis: library.RangeDim(lower_bound=1, upper_bound=int(chosen["largest"]), default=1)
        for spec in io.inputs
        for axis in spec.shape
        if isinstance(axis, str)
    }
    inputs = []
    for spec in _fed(io, own):
        if chosen["images"] and takes_pictures(spec):
            assert spec.image is not None
            layout = {"RGB": "RGB", "BGR": "BGR", "L": "GRAYSCALE"}[spec.image.color]
            shift = offsets(spec.image)
            inputs.append(
                library.ImageType(
                    name=spec.name,
                    shape=spec.shape,
                    scale=factor(spec.image),
                    bias=shift[0] if layout == "GRAYSCALE" else shift,
                    color_layout=getattr(library.colorlayout, layout),
                )
            )
        else:
            shape = tuple(ranges[axis] if isinstance(axis, str) else axis for axis in spec.shape)
            inputs.append(library.TensorType(name=spec.name, shape=shape, dtype=np.dtype(spec.dtype).type))
    kept = {t.name for t in io.outputs} - (set(io.state) if own else set())
    outputs = [library.TensorType(name=t.name, dtype=np.dtype(t.dtype).type) for t in io.outputs if t.name in kept]
    states = [
        library.StateType(wrapped_type=library.TensorType(shape=io.input(name).shape, dtype=np.float16), name=name)
        for name in (io.state.values() if own else ())
    ]
    return {"inputs": inputs, "outputs": outputs, **({"states": states} if states else {})}


def _example(spec: TensorSpec) -> torch.Tensor:
    """Half of the range rather than zeros: a trace of what divides by its input stays finite."""
    shape = [2 if isinstance(axis, str) else axis for axis in spec.shape]
    return torch.full(shape, 0.5).to(getattr(torch, spec.dtype))


def _check(io: IoSpec) -> None:
    for spec in (*io.inputs, *io.outputs):
        if spec.dtype not in TYPES:
            raise InputError(f"Core ML has no {spec.dtype} inputs or outputs", f"{spec.name} is one", ", ".join(TYPES))
        if not _NAME.fullmatch(spec.name):
            raise InputError(
                f"Core ML takes no tensor named {spec.name!r}", "letters, digits and _, no digit first", "rename it"
            )
    for spec in io.inputs:
        named = [axis for axis in spec.shape if isinstance(axis, str)]
        if named and spec.image is not None:
            raise InputError(
                f"Core ML takes no picture of any size: {spec.name} is {list(spec.shape)}",
                "an ML Program's convolutions are compiled for one size",
                "export the student at a fixed size",
            )
        if len(named) > 1:
            raise InputError(
                f"coreml takes one axis of any size per input: {spec.name} has {', '.join(named)}",
                "every size in their product would have to be compiled",
                "fix all but one",
            )


def _cannot(error: Exception, module: Any) -> Exception:
    """What Core ML lacks, in one line, with the forms of the module's blocks that might do without it."""
    said = str(error).strip().partition("\n")[0]
    missing = re.search(r"convert function for op '([^']+)'", str(error)) or re.search(
        r"op(?:erator)? (?:of type )?'?([\w:]+::[\w.]+)'?", str(error)
    )
    forms = {block.op: block.FORMS for block in module.modules() if isinstance(block, Lowerable)}
    fix = "; ".join(f'[lowerings] {op} = "{"|".join(kinds)}"' for op, kinds in forms.items())
    if missing:
        return InputError(f"Core ML lacks the operation {missing[1]}", said, fix or "write it with other operations")
    return MachineError("coremltools cannot convert the student", f"{type(error).__name__}: {said}", fix)
