"""Teachers that are not trained here: whatever the user names, on the command line or in a TOML of their own.

    package.module:callable    a module, what makes one, or a function that only gives outputs
    timm:NAME@FILE             timm's architecture NAME with the weights of a safetensors FILE

Such a name is never taken from a run, a bundle or a manifest: what is named is run. Nothing is downloaded.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.contracts import IoSpec
from edgekd.errors import InputError, MachineError, nearest
from edgekd.recipes.weights import load_weights
from edgekd.storage import sha256_file

SAVE_TIMM = (
    "python -c 'import timm, safetensors.torch as s; "
    's.save_file(timm.create_model("{name}", pretrained=True).state_dict(), "{name}.safetensors")\''
)


def named_callable(spec: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What ``package.module:callable`` names, and its provenance, with the sha256 of the file that it is in.

    Raises:
        InputError: nothing of that name, or it cannot be called.
    """
    module, _, attribute = spec.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"no teacher {spec!r}", str(error), "check module, name and PYTHONPATH") from error
    if not callable(found):
        raise InputError(f"teacher {spec!r} is not callable", f"it is a {type(found).__name__}")
    provenance = {"teacher": spec, "licence": "not known to edgekd: the user's own teacher"}
    file = getattr(sys.modules[module], "__file__", None)
    if file:
        provenance["sha256"] = sha256_file(Path(file))
    return found, provenance


def network_teacher(spec: str, io: IoSpec) -> tuple[nn.Module, dict[str, Any]]:
    """A teacher that takes ``io``'s inputs in order and gives its outputs, in eval and without gradients.

    Args:
        spec: as above. A callable that takes no argument makes the module; one that takes some is asked itself, with
            a tensor (B, ...) per input, and gives a tensor or an array, or a tuple of them.

    Returns:
        (module, provenance).

    Raises:
        InputError: no such teacher, or its weights do not fit.
        MachineError: timm is not installed.
    """
    if spec.startswith("timm:"):
        module, provenance = _timm(spec, io)
    elif ":" in spec:
        made, provenance = named_callable(spec)
        if not isinstance(made, nn.Module) and _takes_nothing(made):
            made = made()
        if not callable(made):
            raise InputError(f"teacher {spec!r} is of no use", f"it made a {type(made).__name__}", "return a module")
        module = made if isinstance(made, nn.Module) else _Outputs(made)
    else:
        raise InputError(f"no teacher {spec!r}", "it is package.module:callable or timm:NAME@FILE")
    return module.eval().requires_grad_(False), provenance


class _Outputs(nn.Module):
    """A black box: a function that only gives outputs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        with torch.no_grad():
            found = self._function(*inputs)
        several = isinstance(found, (tuple, list))
        values = tuple(torch.as_tensor(value, device=inputs[0].device) for value in (found if several else [found]))
        return values if several else values[0]


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # builtins without one
        return False
    return all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in parameters)


def _timm(spec: str, io: IoSpec) -> tuple[nn.Module, dict[str, Any]]:
    name, _, file = spec.removeprefix("timm:").partition("@")
    if not file:
        raise InputError(
            f"teacher {spec!r} has no weights",
            "edgekd downloads nothing, and untrained weights teach noise",
            f"--teacher timm:{name}@FILE.safetensors; to make one: {SAVE_TIMM.format(name=name)}",
        )
    if not Path(file).is_file():
        raise InputError(f"there is no file {file}", f"teacher {spec!r} names it", SAVE_TIMM.format(name=name))
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch raises RuntimeError
        fix = "pip install timm torchvision (of the same build as torch), or name package.module:callable"
        raise MachineError(f"the teacher {spec} is not here", f"timm cannot be imported: {error}", fix) from None
    if not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}", fix=nearest(name, timm.list_models()))
    module = timm.create_model(
        name, pretrained=False, in_chans=io.inputs[0].shape[1], num_classes=io.outputs[0].shape[1]
    )
    load_weights(module, Path(file))
    licence = "not known to edgekd: the user's own weights"
    return module, {"teacher": f"timm:{name}", "sha256": sha256_file(Path(file)), "licence": licence}
