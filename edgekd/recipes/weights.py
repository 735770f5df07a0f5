"""Weights on disk: safetensors in, safetensors out, checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import InputError
from edgekd.storage import whole_file

if TYPE_CHECKING:
    from torch import nn


def save_weights(module: nn.Module, path: Path) -> None:
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    with whole_file(path) as temporary:
        temporary.write_bytes(save(state))  # a full disk is then an OSError; save_file has an error of its own


def load_weights(module: nn.Module, path: Path) -> None:
    """Loads every tensor, strictly.

    Raises:
        InputError: the file is no safetensors, its tensors are another model's, or one is NaN or infinite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:  # a type that torch has not
        raise InputError(f"cannot read the weights {path}", str(error)) from None
    own = module.state_dict()
    wrong = sorted(set(own) ^ set(state)) or [
        n for n in own if (own[n].shape, own[n].dtype) != (state[n].shape, state[n].dtype)
    ]
    if wrong:
        raise InputError(
            f"{path} holds another model's weights",
            f"{len(wrong)} tensors differ, the first is {wrong[0]}",
            "use the recipe and the config that it was trained with",
        )
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise InputError(f"{path} has NaN or infinity in {name}", "its training diverged", "distil again")
    module.load_state_dict(state)
