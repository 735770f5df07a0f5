"""A graph that holds what another one gave: prepared once, then asked for every frame.

Try-on's mirror: the garment's graph runs when the garment changes, the frame's for every picture of the camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekd.bundle.session import CarriedState, device_bytes
from edgekd.contracts import Array, Arrays, IoSpec, Session, TensorSpec
from edgekd.errors import InputError


@dataclass(frozen=True)
class Prepared:
    """What the graphs gave that do not run for every frame, by ``GRAPH/OUTPUT``. Keep it, and ``use`` it again.

    ``bundle`` is the sha256 of the bundle that made it, no other takes it.
    """

    bundle: str
    arrays: Mapping[str, Array]

    @property
    def size_bytes(self) -> int:
        return sum(value.nbytes for value in self.arrays.values())


class Live:
    """The session of a graph whose held inputs other graphs give.

    ``io`` is what it is fed and gives for every frame, ``prepared_from`` what it is prepared from.
    """

    def __init__(self, session: CarriedState, sources: Mapping[str, Session], bundle: str = "") -> None:
        self._session, self._sources, self._bundle = session, sources, bundle
        self.io = session.io
        specs = {t.name: t for source in sources.values() for t in source.io.inputs}
        self.prepared_from: tuple[TensorSpec, ...] = tuple(specs.values())

    @property
    def device_bytes(self) -> int | None:
        """Of all graphs that it takes, as their runtime counts."""
        return device_bytes(self._session, *self._sources.values())

    def prepare(self, feeds: Arrays) -> Prepared:
        """Runs the graphs whose outputs are held, once, and holds them.

        Args:
            feeds: what ``prepared_from`` names.

        Raises:
            InputError: other names, or arrays that do not fit.
        """
        wanted = sorted(t.name for t in self.prepared_from)
        if sorted(feeds) != wanted:
            raise InputError(f"it is prepared from {wanted}, not {sorted(feeds)}", "the names of the inputs differ")
        arrays = {
            f"{graph}/{name}": value
            for graph, source in self._sources.items()
            for name, value in source.run({t.name: feeds[t.name] for t in source.io.inputs}).items()
        }
        prepared = Prepared(self._bundle, arrays)
        self._session.hold(arrays)
        return prepared

    def use(self, prepared: Prepared) -> None:
        """Holds what ``prepare`` returned before; nothing is computed.

        Raises:
            InputError: another bundle prepared it: its weights, or its precision, are others.
        """
        if prepared.bundle != self._bundle:
            raise InputError(
                "this was prepared by another bundle",
                f"by {prepared.bundle[:12]}, and this one is {self._bundle[:12]}",
                "prepare it again with this bundle: session.prepare(feeds)",
            )
        self._session.hold(prepared.arrays)

    def complete(self, feeds: Arrays) -> dict[str, Array]:
        """All that the graph takes now (``CarriedState.complete``)."""
        return self._session.complete(feeds)

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """One frame. Raises InputError before anything is prepared."""
        return self._session.run(feeds)

    def clear_state(self) -> None:
        """A new sequence begins; what is prepared stays."""
        self._session.reset()

    def reset(self) -> None:
        """Forgets what is prepared, and clears state where there is any."""
        self._session.hold(None)
        self._session.reset()


class Held:
    """A live session that stays prepared: a new sequence forgets state alone."""

    def __init__(self, live: Live) -> None:
        self._live, self.io, self.run = live, live.io, live.run

    @property
    def device_bytes(self) -> int | None:
        return self._live.device_bytes

    def reset(self) -> None:
        self._live.clear_state()


class Whole:
    """One of several graphs, asked as ``main`` is: it takes its own of the feeds, and is prepared for every call.

    What gates, calibration and ``verify`` compare with ``main``.
    """

    def __init__(self, name: str, session: Session | Live) -> None:
        self.name, self._session, self.io = name, session, session.io
        self._own = tuple(t.name for t in session.io.inputs)

    def complete(self, feeds: Arrays) -> dict[str, Array]:
        """All that the graph takes."""
        own = self._prepared(feeds)
        return self._session.complete(own) if isinstance(self._session, Live) else own

    def run(self, feeds: Arrays) -> dict[str, Array]:
        return self._session.run(self._prepared(feeds))

    def reset(self) -> None:
        self._session.reset()

    def _prepared(self, feeds: Arrays) -> dict[str, Array]:
        if isinstance(self._session, Live):
            self._session.prepare({t.name: feeds[t.name] for t in self._session.prepared_from})
        return {name: feeds[name] for name in self._own}


def graphs_held(io: IoSpec) -> tuple[str, ...]:
    """Names of the graphs whose outputs a graph holds, each once."""
    return tuple(dict.fromkeys(source.partition("/")[0] for source in io.held.values()))


def live_of(name: str, sessions: Mapping[str, Session], bundle: str = "") -> Live:
    """The live session of one of several loaded graphs."""
    session = sessions[name]
    return Live(CarriedState(session), {source: sessions[source] for source in graphs_held(session.io)}, bundle)


def way_in_words(name: str, io: IoSpec) -> str:
    """How a graph that holds something is run: "garment, then frame"."""
    return f"{', '.join(graphs_held(io))}, then {name}"


def together(sessions: Mapping[str, Session]) -> dict[str, Whole]:
    """Every way to run loaded graphs but ``main``, in words ("garment, then frame"), each asked as ``main`` is."""
    return {
        way_in_words(name, session.io): Whole(name, live_of(name, sessions))
        for name, session in sessions.items()
        if session.io.held
    }
