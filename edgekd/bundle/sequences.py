"""Samples one after another through a pipeline and a session. Where a sequence begins, state is cleared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgekd.contracts import Array, Arrays, Session
from edgekd.recipes.contract import Pipeline, Sequences


def begins(pipeline: Pipeline, raw: Arrays, before: Arrays | None) -> bool:
    """Whether ``raw`` is the first sample of a sequence, ``before`` being the one before it."""
    return before is None or (isinstance(pipeline, Sequences) and pipeline.restarts(raw, before))


def first_sequence(pipeline: Pipeline, raws: Iterable[Arrays]) -> Iterator[Arrays]:
    """The samples up to where a second sequence begins."""
    before: Arrays | None = None
    for raw in raws:
        if before is not None and begins(pipeline, raw, before):
            return
        before = raw
        yield raw


class InOrder:
    """What a session says about samples in their order, as an app would ask it."""

    def __init__(self, session: Session, pipeline: Pipeline) -> None:
        """``session`` carries its own state (``edgekd.bundle.session.carried``)."""
        self._session, self._pipeline = session, pipeline
        self._before: Arrays | None = None

    def feeds(self, raw: Arrays) -> dict[str, Any]:
        """The next sample as the session takes it, which then stands where that sample's sequence does."""
        if begins(self._pipeline, raw, self._before):
            self._session.reset()
        self._before = raw
        return self._pipeline.preprocess(raw)

    def outputs(self, raw: Arrays) -> dict[str, Array]:
        return self._session.run(self.feeds(raw))

    def predict(self, raw: Arrays) -> dict[str, Any]:
        return self._pipeline.postprocess(self.outputs(raw), raw)
