from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.contracts import ImageSpec, IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.measuring.claims import Status, recipe_claims
from edgekd.recipes.landmarks.metrics import authors_normalizer
from edgekd.recipes.landmarks.published import SETS
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


def published(make_run, source, points, **scores):
    """A run at the paper's size on a published set, and the claims that it is compared with."""
    test = {"nme": 5.0, "authors_nme": 5.0, **scores}
    picture = TensorSpec(name="image", shape=(1, 3, 224, 224), layout="NCHW", image=ImageSpec())
    io = IoSpec(inputs=(picture,), outputs=(TensorSpec(name="landmarks", shape=(1, 2 * points)),))
    stages = [
        {
            **{"name": name, "role": role, "epochs": 1, "best_epoch": 0, "best": test, "last": test, "test": test},
            **{"images_per_second": 1.0, "seconds": 1.0, "precision": "fp32", "weights": 1},
        }
        for name, role in (("tough", "teacher"), ("student", "student"))
    ]
    run = make_run(
        record={
            "io": io.model_dump(mode="json"),
            "data": {"sources": [{"source": source, "licence": "for research"}]},
            "config": {"data": {"points": points}, "student": {"width": 1.0}, "teacher": {"use": "both"}},
            "stages": stages,
        }
    )
    return {a.claim.id: a for a in assessments(collect([run.parent]))["landmarks"] if a.claim.kind == "quality"}


@pytest.mark.parametrize(
    ("source", "points", "scores", "claims"),
    [
        (
            "300W",
            68,
            {"authors_nme": 4.06, "authors_nme/common": 3.56, "authors_nme/challenging": 6.13},
            ["nme-300w-full-both", "nme-300w-common-both", "nme-300w-challenging-both"],
        ),
        ("COFW", 29, {"authors_nme": 4.11}, ["nme-cofw-both"]),
        ("WFLW", 98, {"authors_nme": 8.57, "authors_nme/pose": 15.06}, ["nme-wflw-all-both", "nme-wflw-pose-both"]),
    ],
)
def test_each_published_figure_is_compared_with_its_own_part_of_its_set(make_run, source, points, scores, claims):
    found = published(make_run, source, points, **scores)
    for name in claims:
        assert found[name].status is Status.REPRODUCED, (name, found[name].differs)
        assert found[name].relative == pytest.approx(0)
    teachers = [a for a in found.values() if a.claim.conditions["model"] == "teacher" and source in a.claim.dataset]
    assert teachers
    assert not any(a.status in (Status.NOT_COMPARABLE, Status.NOT_RUN) for a in teachers)
    others = [a for a in found.values() if source not in a.claim.dataset]
    assert {a.status for a in others} == {Status.NOT_COMPARABLE}


def test_every_quality_claim_names_a_part_that_a_run_can_have():
    parts = {f"{own.name} {part}" for own in SETS.values() for part in (own.whole, *own.subsets)}
    claims = [claim for claim in recipe_claims("landmarks").claim if claim.kind == "quality"]
    assert {claim.dataset for claim in claims} <= parts
    for own in SETS.values():
        of_set = {c.conditions["normalizer"] for c in claims if c.dataset.startswith(own.name)}
        assert of_set == {authors_normalizer(own.points)}


@pytest.mark.parametrize("source", ["WFLW in part (8 of 7500 training and 5 of 2500 test faces)", "wflw", "300W"])
def test_a_part_of_a_set_or_another_is_never_compared(make_run, source):
    found = published(make_run, source, 98, **{"authors_nme": 8.57, "authors_nme/pose": 15.06})
    assert found["nme-wflw-all-both"].status is Status.NOT_COMPARABLE
    assert any(source in text for text in found["nme-wflw-all-both"].differs)


def test_held_out_samples_of_a_whole_set_are_not_the_set(make_run, make_bundle):
    """A bundle's gate looked at some of the test set, in the photo's proportions: no figure of the paper's kind."""
    data = {"sources": [{"source": "300W", "licence": "for research"}]}
    found = collect([make_bundle(make_run(record={"data": data}))])
    assert not any(e.conditions["dataset"] == "300W full" for e in bundle_evidence(found.bundles[0], None))


def test_a_setting_of_the_model_s_own_section_wins(make_run):
    run = collect([make_run()]).runs[0]
    width = {e.conditions["model"]: e.conditions["width"] for e in run_evidence(run)}
    assert width == {"student": 0.5, "teacher": 0.4}


def test_control_is_evidence_without_teachers(make_run):
    run = collect([make_run()]).runs[0]
    teachers = {e.conditions.get("stage"): e.conditions["teachers"] for e in run_evidence(run) if e.metric == "nme"}
    assert teachers == {"tough": "tough", "student": "tough", "control": "none"}


def stages_of(run):
    return [stage.model_dump(mode="json") for stage in collect([run]).runs[0].record.stages]


def test_a_stage_that_only_prepares_another_is_no_evidence(make_run):
    tough, student, control = stages_of(make_run("before"))
    half = {**student, "name": "student-warp", "role": "preparation"}
    run = collect([make_run(record={"stages": [tough, half, student, control]})]).runs[0]
    assert "student-warp" not in {e.conditions.get("stage") for e in run_evidence(run)}


def test_a_teacher_that_was_loaded_is_named_as_one_that_was_trained(make_run):
    _, student, _ = stages_of(make_run("before"))
    alone = {**student, "teachers": {"teacher": {"nme": 1.0}}}
    config = {"seed": 0, "student": {"width": 0.5}, "teacher": {"weights": "best.safetensors"}}
    run = collect([make_run(record={"stages": [alone], "config": config})]).runs[0]
    assert {e.conditions["teachers"] for e in run_evidence(run)} == {"teacher"}


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
