"""Whatever a file holds: it is loaded, or refused with one message; nothing else happens.

``EDGEKD_PROPERTIES=deep`` looks for new examples, many of them; otherwise each run tries the same few.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # `strategies`, for the tests here

_UNHURRIED = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("same", max_examples=40, derandomize=True, database=None, **_UNHURRIED)
settings.register_profile("deep", max_examples=2000, **_UNHURRIED)
settings.load_profile("deep" if os.environ.get("EDGEKD_PROPERTIES") == "deep" else "same")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder between two canaries, which are still there, alone and unchanged, at the end."""
    inside = tmp_path / "around" / "inside"
    inside.mkdir(parents=True)
    canary = tmp_path / "around" / "canary"
    canary.write_text("unchanged", encoding="utf-8")
    yield inside
    assert sorted(path.name for path in tmp_path.iterdir()) == ["around"]
    assert sorted(path.name for path in (tmp_path / "around").iterdir()) == ["canary", "inside"]
    assert canary.read_text(encoding="utf-8") == "unchanged"


@pytest.fixture(scope="session")
def real_measurement(tiny_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One as ``bench`` writes it, of one short process."""
    from edgekd.measuring.bench import Contender, bench

    out = tmp_path_factory.mktemp("measurements")
    result = bench([Contender(str(tiny_bundles["onnxruntime"]))], "quick", out, threads=1)
    return dict(json.loads(result.paths[0].read_text(encoding="utf-8")))
