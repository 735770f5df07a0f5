"""Bench settings that keep a test short, and the opener of the tiny artefact for worker processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekd.measuring.protocol import LengthRule, WarmUpRule

WARM_UP = WarmUpRule("test", seconds=0.0, runs=4, block=2, tolerance=1e9, cap_s=1)
RULE = LengthRule("test", 0.05, 64, 2, "both", WARM_UP, settle_s=0.02, reportable=True)


@pytest.fixture(scope="session")
def opener():
    """Lets worker processes import ``tiny_artifact``."""
    before = os.environ.get("PYTHONPATH")
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, before)))
    yield "tiny_artifact:open_artifact"
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def rule() -> LengthRule:
    return RULE


@pytest.fixture(scope="session")
def shared_bench(opener, tmp_path_factory):
    """One bench of a fast, a slow and a broken contender; the folder it wrote to."""
    from edgekd.measuring.bench import bench

    folder = tmp_path_factory.mktemp("measurements")
    steps: list[tuple[str, float]] = []
    result = bench(["fast", "broken", "slow"], RULE, folder, seed=3, opener=opener, progress=lambda *a: steps.append(a))
    return result, folder, steps
