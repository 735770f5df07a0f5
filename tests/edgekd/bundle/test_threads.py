from __future__ import annotations

import pytest

from edgekd.bundle.threads import thread_count
from edgekd.errors import InputError


def test_a_number_is_that_number():
    assert thread_count({"threads": 3}) == 3


def test_none_is_every_cpu_the_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 4}, raising=False)
    for options in ({}, {"threads": 0}, {"threads": None}):
        assert thread_count(options) == 2


def test_where_the_system_keeps_no_affinity_it_is_the_number_of_cpus(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert thread_count({}) == 6
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert thread_count({}) == 1


@pytest.mark.parametrize("wrong", [-1, 2.0, "4"])
def test_what_is_no_number_of_threads_is_refused(wrong):
    with pytest.raises(InputError, match="cannot be used"):
        thread_count({"threads": wrong})
