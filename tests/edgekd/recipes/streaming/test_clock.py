from __future__ import annotations

import numpy as np
import pytest

from edgekd.recipes.streaming.clock import offline, runs, streaming


def truths(*lengths, fps=30.0):
    return [
        {"sequence": np.asarray(s), "frame": np.asarray(k), "fps": np.asarray(fps)}
        for s, length in enumerate(lengths)
        for k in range(length)
    ]


def stands_for(schedule):
    """Per true picture the number of the sample whose output stands for it; None: none yet."""
    seen = [k for run in schedule.seen for k in run]
    return [seen[position] if position >= 0 else None for _, _, position in schedule.pairs]


FRAME = 1000 / 30


def test_within_a_frames_time_each_forecast_stands_for_the_next_frame_and_the_first_frame_has_none():
    for latency in (1.0, 33.0, FRAME):
        schedule = streaming(truths(4), [latency])
        assert schedule.seen == ((0, 1, 2, 3),)
        assert stands_for(schedule) == [None, 0, 1, 2, 3]
    assert [pair[:2] for pair in schedule.pairs] == [(0, False), (1, False), (2, False), (3, False), (3, True)]


def test_no_latency_at_all_is_in_time_for_the_frame_itself():
    assert stands_for(streaming(truths(3), [0.0])) == [0, 1, 2, 2]


def test_frames_that_come_while_it_is_busy_are_never_seen():
    # 2.5 frames: takes 0, ready at 2.5; takes 2, ready at 5; takes 5, ready at 7.5; takes 7, ready at 10
    schedule = streaming(truths(10), [2.5 * FRAME])
    assert schedule.seen == ((0, 2, 5, 7),)
    assert stands_for(schedule) == [None, None, None, 0, 0, 2, 2, 2, 5, 5, 7]


def test_just_over_a_frame_the_detector_falls_behind_until_it_skips_one():
    schedule = streaming(truths(9), [1.25 * FRAME])
    # ready at 1.25, 2.5, 3.75, 5, and then takes 5: frame 4 is never seen
    assert schedule.seen == ((0, 1, 2, 3, 5, 6, 7, 8),)
    assert stands_for(schedule)[:7] == [None, None, 0, 1, 2, 3, 3]


def test_each_sequence_begins_anew_and_so_does_what_follows_a_gap():
    found = truths(3, 2)
    found[4]["frame"] = np.asarray(7)
    assert runs(found) == [range(0, 3), range(3, 4), range(4, 5)]
    assert stands_for(streaming(found, [10.0])) == [None, 0, 1, 2, None, 3, None, 4]


def test_latencies_are_drawn_for_each_frame_by_the_seed():
    some = [5.0, 40.0, 90.0]
    schedules = {streaming(truths(50), some, seed).seen for seed in range(5)}
    assert len(schedules) == 5
    assert streaming(truths(50), some, 1) == streaming(truths(50), some, 1)
    assert streaming(truths(50), [5.0, 5.0], 1) == streaming(truths(50), [5.0])


def test_a_frames_time_is_the_cameras():
    assert streaming(truths(4, fps=10.0), [90.0]).seen == ((0, 1, 2, 3),)
    assert streaming(truths(4, fps=60.0), [90.0]).seen == ((0,),)


@pytest.mark.parametrize(("authors", "second"), [(False, 0), (True, None)])
def test_offline_the_first_frame_has_no_boxes_and_by_the_authors_evaluator_the_second_neither(authors, second):
    schedule = offline(truths(3, 2), authors)
    again = 3 if second is not None else None
    assert stands_for(schedule) == [None, second, 1, 2, None, again, 4]
