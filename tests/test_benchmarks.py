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


def test_agreement_judges_by_the_ratio_taken_round_by_round_and_says_what_is_missed(monkeypatch):
    """Every round is slower than the one before, for all alike: only the pairs tell."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import agreement

    found = {
        "openvino-int8": {
            agreement.OURS: [[1020, 1020], [2040, 2040], [4080, 4080]],
            agreement.APP: [{"median": m, "min": m} for m in (1000.0, 2000.0, 4000.0)],
        },
        "onnxruntime-int8": {agreement.OURS: [[1100], [2200]], agreement.LOOP: [[1000], [2000]]},
    }
    rows = {(row["file"], row["contender"]): row for row in agreement.rows(found)}
    near, far = rows["openvino-int8", agreement.APP], rows["onnxruntime-int8", agreement.LOOP]
    assert near["ours_over_it"] == [1.02, 1.02, 1.02]
    assert far["ours_over_it"] == [1.1, 1.1, 1.1]
    versions = {"openvino": "1"}
    conditions = {"machine_title": "m", "threads": 2, "batch": 1, "span": "infer", "rounds": 3, "seconds": 2}
    conditions |= {"busy_before": 0.0, "versions": versions}
    results = {"rows": list(rows.values()), "per_call_us": {}, "conditions": conditions, "created": "2026-01-01T00:00"}
    results["contenders"] = found
    lines = agreement.section(results).splitlines()
    assert "| within 5% | reached | 1.000 |" in next(line for line in lines if agreement.APP in line)
    assert "| within 5% | **missed** | 1.000 | 1.100 |" in next(x for x in lines if f"| {agreement.LOOP} |" in x)
