"""What an emitter is given, and what it says of the app that it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekd.bundle.open import Bundle
from edgekd.embedding.kinds import Kind


@dataclass(frozen=True)
class Plan:
    """The bundle, the parts of its kind, and the folder that an emitter fills; graphs and vectors are in it."""

    bundle: Bundle
    kind: Kind
    folder: Path
    samples: int


@dataclass(frozen=True)
class Emitted:
    """Command lines to be run in the app's folder, what it needs, and what its proof said here."""

    run: tuple[str, ...]
    needs: str
    verified: str
