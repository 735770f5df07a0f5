"""Ctrl-C after any number of OpenVINO sessions is an interrupt, not a crash."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED = """
import faulthandler, gc, signal, sys
faulthandler.enable()  # has a signal stack, as pytest and many services do
import edgekd
from edgekd_targets.openvino.signal_stack import _Stack
import ctypes

def stack():
    now = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(now))
    return now.address, now.flags, now.size

before = stack()
bundle = edgekd.open(sys.argv[1])
feeds = {name: value[0] for name, value in bundle.vectors()["feeds"].items()}
for _ in range(3):
    session = bundle.runtime.load(bundle.graph())
    session.run(feeds)
    assert stack() == before, (before, stack())
    del session
    gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the alternate signal stack is looked at through Linux's libc")
def test_sessions_leave_the_signal_stack_as_it_was(tiny_bundles):
    command = [sys.executable, "-c", INTERRUPTED, str(tiny_bundles["openvino"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "interrupted\n"
