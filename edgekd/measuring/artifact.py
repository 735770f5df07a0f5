"""What the bench asks of what it measures. ``edgekd.bundle.artifact`` has the one for bundles and runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from edgekd.contracts import Arrays, IoSpec, Placement, Session
from edgekd.errors import InputError

DEFAULT_OPENER = "edgekd.bundle.artifact:open_artifact"


class SpanPipeline(Protocol):
    """The two ends of a recipe's pipeline that are timed (``edgekd.recipes.contract.Pipeline``)."""

    def preprocess(self, raw: Arrays) -> dict[str, Any]: ...

    def postprocess(self, outputs: Arrays, raw: Arrays) -> dict[str, Any]: ...


class Artifact(Protocol):
    """One opened bundle, or one run on the reference target, before anything of its runtime is imported."""

    @property
    def name(self) -> str: ...

    @property
    def target(self) -> str: ...

    @property
    def profile(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def sha256(self) -> str:
        """Of the bundle's manifest, or of the run's weights."""

    @property
    def graph_name(self) -> str:
        """``main``, or that of a bundle's graph which holds what others give."""

    @property
    def graphs_bytes(self) -> Mapping[str, int]:
        """Of the files of each graph that is loaded, by its name."""

    @property
    def size_bytes(self) -> int:
        """Of the files that the runtime loads."""

    @property
    def parameters_bytes(self) -> int:
        """Parameters and buffers, as stored."""

    @property
    def io(self) -> IoSpec:
        """With its state, where there is one."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The runtime options it is loaded with, threads among them."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Packages that decide how fast it runs, with versions."""

    def import_runtime(self) -> None:
        """Imports the runtime's packages and nothing else, so that import and load are timed apart."""

    def load(self) -> Session:
        """A freshly loaded session. Raises MachineError where this machine cannot."""

    def pipeline(self) -> SpanPipeline | None:
        """None for a foreign model, whose inputs are its feeds."""

    def inputs(self) -> Sequence[Arrays]:
        """At least one representative raw sample; for a model with state the frames of one sequence."""

    def placement(self) -> Placement: ...

    def layers(self, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
        """(node, kernel, mean ms) of a session of its own (``edgekd.contracts.Runtime.profile_layers``)."""


class Opener(Protocol):
    """What the JSON spec of a worker names as ``package.module:function``."""

    def __call__(self, path: str, profile: str | None, threads: int | None) -> Artifact: ...


def import_opener(name: str) -> Opener:
    """Raises InputError where ``name`` is no importable ``package.module:function``."""
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise InputError(f"{name!r} names no opener", "it is written package.module:function")
    try:
        return cast(Opener, getattr(importlib.import_module(module), function))
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            raise  # the opener is there, something that it needs is not
        raise InputError(f"there is no opener {name!r}", str(error)) from None
    except AttributeError:
        raise InputError(f"there is no opener {name!r}", f"{module} has no {function}") from None
