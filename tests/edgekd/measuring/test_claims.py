from __future__ import annotations

from pathlib import Path

import pytest

import edgekd
from edgekd.errors import InputError
from edgekd.measuring.claims import (
    Claim,
    Claims,
    Evidence,
    Status,
    assess,
    assess_all,
    evidence_from,
    load_claims,
)

LANDMARKS = Path(edgekd.__file__).parent / "recipes/landmarks/claims.toml"

SPEED = Claim(
    id="speed",
    paper="P",
    metric="fps",
    value=100,
    unit="frames/s",
    kind="speed",
    better="higher",
    source="table 2",
    hardware="a Raspberry Pi 4",
    hardware_class="Raspberry Pi 4",
    span="infer",
    precision="int8",
)
PI = {"hardware": "Cortex-A72, Raspberry Pi 4 Model B", "span": "infer", "precision": "int8", "batch": 1}


def speed(value, **changed):
    reasons = changed.pop("reasons", ())
    return Evidence(metric="fps", value=value, unit="frames/s", conditions={**PI, **changed}, reasons=reasons)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (100, Status.REPRODUCED),
        (110, Status.REPRODUCED),
        (90, Status.REPRODUCED),
        (111, Status.BETTER),
        (89, Status.WORSE),
    ],
)
def test_within_10_percent_is_reproduced_and_beyond_it_has_a_direction(value, status):
    assert assess(SPEED, [speed(value)]).status == status


def test_lower_is_better_turns_the_direction():
    claim = SPEED.model_copy(update={"better": "lower"})
    assert assess(claim, [speed(50)]).status == Status.BETTER
    assert assess(claim, [speed(150)]).status == Status.WORSE


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"hardware": "AMD EPYC"}, "hardware: theirs a Raspberry Pi 4, ours AMD EPYC"),
        ({"span": "end-to-end"}, "span: theirs infer, ours end-to-end"),
        ({"precision": "fp32"}, "precision: theirs int8, ours fp32"),
        ({"reasons": ("ours is contended: steal 3%",)}, "ours is contended"),
    ],
)
def test_a_target_is_never_met_from_other_conditions(changed, named):
    found = assess(SPEED, [speed(1e6, **changed)])
    assert found.status == Status.NOT_COMPARABLE
    assert any(named in text for text in found.differs)


def test_hardware_that_a_paper_does_not_tell_cannot_be_matched():
    claim = SPEED.model_copy(update={"hardware_class": "not stated", "hardware": "a laptop"})
    found = assess(claim, [speed(100)])
    assert found.status == Status.NOT_COMPARABLE
    assert "hardware" in found.not_stated


def test_what_a_paper_leaves_out_is_listed_and_does_not_hinder():
    found = assess(SPEED, [speed(100)])
    assert found.not_stated == ("batch", "resolution")
    assert found.status == Status.REPRODUCED


def test_a_claim_nobody_measured_is_not_run():
    assert assess(SPEED, []).status == Status.NOT_RUN
    other = Evidence(metric="nme", value=1, unit="%")
    assert assess(SPEED, [other]).status == Status.NOT_RUN


def test_the_evidence_nearest_in_its_conditions_is_taken():
    found = assess(SPEED, [speed(500, hardware="AMD EPYC", span="post"), speed(101), speed(7, span="pre")])
    assert found.evidence is not None
    assert found.evidence.value == 101


def test_another_unit_is_not_compared():
    found = assess(SPEED, [speed(100).model_copy(update={"unit": "images/min"})])
    assert found.status == Status.NOT_COMPARABLE
    assert found.relative is None


def test_quality_needs_the_same_data():
    claim = Claim(
        id="nme",
        paper="P",
        metric="nme_percent",
        value=4.06,
        unit="%",
        kind="quality",
        better="lower",
        source="log",
        dataset="300W full",
    )

    def nme(**conditions):
        return assess(claim, [Evidence(metric="nme_percent", value=4.1, unit="%", conditions=conditions)]).status

    assert nme(dataset="300W full", hardware="anything") == Status.REPRODUCED
    assert nme(dataset="drawn faces") == Status.NOT_COMPARABLE
    assert nme() == Status.NOT_COMPARABLE


def test_a_runs_own_count_reproduces_the_landmark_students_size():
    claims = load_claims(LANDMARKS)

    def weights(value, **conditions):
        evidence = [
            Evidence(
                metric="parameters",
                value=value,
                unit="weights",
                conditions={"model": "student", "points": 68, "width": 1.0} | conditions,
            )
        ]
        return {a.claim.id: a.status for a in assess_all(claims, evidence)}

    assert weights(2_432_200)["student-parameters-68"] == Status.REPRODUCED
    assert weights(2_432_201)["student-parameters-68"] == Status.WORSE  # a count is right or it is wrong
    assert weights(2_432_200, width=0.5)["student-parameters-68"] == Status.NOT_COMPARABLE
    assert weights(2_432_200)["student-parameters-98"] == Status.NOT_COMPARABLE
    assert weights(2_432_200)["nme-300w-full-both"] == Status.NOT_RUN
    # The printed 2.42 M is a rounded count of the same network.
    assert weights(2_432_200)["mobilenetv2-parameters-printed"] == Status.REPRODUCED


def test_landmark_claims_hold_the_published_results():
    """Golden values: the authors' final log for 300W and COFW, the public leaderboard for WFLW."""
    by_id = {claim.id: claim for claim in load_claims(LANDMARKS).claim}
    values = {name: by_id[name].value for name in by_id if name.startswith("nme-")}
    assert values["nme-300w-full-base"] == 4.50
    assert values["nme-300w-challenging-both"] == 6.13
    assert values["nme-300w-common-tough"] == 3.85
    assert values["nme-300w-full-tolerant"] == 4.25
    assert values["nme-cofw-teacher"] == 3.81
    assert values["nme-wflw-all-both"] == 8.57
    assert by_id["student-bytes-68"].value == 4 * by_id["student-parameters-68"].value
    for claim in by_id.values():
        assert claim.source[:3] in ("[R]", "[L]", "[C]")
        assert claim.kind != "speed" or claim.hardware_class == "not stated"


def test_a_measurement_gives_evidence_under_its_conditions(shared_bench):
    fast = shared_bench[0].measurements[0]
    found = {(e.metric, e.conditions.get("span")): e for e in evidence_from(fast)}
    mean = found["latency_mean", "infer"]
    assert mean.value == fast.spans["infer"].mean_ms
    assert mean.conditions["precision"] == "fp32"
    assert mean.conditions["batch"] == 1
    assert (mean.reasons == ()) == fast.verdict.claimable
    assert found["fps", "end-to-end"].value == pytest.approx(fast.fps.value)
    assert found["parameters_bytes", None].value == 16_384
    assert found["parameters_bytes", None].reasons == ()  # bytes do not depend on a quiet machine


def test_a_misspelt_key_is_named(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text('papers = {}\nclaim = []\nauthor = "x"\n')
    with pytest.raises(InputError, match="author"):
        load_claims(path)


def test_claims_must_be_unique_and_cite_a_listed_paper():
    with pytest.raises(ValueError, match=r"named twice: \['speed'\]; papers not listed: \['P'\]"):
        Claims(papers={}, claim=(SPEED, SPEED))
