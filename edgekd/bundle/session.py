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
        io = self._session.io
        self._state: dict[str, Array] = {}
        for name in self._sinks.values():
            spec = io.input(name)
            self._state[name] = np.zeros([int(axis) for axis in spec.shape], spec.dtype)

    def run(self, feeds: Arrays) -> dict[str, Array]:
        outputs = self._session.run({**check_feeds(self.io, feeds), **self._state})
        self._state = {sink: outputs[source].copy() for source, sink in self._sinks.items()}  # outputs are the caller's
        return outputs
