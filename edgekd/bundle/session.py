"""State carried from call to call, for any runtime."""

from __future__ import annotations

import numpy as np

from edgekd.contracts import Array, Arrays, IoSpec, Session, check_feeds
from edgekd.errors import InputError


def zero_state(io: IoSpec) -> dict[str, Array]:
    """What a sequence begins with, by input."""
    specs = [io.input(name) for name in io.state.values()]
    return {spec.name: np.zeros([int(axis) for axis in spec.shape], spec.dtype) for spec in specs}


class CarriedState:
    """Wraps a session whose io spec has state: its outputs feed its inputs on the next call.

    State begins as zeros. ``io`` shows only what the caller feeds.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sinks = session.io.state
        held = set(self._sinks.values())
        for spec in session.io.inputs:
            if spec.name in held and any(isinstance(axis, str) for axis in spec.shape):
                raise InputError(f"state {spec.name} has a dynamic shape {list(spec.shape)}", "it must be static")
        self.io = IoSpec(inputs=tuple(t for t in session.io.inputs if t.name not in held), outputs=session.io.outputs)
        self.reset()

    def reset(self) -> None:
        self._state = zero_state(self._session.io)

    def run(self, feeds: Arrays) -> dict[str, Array]:
        outputs = self._session.run({**check_feeds(self.io, feeds), **self._state})
        self._state = {sink: outputs[source].copy() for source, sink in self._sinks.items()}  # outputs are the caller's
        return outputs
