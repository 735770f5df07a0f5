from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.errors import InputError
from edgekd.measuring.claims import Status
from edgekd.reporting.collect import collect
from edgekd.reporting.evidence import assessments, bundle_evidence, run_evidence, stored_weights
from edgekd.reporting.page import Html
from edgekd.reporting.scoreboard import claims_section, tally


def by_id():
    return {a.claim.id: a for a in assessments(collect())["landmarks"]}


def test_a_student_of_another_width_is_not_compared(project):
    found = by_id()["student-parameters-68"]
    assert found.status is Status.NOT_COMPARABLE
    assert "width: theirs 1.0, ours 0.5" in found.differs


def test_a_student_of_the_paper_s_size_reproduces_the_count(tmp_path, make_run, monkeypatch):
    config = {"data": {"points": 68}, "student": {"width": 1.0}, "teacher": {"use": "both", "width": 0.4}}
    make_run(record={"config": config})
    monkeypatch.chdir(tmp_path)
    assert by_id()["student-parameters-68"].status is Status.REPRODUCED


def test_quality_on_drawn_faces_is_not_compared_with_300w(project):
    found = by_id()["nme-300w-full-both"]
    assert found.status is Status.NOT_COMPARABLE
    assert any("300W" in difference and "drawn" in difference for difference in found.differs)


def test_a_setting_of_the_model_s_own_section_wins(make_run):
    run = collect([make_run()]).runs[0]
    width = {e.conditions["model"]: e.conditions["width"] for e in run_evidence(run)}
    assert width == {"student": 0.5, "teacher": 0.4}


def test_control_is_evidence_without_teachers(make_run):
    run = collect([make_run()]).runs[0]
    teachers = {e.conditions.get("stage"): e.conditions["teachers"] for e in run_evidence(run) if e.metric == "nme"}
    assert teachers == {"tough": "tough", "student": "tough", "control": "none"}


def test_the_bundle_s_evidence_is_the_whole_road_s(make_run, make_bundle):
    found = collect([make_bundle(make_run())])
    (nme,) = [e for e in bundle_evidence(found.bundles[0], None) if e.metric == "nme"]
    assert nme.value == 8.1
    assert (nme.conditions["precision"], nme.conditions["dataset"]) == ("int8", "drawn")


def test_a_measurement_is_judged_under_its_run_s_conditions(project):
    speed = by_id()["speed-student-log"]
    assert speed.evidence is not None
    assert speed.evidence.conditions["model"] == "student"
    assert speed.status is Status.NOT_COMPARABLE  # their laptop is not stated


def test_stored_weights_count_floats_and_not_counters(make_run, tmp_path):
    file = make_run() / "stages/tough/best.safetensors"
    assert stored_weights(file) == 220
    assert stored_weights(tmp_path / "none.safetensors") is None
    file.write_bytes(b"\xff" * 40)
    with pytest.raises(InputError, match=r"best\.safetensors is damaged"):
        stored_weights(file)


def test_an_unfinished_run_claims_nothing(make_run):
    run = collect([make_run(status="training")]).runs[0]
    assert run_evidence(run) == []


def test_the_scoreboard_shows_both_figures_and_what_differs(project):
    found = assessments(collect())
    shown = claims_section(found)
    assert isinstance(shown, Html)
    assert "NOT COMPARABLE" in shown
    assert "width: theirs 1.0, ours 0.5" in shown
    assert sum(tally(found).values()) == len(found["landmarks"])


def test_a_recipe_that_is_not_registered_here_has_no_scoreboard(tmp_path, make_run):
    make_run(record={"recipe": "elsewhere"})
    assert assessments(collect([Path(tmp_path / "runs")])) == {}
