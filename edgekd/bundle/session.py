"""What any runtime's session needs: that the graph is the one its io spec says, and state carried from call to call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from edgekd.contracts import Array, Arrays, Graph, IoSpec, Session, check_feeds
from edgekd.errors import InputError


def check_graph(graph: Graph, inputs: Mapping[str, tuple[str, Sequence[int | None]]], outputs: Collection[str]) -> None:
    """What a runtime loaded, against the io spec: a feed that fits the spec then fits the graph.

    Args:
        inputs: the loaded graph's, name -> (dtype, shape); None is an axis of any size.
        outputs: names that the loaded graph gives.

    Raises:
        InputError: they differ; the first difference is named.
    """
    problem = ""
    if strangers := sorted({t.name for t in graph.io.inputs} ^ inputs.keys()):
        problem = f"only one of them has the input {strangers[0]}"
    elif missing := sorted({t.name for t in graph.io.outputs} - set(outputs)):
        problem = f"the graph has no output {missing[0]}"
    else:
        for spec in graph.io.inputs:
            dtype, shape = inputs[spec.name]
            fits = len(shape) == len(spec.shape) and all(
                have is None or have == want for have, want in zip(shape, spec.shape, strict=True)
            )
            if dtype != spec.dtype or not fits:
                problem = f"{spec.name} is {dtype} {list(shape)} there and {spec.dtype} {list(spec.shape)} here"
                break
    if problem:
        raise InputError(f"{graph.path.name} is not the graph that its io spec says", problem, "export the run again")


def zero_state(io: IoSpec) -> dict[str, Array]:
    """What a sequence begins with, by input.

    Raises:
        InputError: state of no fixed size.
    """
    specs = [io.input(name) for name in io.state.values()]
    for spec in specs:
        if any(isinstance(axis, str) for axis in spec.shape):
            raise InputError(f"state {spec.name} has a dynamic shape {list(spec.shape)}", "it must be static")
    return {spec.name: np.zeros([int(axis) for axis in spec.shape], spec.dtype) for spec in specs}


def carried(session: Session) -> Session:
    """The session as its caller sees it: what the caller does not feed is filled in, where there is such a thing."""
    return CarriedState(session) if session.io.state or session.io.held else session


def device_bytes(*sessions: object) -> int | None:
    """What sessions take of their device's memory by their runtime's own count; None where one keeps none."""
    counted = [getattr(session, "device_bytes", None) for session in sessions]
    return None if None in counted else sum(int(count) for count in counted if count is not None)


class CarriedState:
    """Wraps a session some of whose inputs are not the caller's: state from its last call, and what is held.

    State begins as zeros. ``io`` shows only what the caller feeds and gets.
    """

    def __init__(self, session: Session) -> None:
        self._session, self.inner = session, session.io
        self.reset()
        self.io = self.inner.outer()
        self._held: dict[str, Array] | None = None if self.inner.held else {}

    def reset(self) -> None:
        """Clears state. What is held stays."""
        self._state = zero_state(self.inner)

    def hold(self, held: Mapping[str, Array] | None) -> None:
        """``GRAPH/OUTPUT`` -> array, for the inputs that the graph's io spec holds; None: nothing any more."""
        self._held = None if held is None else {sink: held[source] for sink, source in self.inner.held.items()}

    def complete(self, feeds: Arrays) -> dict[str, Array]:
        """All that the graph takes now, ``feeds`` being the caller's part.

        Raises:
            InputError: the feeds do not fit, or nothing is held yet.
        """
        ready = check_feeds(self.io, feeds)
        if self._held is None:
            raise InputError(
                "nothing is prepared",
                f"{', '.join(self.inner.held)} are outputs of another graph, which did not run yet",
                "session.prepare(feeds) once, then session.run(feeds) for every frame",
            )
        return {**ready, **self._held, **self._state}

    @property
    def device_bytes(self) -> int | None:
        """As the runtime's session counts (``device_bytes``)."""
        return device_bytes(self._session)

    def run(self, feeds: Arrays) -> dict[str, Array]:
        outputs = self._session.run(self.complete(feeds))
        self._state = {sink: _own(outputs.pop(source), feeds) for source, sink in self.inner.state.items()}
        return outputs


def _own(value: Array, feeds: Arrays) -> Array:
    """A module may hand a feed through as it is, and that array is the caller's to change."""
    return value.copy() if any(np.may_share_memory(value, feed) for feed in feeds.values()) else value
