"""Blocks that have several exact forms, and how a profile chooses among them.

What a runtime runs fast is a property of the runtime: the same correlation is 49 products of shifted maps for one
and a batched matrix product for another. A model is written once, with the plain form; a profile's ``[lowerings]``
names the form that its target gets. Every form of a block gives the same numbers and uses the same weights.
"""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from edgekd.errors import InputError, nearest

OPS: dict[str, tuple[str, ...]] = {}
"""What can be lowered: op -> its forms, the plain one first. Filled as the blocks' modules are imported."""


class Lowerable(nn.Module):
    """A block with more than one exact form; ``forward`` takes the one that ``form`` names.

    A subclass says its ``op`` (the key in a profile's ``[lowerings]``) and its ``FORMS``, of which the first is the
    plain one: a model is trained and its canonical graph is written with it.
    """

    op: ClassVar[str]
    FORMS: ClassVar[tuple[str, ...]]
    form: str

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if OPS.setdefault(cls.op, cls.FORMS) != cls.FORMS:
            raise TypeError(f"{cls.__name__}: op {cls.op!r} has the forms {OPS[cls.op]}, not {cls.FORMS}")
        cls.form = cls.FORMS[0]

    def take(self, form: str) -> None:
        """Makes ``form`` the one that runs; a block whose form has derived weights derives them here."""
        self.form = form


def lower(module: nn.Module, lowerings: Mapping[str, str]) -> nn.Module:
    """A copy of ``module`` whose blocks take the forms that ``lowerings`` (op -> form) names.

    An op that no block of this module has is fine: a profile serves many models.

    Raises:
        InputError: edgekd knows no such op or form.
    """
    ops = known_ops()
    for op, form in lowerings.items():
        if op not in ops:
            raise InputError(f"[lowerings]: there is no op {op!r}", fix=nearest(op, ops))
        if form not in ops[op]:
            raise InputError(f"[lowerings]: {op} has no form {form!r}", fix=nearest(form, ops[op]))
    lowered = copy.deepcopy(module)
    for block in lowered.modules():
        if isinstance(block, Lowerable):
            block.take(lowerings.get(block.op, block.form))
    return lowered


def constant(values: np.ndarray, beside: torch.Tensor) -> torch.Tensor:
    """A fixed table of a form: integers as int32 indices, others in the type of ``beside``.

    It is made in that type by numpy: a cast of a constant in the graph stops NNCF.
    """
    kind = "int32" if np.issubdtype(values.dtype, np.integer) else str(beside.dtype).removeprefix("torch.")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=kind)).to(beside.device)


def known_ops() -> dict[str, tuple[str, ...]]:
    """All that edgekd itself and the models imported so far can lower, whether or not a model at hand uses it."""
    package = importlib.import_module("edgekd.nn")
    for found in pkgutil.iter_modules(package.__path__, "edgekd.nn."):
        importlib.import_module(found.name)
    return OPS
