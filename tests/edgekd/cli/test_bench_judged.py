"""``edgekd bench`` as a judge: exit codes, one message, both figures; and what it refuses before measuring."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def baseline(benched):
    """The measurement of the sound bundle, as ``bench`` wrote it."""
    (path,) = benched.folder.glob("*.json")
    return path


@pytest.fixture
def faster_baseline(baseline, tmp_path):
    """The same, as if everything had taken a tenth of the time."""
    data = json.loads(baseline.read_text(encoding="utf-8"))
    for worker in data["workers"]:
        samples = worker["result"]["samples_us"]
        samples["infer"] = [max(1, us // 10) for us in samples["infer"]]
    path = tmp_path / "fast.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_a_regression_ends_with_the_gates_code_and_both_figures(edgekd, tiny_bundles, faster_baseline, tmp_path):
    arguments = ["--baseline", faster_baseline, "--fail-above", "1.05", "--length", "quick", "--out", tmp_path / "m"]
    ended = edgekd("bench", tiny_bundles["onnxruntime"], *arguments)
    ended.says(3, "tiny-onnxruntime became slower", "median infer", "limit 1.05", "fast.json", "threads", "ratio")
    assert len(list((tmp_path / "m").iterdir())) == 1
    assert "latency" in ended.out


def test_json_tells_the_outcome(edgekd, tiny_bundles, baseline, tmp_path):
    arguments = ["--baseline", baseline, "--fail-above", "1000", "--length", "quick", "--out", tmp_path, "--json"]
    ended = edgekd("bench", tiny_bundles["onnxruntime"], *arguments)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)["regression"]
    assert (found["outcome"], found["limit"], found["baseline"]) == ("passed", 1000, str(baseline))
    assert found["low"] <= found["ratio"] <= found["high"]


def test_what_cannot_be_judged_is_one_message(edgekd, tiny_bundles, baseline, tmp_path):
    bundle = tiny_bundles["onnxruntime"]
    edgekd("bench", bundle, "--scenario", "pace").says(2, "there is no scenario 'pace'", 'did you mean "paced"?')
    edgekd("bench", bundle, "--length", "strickt").says(2, 'did you mean "strict"?')
    edgekd("bench", bundle, "--fps", "30").says(2, "--fps 30 means nothing here", "--scenario paced")
    edgekd("bench", bundle, "--fail-above", "1.05").says(2, "nothing to compare with", "--baseline MEASUREMENT.json")
    edgekd("bench", bundle, "--baseline", baseline).says(2, "--baseline has no limit", "--fail-above 1.05")
    damaged = tmp_path / "damaged.json"
    damaged.write_text(baseline.read_text(encoding="utf-8")[:500], encoding="utf-8")
    judged = ("--fail-above", "1.05", "--out", tmp_path / "m")
    edgekd("bench", bundle, "--baseline", damaged, *judged).says(2, f"{damaged} is damaged")
    edgekd("bench", bundle, "--baseline", baseline, *judged, "--scenario", "paced").says(
        2, "is no baseline for this", "scenario: single then, paced now", "length: quick then, standard now"
    )
    other = tiny_bundles["openvino"]
    edgekd("bench", other, "--baseline", baseline, *judged, "--length", "quick").says(
        2, "target: onnxruntime then, openvino now"
    )
    assert not (tmp_path / "m").exists()
