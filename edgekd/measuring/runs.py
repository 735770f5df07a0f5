"""One sample through pipeline and session, with the time of every span."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from edgekd.contracts import Arrays, Session
from edgekd.measuring.artifact import SpanPipeline
from edgekd.measuring.inputs import Rotation
from edgekd.measuring.measurement import Span
from edgekd.measuring.protocol import CLOCK


class Run:
    """Runs sample number i through pipeline and session. Returns nanoseconds end to end; keeps spans if told.

    ``Session.run`` hands out numpy arrays, so it returns only when the device is done: no further
    synchronisation is needed before the clock is read.
    """

    def __init__(self, session: Session, pipeline: SpanPipeline | None, samples: Rotation, stateful: bool) -> None:
        self._session, self._samples, self._stateful = session, samples.samples, stateful
        self._once: Callable[[Arrays], tuple[int, int, int]] = (
            _through_pipeline(session, pipeline) if pipeline else _bare(session)
        )
        self._spans: tuple[Span, ...] = ("pre", "infer", "post", "end-to-end") if pipeline else ("infer",)
        self._kept: dict[Span, array[int]] | None = None
        self._before = -1

    def __call__(self, index: int) -> int:
        lap, place = divmod(index, len(self._samples))
        # The sequence begins again: also where its first frame was dropped.
        if self._stateful and (index <= self._before or lap != self._before // len(self._samples)):
            self._session.reset()
        self._before = index
        pre, infer, post = self._once(self._samples[place])
        total = pre + infer + post
        if self._kept is not None:
            durations = {"pre": pre, "infer": infer, "post": post, "end-to-end": total}
            for span, kept in self._kept.items():
                kept.append(durations[span])
        return total

    def keep(self) -> None:
        """From now on, what was kept before is forgotten."""
        self._kept = {span: array("q") for span in self._spans}

    def samples_us(self) -> dict[Span, tuple[int, ...]]:
        """Whole microseconds."""
        return {span: microseconds(durations) for span, durations in (self._kept or {}).items()}


def microseconds(durations_ns: array[int] | tuple[int, ...]) -> tuple[int, ...]:
    """Rounded to whole ones."""
    return tuple((ns + 500) // 1000 for ns in durations_ns)


def _through_pipeline(session: Session, pipeline: SpanPipeline) -> Callable[[Arrays], tuple[int, int, int]]:
    def once(raw: Arrays) -> tuple[int, int, int]:
        start = CLOCK()
        feeds = pipeline.preprocess(raw)
        fed = CLOCK()
        outputs = session.run(feeds)
        inferred = CLOCK()
        pipeline.postprocess(outputs, raw)
        return fed - start, inferred - fed, CLOCK() - inferred

    return once


def _bare(session: Session) -> Callable[[Arrays], tuple[int, int, int]]:
    def once(feeds: Arrays) -> tuple[int, int, int]:
        start = CLOCK()
        session.run(feeds)
        return 0, CLOCK() - start, 0

    return once
