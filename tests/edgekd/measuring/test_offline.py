from __future__ import annotations

import threading

import numpy as np
import pytest

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.measuring.measurement import Arrangement, ArrangementTrial, OfflineRun
from edgekd.measuring.offline import Crew, arrangements, batch_axis, batched, fastest, offline_run, slices_ns
from edgekd.measuring.protocol import Share

FEEDS = [{"x": np.full((1, 2), i, np.float32)} for i in range(5)]


class Recorder:
    """Keeps what it was fed, with a note of each reset."""

    def __init__(self):
        self.seen, self.threads = [], set()

    def run(self, feeds):
        self.threads.add(threading.get_ident())
        self.seen.append([float(v) for v in feeds["x"][:, 0]])
        return {}

    def reset(self):
        self.seen.append("reset")


def spec(shape_in, shape_out):
    return IoSpec(
        inputs=(TensorSpec(name="x", shape=shape_in),),
        outputs=(TensorSpec(name="y", shape=shape_out),),
    )


def test_a_batch_axis_is_one_name_on_every_first_axis_and_no_state():
    assert batch_axis(spec(("batch", 3), ("batch", 7)))
    assert not batch_axis(spec((1, 3), (1, 7)))
    assert not batch_axis(spec(("rows", 3), (1, 7)))
    assert not batch_axis(spec(("rows", 3), ("boxes", 7)))
    stateful = IoSpec(
        inputs=(TensorSpec(name="x", shape=("batch", 3)),),
        outputs=(TensorSpec(name="y", shape=("batch", 3)), TensorSpec(name="z", shape=("batch", 3))),
        state={"y": "x"},
    )
    assert not batch_axis(stateful)
    assert not batch_axis(spec((), ()))


def test_arrangements_never_use_more_threads_than_were_asked_for():
    for threads in (1, 2, 6, 16):
        tried = arrangements(threads, batchable=False)
        assert all(a.sessions * a.threads <= threads for a in tried)
        assert (tried[0].sessions, tried[0].threads) == (1, threads)
        assert (tried[-1].sessions, tried[-1].threads) == (threads, 1)
        assert len(set(map(str, tried))) == len(tried)
    assert {a.batch for a in arrangements(2, batchable=False)} == {1}
    assert {a.batch for a in arrangements(2, batchable=True)} == {1, 2, 4, 8, 16, 32}


def test_a_more_elaborate_arrangement_must_gain_more_than_noise():
    plain, elaborate = (Arrangement(sessions=n, threads=2 // n, batch=1) for n in (1, 2))

    def chosen(rate):
        return fastest(
            [
                ArrangementTrial(arrangement=plain, samples_per_second=100),
                ArrangementTrial(arrangement=elaborate, samples_per_second=rate),
            ]
        )

    assert chosen(101) == plain
    assert chosen(103) == elaborate


def test_batches_hold_the_samples_in_order_and_go_round():
    calls = batched(FEEDS, 4)
    assert [call["x"][:, 0].tolist() for call in calls] == [[0, 1, 2, 3], [4, 0, 1, 2]]
    assert len(batched(FEEDS, 1)) == 5


def test_every_session_has_its_own_thread_and_all_calls_are_counted():
    sessions = [Recorder(), Recorder()]
    found = Crew(sessions, FEEDS, batch=2, stateful=False).measure(Share(0.05, 40, "both"))
    calls = sum(len(session.seen) for session in sessions)
    assert found.samples == 2 * calls >= 40
    assert len(found.done_ns) == len(found.durations_ns) == calls
    assert list(found.done_ns) == sorted(found.done_ns)
    assert found.samples_per_second == pytest.approx(found.samples / (found.done_ns[-1] / 1e9))
    assert sessions[0].threads.isdisjoint(sessions[1].threads)
    assert all(len(session.threads) == 1 for session in sessions)


def test_every_session_of_a_stateful_model_sees_the_sequence_from_its_beginning():
    sessions = [Recorder(), Recorder()]
    Crew(sessions, FEEDS, batch=1, stateful=True).measure(Share(0, 30, "both"))
    for session in sessions:
        if session.seen:
            wanted = (["reset", [0.0], [1.0], [2.0], [3.0], [4.0]] * len(session.seen))[: len(session.seen)]
            assert session.seen == wanted


def test_a_session_that_fails_ends_the_others_and_is_not_hidden():
    class Broken(Recorder):
        def run(self, feeds):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Crew([Recorder(), Broken()], FEEDS, 1, False).measure(Share(3600, 1, "both"))


def test_slices_give_the_time_per_sample_and_show_a_slow_part():
    steady = OfflineRun(samples=200, samples_per_second=1000, done_us=tuple(range(2000, 202_000, 2000)))
    assert slices_ns(steady).tolist() == [1_000_000_000] * 10  # 1 ms for a sample, a thousand of them
    slow = OfflineRun(
        samples=20, samples_per_second=1, done_us=(*range(1000, 11_000, 1000), *range(12_000, 32_000, 2000))
    )
    assert np.unique(slices_ns(slow)).tolist() == [1_000_000_000, 2_000_000_000]
    assert len(slices_ns(OfflineRun(samples=3, samples_per_second=1, done_us=(5, 9, 12)))) == 3


def test_throughput_can_be_computed_again_from_the_raw_times():
    run = offline_run(Crew([Recorder()], FEEDS, 1, False).measure(Share(0.02, 50, "both")))
    assert run.samples / (run.done_us[-1] / 1e6) == pytest.approx(run.samples_per_second, rel=0.01)
