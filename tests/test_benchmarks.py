"""Documents say what the results say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_documents_are_generated_from_the_results():
    command = [sys.executable, str(BENCHMARKS / "tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_result_that_was_edited_by_hand_is_found():
    """Every ratio that is stated can be computed again from the raw samples beside it."""
    import numpy as np

    results = json.loads((BENCHMARKS / "results" / "landmarks.json").read_text(encoding="utf-8"))
    for row in results["rows"]:
        samples = np.concatenate([np.asarray(block) for block in results["speed"][row["name"]]])
        assert abs(np.median(samples) / 1e6 - row["median_ms"]) < 0.05 * row["median_ms"]
