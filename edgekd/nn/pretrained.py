"""Starting a module from somebody else's weights: tensors are matched by order and shape, not by name.

Files of one architecture agree on the order of their layers and hardly ever on the names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.errors import InputError

_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def load_in_order(module: nn.Module, source: str | Path) -> dict[str, Any]:
    """Fills every tensor of ``module`` from a weights file, in order.

    Linear layers of the file (2-D weights and their biases) are its head and are left out, so ``module`` is a
    convolutional trunk; ``num_batches_tracked`` may be there or not.

    Args:
        source: a ``.safetensors`` or ``.pt`` file (a plain state dict, read with ``weights_only=True``), or
            ``package:NAME/PATH`` for a file inside an installed package, which is found but not imported.

    Returns:
        Provenance: ``source``, ``file``, ``sha256``, ``size_bytes``, ``tensors`` (how many were loaded), and
        for a package ``package``, ``version`` and ``license``.

    Raises:
        InputError: no such file or package, not a state dict, other tensors than ``module``'s, or weights
            that are not finite. ``module`` is then unchanged.
    """
    text = str(source)
    path, origin = _locate(text)
    tensors = _without_heads(_read(path))
    wanted = {name: t for name, t in module.state_dict().items() if t.is_floating_point()}
    _check(text, wanted, tensors)
    values = [value for _, value in tensors]
    module.load_state_dict(dict(zip(wanted, values, strict=True)) | _tracked(module))
    return {
        "source": text,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "size_bytes": path.stat().st_size,
        "tensors": len(values),
    } | origin


def _tracked(module: nn.Module) -> dict[str, torch.Tensor]:
    """The module's own batch counters: only a cumulative average (momentum None) would read them."""
    return {name: t for name, t in module.state_dict().items() if not t.is_floating_point()}


def _locate(source: str) -> tuple[Path, dict[str, str]]:
    if not source.startswith("package:"):
        path = Path(source)
        if not path.is_file():
            raise InputError(f"{source} is not a file", "weights to start from are a .pt or .safetensors file")
        return path, {}

    import importlib.util

    package, _, inner = source.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() and inner else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{source}: no package {package!r} with a file {inner!r} is installed",
            "package:NAME/PATH names a file inside an installed package",
            f"pip install --no-deps {package.replace('_', '-')}",
        )
    for folder in spec.submodule_search_locations:
        path = Path(folder, inner)
        if path.is_file() and path.resolve().is_relative_to(Path(folder).resolve()):
            return path, {"package": package} | _distribution(package)
    raise InputError(f"{source}: package {package} has no file {inner}", fix=f"pip show --files {package}")


def _distribution(package: str) -> dict[str, str]:
    """Version and licence as the package itself declares them."""
    from importlib import metadata

    names = metadata.packages_distributions().get(package, [])
    if not names:
        return {}
    declared, prefix = metadata.metadata(names[0]), "License :: OSI Approved :: "
    licences = declared.get_all("License-Expression") or [
        entry.removeprefix(prefix) for entry in declared.get_all("Classifier") or [] if entry.startswith(prefix)
    ]
    licences = licences or declared.get_all("License") or ["undeclared"]
    return {"version": metadata.version(names[0]), "license": ", ".join(licences)}


def _read(path: Path) -> list[tuple[str, torch.Tensor]]:
    """Named tensors in the order in which the network computes with them."""
    fix = 'save a plain state dict: torch.save(model.state_dict(), "trunk.pt")'
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            # A safetensors file is laid out by type and name, not by layer.
            return sorted(load_file(path).items(), key=lambda item: _layer_order(item[0]))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own many ways to say that it is broken
        # torch goes on to advise weights_only=False, which would run whatever the file says.
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"{path} cannot be read as weights", f"{type(error).__name__}: {reason}", fix) from error
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided
        for name, value in content.items()
    ):
        raise InputError(f"{path} holds no state dict", f"it holds a {type(content).__name__}", fix)
    return list(content.items())


def _layer_order(name: str) -> tuple[list[tuple[int, str]], int]:
    """Sorts layer 10 after layer 9, and a layer's weight, bias, mean and variance as torch does."""
    layer, _, leaf = name.rpartition(".")
    parts = [(int(part), "") if part.isdigit() else (-1, part) for part in layer.split(".")]
    return parts, _LEAVES.index(leaf) if leaf in _LEAVES else len(_LEAVES)


def _without_heads(tensors: Iterable[tuple[str, torch.Tensor]]) -> list[tuple[str, torch.Tensor]]:
    named = [(name, value) for name, value in tensors if value.is_floating_point()]  # counters are integers
    heads = {name.rpartition(".")[0] for name, value in named if value.dim() == 2}
    return [(name, value) for name, value in named if name.rpartition(".")[0] not in heads]


def _check(source: str, wanted: Mapping[str, torch.Tensor], have: list[tuple[str, torch.Tensor]]) -> None:
    fix = "name a file of the same architecture and width"
    for (name, want), (theirs, value) in zip(wanted.items(), have, strict=False):
        if want.shape != value.shape:
            why = f"{theirs} is {list(value.shape)} where {name} is {list(want.shape)}"
            raise InputError(f"{source} does not fit this network", why, fix)
        if not torch.isfinite(value).all():
            raise InputError(f"{source} holds weights that are not finite", f"{theirs} has NaN or infinity")
    if len(wanted) != len(have):
        why = f"it has {len(have)} tensors where the network has {len(wanted)}"
        raise InputError(f"{source} does not fit this network", why, fix)
