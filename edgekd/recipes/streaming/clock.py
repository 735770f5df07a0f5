"""Streaming perception against a clock (A7): what a detector that takes time has said when the world has moved on.

The camera plays at its rate. The detector takes the newest frame whenever it is free, so frames that arrive while it
is busy are never seen; the boxes of the newest output whose time has come stand for the world at each frame's time.
Times are in frames.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from edgekd.contracts import Arrays

_SLACK = 1e-9  # frames: an output at the very time of a frame is in time


@dataclass(frozen=True)
class Schedule:
    """Which samples are seen, and what is compared with what.

    Attributes:
        seen: numbers of the samples that the detector takes, run by run.
        pairs: per true picture: the sample that it belongs to, whether it is that sample's next frame (or its own),
            and the position among all that are seen of the output that stands for it; -1: none yet.
    """

    seen: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[int, bool, int], ...]


def runs(truths: Sequence[Arrays]) -> list[range]:
    """Samples that follow each other without a gap: same ``sequence``, ``frame`` one more each."""
    starts = [
        k
        for k, truth in enumerate(truths)
        if not k or truth["sequence"] != truths[k - 1]["sequence"] or truth["frame"] != truths[k - 1]["frame"] + 1
    ]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(truths)], strict=True)]


def streaming(truths: Sequence[Arrays], latencies_ms: Sequence[float], seed: int = 0) -> Schedule:
    """The streaming protocol.

    Args:
        truths: of samples in order, with ``sequence``, ``frame`` and ``fps``.
        latencies_ms: from taking a frame to its output: one is constant, of several one is drawn for each frame.
        seed: of that draw.
    """
    rng, seen, pairs, count = np.random.default_rng(seed), [], [], 0
    for run in runs(truths):
        fps = float(truths[run.start]["fps"])
        outputs: list[tuple[float, int]] = []  # time, position
        taken: list[int] = []
        now, last = 0.0, -1
        while (frame := int(now + _SLACK)) < len(run):
            if frame == last:
                now = frame + 1.0
                continue
            last = frame
            now = max(now, frame) + float(rng.choice(latencies_ms)) * fps / 1000.0
            outputs.append((now, count + len(taken)))
            taken.append(run[frame])
        seen.append(tuple(taken))
        count += len(taken)
        pairs += [(*place, _newest(outputs, time)) for time, place in enumerate(_pictures(run))]
    return Schedule(tuple(seen), tuple(pairs))


def offline(truths: Sequence[Arrays], authors: bool) -> Schedule:
    """Every frame is seen, and its boxes are compared with the next frame's; a run's first frame has none.

    Args:
        authors: as their evaluator does: what is seen in a sequence's first frame is never handed in, so that its
            second frame has no boxes either (A7).
    """
    pairs = []
    for run in runs(truths):
        for time, place in enumerate(_pictures(run)):
            pairs.append((*place, run[time - 1] if time > int(authors) else -1))
    return Schedule(tuple(map(tuple, runs(truths))), tuple(pairs))


def _pictures(run: range) -> Iterator[tuple[int, bool]]:
    """A run's true pictures: its samples' own, then the one after the last."""
    yield from ((k, False) for k in run)
    yield run[-1], True


def _newest(outputs: Sequence[tuple[float, int]], time: float) -> int:
    """One detector works on one frame at a time, so outputs are in order of their times, too."""
    ready = bisect_right(outputs, time + _SLACK, key=itemgetter(0))
    return outputs[ready - 1][1] if ready else -1
