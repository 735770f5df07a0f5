"""edgekd: distil a big teacher into a compact student, put it on real devices, prove every step.

Verbs are functions, imported when they are first used, so that opening a bundle on a device drags in
neither torch nor a trainer::

    import edgekd

    bundle = edgekd.open("bundles/lm-openvino")
    prediction = bundle.predict({"image": pixels})
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "bench": "edgekd.measuring.bench",
    "distill": "edgekd.training.distill",
    "embed": "edgekd.embedding.embed",
    "evaluate": "edgekd.measuring.quality",
    "export": "edgekd.conversion.export",
    "inspect": "edgekd.bundle.inspect",
    "open": "edgekd.bundle.open",
    "pack": "edgekd.bundle.archive",
    "predict": "edgekd.bundle.predict",
    "report": "edgekd.reporting.report",
    "unpack": "edgekd.bundle.archive",
    "verify": "edgekd.bundle.verify",
}
__all__ = [  # noqa: PLE0604, RUF100 - the verbs are attributes by __getattr__
    "__version__",
    *_VERBS,
]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        value = getattr(importlib.import_module(_VERBS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'edgekd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
