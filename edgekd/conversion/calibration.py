"""Calibration feeds: from training data only, hashed, streamed one sample at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Protocol

from edgekd.bundle.sequences import InOrder
from edgekd.contracts import Array, Arrays, Session
from edgekd.errors import InputError
from edgekd.recipes.contract import Pipeline
from edgekd.run import Run
from edgekd.storage import row, sha256_arrays


class Filled(Session, Protocol):
    """A session that can say what it feeds its graph: state and what is held too."""

    def complete(self, feeds: Arrays) -> dict[str, Array]: ...


class RunCalibration:
    """The run's raw training samples, pre-processed as on the device.

    Raises:
        InputError: a calibration sample is also a held-out one: the gates would judge what they were fitted on.
    """

    def __init__(self, run: Run, pipeline: Pipeline) -> None:
        self._raw, self._pipeline = run.calibration(), pipeline
        self._session: Filled | None = None
        self.sha256 = sha256_arrays(self._raw)
        held = {_fingerprint(raw) for raw in run.heldout().raws()}
        shared = [i for i in range(len(self)) if _fingerprint(row(self._raw, i)) in held]
        if shared:
            raise InputError(
                f"{run.path / 'calibration.npz'}: {len(shared)} of {len(self)} samples are held-out samples",
                "int8 would be judged on what it was calibrated on",
                "distil again; calibration takes training data only",
            )

    def __len__(self) -> int:
        return len(next(iter(self._raw.values())))

    def __iter__(self) -> Iterator[dict[str, Array]]:
        raws = (row(self._raw, index) for index in range(len(self)))
        if self._session is None:
            yield from map(self._pipeline.preprocess, raws)
            return
        ordered = InOrder(self._session, self._pipeline)
        for raw in raws:
            feeds = ordered.feeds(raw)
            yield self._session.complete(feeds)
            self._session.run(feeds)

    def filled(self, session: Filled) -> RunCalibration:
        """The same samples for a graph that takes more, or less, than a pipeline makes: what ``session`` feeds it."""
        made = copy.copy(self)
        made._session = session
        return made


def _fingerprint(raw: dict[str, Array]) -> str:
    """Over what was seen, not how it was framed: the largest array, which is the picture."""
    name = max(raw, key=lambda n: raw[n].nbytes)
    return sha256_arrays({name: raw[name]})
