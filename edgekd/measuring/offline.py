"""``offline``: how many samples a second the machine gets through when nobody waits for a single one.

The same shape for every runtime: sessions side by side, each called from a thread of its own (runtimes release
Python's lock while they compute), their threads together no more than were asked for; and several samples in one
call where the graph has a dynamic batch axis. Which arrangement is fastest is found by trying, in a process of its
own, and all workers then measure that one. Only inference counts: inputs are made before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.contracts import Array, Arrays, IoSpec, Session
from edgekd.measuring.measurement import Arrangement, ArrangementTrial, OfflineRun
from edgekd.measuring.protocol import CLOCK, Clock, Share

BATCHES = (1, 2, 4, 8, 16, 32)
GAIN = 1.02  # a more elaborate arrangement is taken only for so many times the throughput
SLICES = 10  # of the calls, for the variation and for ratios


def batch_axis(io: IoSpec) -> bool:
    """Whether the first axis of every input and output is one and the same name, and all of them are the caller's."""
    first = {spec.shape[0] if spec.shape else None for spec in (*io.inputs, *io.outputs)}
    return not io.state and not io.held and len(first) == 1 and isinstance(first.pop(), str)


def arrangements(threads: int, batchable: bool) -> list[Arrangement]:
    """What is worth trying with so many threads, the simplest first: one session of all threads, then two, four, ...
    and one for each thread; each in every batch size where there is a batch axis."""
    counts = sorted({1, threads, *(2**k for k in range(1, 16) if 2**k < threads)})
    batches = BATCHES if batchable else (1,)
    return [Arrangement(sessions=n, threads=threads // n, batch=b) for n in counts for b in batches]


def fastest(tried: Sequence[ArrangementTrial]) -> Arrangement:
    """The first one unless a later one is more than 2 % faster, and so on."""
    best = tried[0]
    for other in tried[1:]:
        if other.samples_per_second > GAIN * best.samples_per_second:
            best = other
    return best.arrangement


def batched(feeds: Sequence[Arrays], size: int) -> list[dict[str, Array]]:
    """The feeds, ``size`` after one another joined along their first axis; they go round where they do not divide."""
    if size == 1:
        return [dict(feed) for feed in feeds]
    calls = -(-len(feeds) // size)
    return [
        {name: np.concatenate([feeds[(call * size + k) % len(feeds)][name] for k in range(size)]) for name in feeds[0]}
        for call in range(calls)
    ]


@dataclass(frozen=True)
class Throughput:
    """``done_ns`` of every call since the start, in order; ``durations_ns`` of the same calls."""

    batch: int
    done_ns: tuple[int, ...]
    durations_ns: tuple[int, ...]

    @property
    def samples(self) -> int:
        return self.batch * len(self.done_ns)

    @property
    def samples_per_second(self) -> float:
        """Over the time to the last call's end, when the other sessions may be idle already: never too high."""
        return self.samples / (self.done_ns[-1] / 1e9)


class Crew:
    """Loaded sessions, each with a thread of its own and a place in the rotation of feeds."""

    def __init__(self, sessions: Sequence[Session], feeds: Sequence[Arrays], batch: int, stateful: bool) -> None:
        self.sessions, self._feeds, self._batch = sessions, batched(feeds, batch), batch
        self._stateful = stateful
        # A model with state sees the sequence from its beginning in every session; others begin apart.
        step = 0 if stateful else len(self._feeds) // len(sessions)
        self._places = [step * index for index in range(len(sessions))]

    def together(self, index: int, clock: Clock = CLOCK) -> int:
        """One call of every session at the same time; nanoseconds. For the warm-up."""
        start = clock()
        with ThreadPoolExecutor(len(self.sessions)) as pool:
            list(pool.map(self._call, range(len(self.sessions))))
        return clock() - start

    def measure(self, share: Share, clock: Clock = CLOCK) -> Throughput:
        """Every session called without gaps until all of them have reached ``share`` together.

        Raises:
            whatever a session raises, when all have stopped.
        """
        barrier = threading.Barrier(len(self.sessions) + 1)
        began: list[int] = []
        ended: list[list[tuple[int, int]]] = [[] for _ in self.sessions]
        stop = threading.Event()

        def work(number: int) -> None:
            barrier.wait()
            while not stop.is_set():
                before = clock()
                self._call(number)
                after = clock()
                ended[number].append((after, after - before))
                calls = sum(map(len, ended))
                if share.reached((after - began[0]) / 1e9, calls * self._batch):
                    stop.set()

        with ThreadPoolExecutor(len(self.sessions)) as pool:
            waiting = [pool.submit(_stopping(work, stop), number) for number in range(len(self.sessions))]
            began.append(clock())
            barrier.wait()
            try:
                for future in waiting:
                    future.result()
            finally:
                stop.set()
        calls = sorted(call for one in ended for call in one)
        return Throughput(
            self._batch, tuple(done - began[0] for done, _ in calls), tuple(duration for _, duration in calls)
        )

    def _call(self, number: int) -> None:
        place = self._places[number] % len(self._feeds)
        if self._stateful and place == 0:
            self.sessions[number].reset()
        self.sessions[number].run(self._feeds[place])
        self._places[number] += 1


def _stopping(work: Callable[[int], None], stop: threading.Event) -> Callable[[int], None]:
    """``work`` that ends the others' when it fails."""

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException:
            stop.set()
            raise

    return guarded


def slices_ns(run: OfflineRun) -> NDArray[np.int64]:
    """Nanoseconds for a thousand samples in each of ten slices of the calls; fewer calls make fewer slices."""
    done = np.asarray(run.done_us, dtype=np.int64)
    per_call = run.samples / len(done)
    edges = np.unique(np.linspace(0, len(done), min(SLICES, len(done)) + 1).round().astype(np.int64))
    times = np.concatenate([[0], done])[edges]
    samples = np.diff(edges) * per_call
    return np.rint(np.diff(times) * 1e6 / samples).astype(np.int64)


def offline_run(found: Throughput) -> OfflineRun:
    done_us = tuple((ns + 500) // 1000 for ns in found.done_ns)
    return OfflineRun(samples=found.samples, samples_per_second=found.samples_per_second, done_us=done_us)
