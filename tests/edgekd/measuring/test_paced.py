"""A camera whose clock is ours: time passes only while a frame is looked at or waited for."""

from __future__ import annotations

import pytest

from edgekd.measuring.measurement import Trial
from edgekd.measuring.paced import MISSES_ALLOWED, highest_rate, pace
from edgekd.measuring.protocol import Share

MS = 1_000_000


class FakeCamera:
    """``service_ms(i)`` is how long frame i is looked at; a sleep ends ``overslept_ms`` too late."""

    def __init__(self, service_ms, overslept_ms=0.0):
        self.now_ns, self.seen = 1_000, []
        self._service_ms, self._overslept_ms = service_ms, overslept_ms

    def run(self, frame):
        self.seen.append(frame)
        self.now_ns += round(self._service_ms(frame) * MS)

    def clock(self):
        return self.now_ns

    def sleep(self, seconds):
        assert seconds > 0
        self.now_ns += round((seconds * 1e3 + self._overslept_ms) * MS)


def paced(service_ms, fps, frames, **camera):
    fake = FakeCamera(service_ms, **camera)
    return pace(fake.run, fps, Share(0, frames, "both"), fake.clock, fake.sleep), fake


def test_what_keeps_up_sees_every_frame_and_latency_is_its_own():
    found, fake = paced(lambda i: 5, fps=100, frames=50)
    assert fake.seen == list(range(50)) == list(found.processed)
    assert set(found.from_arrival_ns) == {5 * MS}
    assert (found.frames, found.late, found.dropped) == (50, 0, 0)
    assert found.elapsed_s == pytest.approx(0.495)


def test_while_one_frame_is_looked_at_the_newest_that_came_replaces_the_others():
    """35 ms at 100 frames/s: 1 and 2 are replaced by 3, which then has waited 5 ms."""
    found, _ = paced(lambda i: 35, fps=100, frames=12)
    assert found.processed == (0, 3, 7, 10, 11)
    assert [ns // MS for ns in found.from_arrival_ns] == [35, 40, 35, 40, 65]
    assert found.dropped == 12 - 5
    assert found.late == 5


def test_one_slow_frame_makes_itself_late_and_those_behind_it_stale():
    found, _ = paced(lambda i: 32 if i == 10 else 2, fps=100, frames=40)
    assert set(range(40)) - set(found.processed) == {11, 12}
    assert [frame for frame, ns in zip(found.processed, found.from_arrival_ns, strict=True) if ns > 10 * MS] == [10]
    assert found.trial == Trial(fps=100, frames=40, late=1, dropped=2)
    assert found.trial.missed_share == 3 / 40


def test_latency_counts_from_the_scheduled_arrival_so_waking_late_is_in_it():
    found, _ = paced(lambda i: 5, fps=100, frames=20, overslept_ms=1.5)
    assert found.from_arrival_ns[0] == 5 * MS
    assert set(found.from_arrival_ns[1:]) == {round(6.5 * MS)}


def test_a_result_at_the_deadline_is_in_time():
    assert paced(lambda i: 10, fps=100, frames=20)[0].late == 0
    assert paced(lambda i: 10.01, fps=100, frames=20)[0].late > 0


def test_the_share_counts_frames_that_were_due_not_those_that_were_seen():
    found, _ = paced(lambda i: 1000, fps=100, frames=64)
    assert found.frames == 64
    assert found.processed == (0, 63)


@pytest.mark.parametrize("capacity", [3.7, 48.0, 1234.5])
def test_the_search_ends_at_the_highest_rung_that_holds(capacity):
    def trial(fps):
        return Trial(fps=fps, frames=200, late=0 if fps <= capacity else 3, dropped=0)

    found, trials = highest_rate(trial, service_ns=1e9 / (capacity * 1.3))
    assert found is not None
    assert found <= capacity < found * 2 ** (1 / 24)
    assert len(trials) <= 7
    assert [t.fps for t in trials] == [t.fps for t in highest_rate(trial, 1e9 / (capacity * 1.3))[1]]


def test_one_percent_of_misses_holds_and_more_does_not():
    assert highest_rate(lambda fps: Trial(fps=fps, frames=100, late=1, dropped=0), 1e7)[0] == pytest.approx(
        100, rel=0.03
    )
    assert MISSES_ALLOWED == 0.01
    found, trials = highest_rate(lambda fps: Trial(fps=fps, frames=100, late=1, dropped=1), 1e7)
    assert found is None
    assert len(trials) == 1
    assert trials[0].fps == pytest.approx(25, rel=0.03)
