"""The paper's claims beside our figures, each with its status and its conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edgekd.measuring.claims import NOT_STATED, Assessment, Claim, Claims, Evidence, Status, recipe_claims
from edgekd.reporting.formatting import ABSENT, change, significant
from edgekd.reporting.page import Html, badge, element, folded, note, section, table

TITLE = "Claims"
KINDS = {
    Status.REPRODUCED: "good",
    Status.BETTER: "good",
    Status.WORSE: "bad",
    Status.NOT_COMPARABLE: "mild",
    Status.NOT_RUN: "faint",
}
DECIDED = (Status.REPRODUCED, Status.BETTER, Status.WORSE)
_COLUMNS = ("claim", "theirs", "ours", "difference", "status")
_THEIRS = ("hardware", "runtime", "precision", "batch", "resolution", "span", "dataset")


def claims_section(assessed: Mapping[str, Sequence[Assessment]]) -> Html:
    """``assessed``: recipe -> its claims' assessments."""
    lead = (
        "Every figure that the paper or its authors gave, beside ours with its conditions. Figures are never scaled "
        "from one class of hardware to another; where conditions differ, what differs is said and no verdict is given."
    )
    parts = []
    for recipe, assessments in assessed.items():
        parts.append(element("h3", recipe))
        parts.append(_tally(assessments))
        decided = [a for status in DECIDED for a in assessments if a.status is status]
        if decided:
            parts.append(table(_COLUMNS, map(_row, decided), numbers=("difference",)))
        for status in (Status.NOT_COMPARABLE, Status.NOT_RUN):
            rows = [_row(a) for a in assessments if a.status is status]
            if rows:
                parts.append(
                    folded(f"{len(rows)} {status}", table(_COLUMNS, rows, ("difference",)), unfolded=not decided)
                )
        parts.append(_papers(recipe_claims(recipe), assessments))
    if not parts:
        parts = [note("Nothing that was found belongs to a recipe with claims.")]
    return section(TITLE, lead, parts)


def tally(assessed: Mapping[str, Sequence[Assessment]]) -> dict[str, int]:
    """Status -> number of claims."""
    return dict(Counter(str(a.status) for assessments in assessed.values() for a in assessments))


def _tally(assessments: Sequence[Assessment]) -> Html:
    counts = Counter(a.status for a in assessments)
    badges = [badge(f"{counts[status]} {status}", KINDS[status]) for status in Status if counts[status]]
    return element("div", badges, class_="badges")


def _row(assessment: Assessment) -> list[Html | str]:
    claim, ours = assessment.claim, assessment.evidence
    what = element("span", f"{claim.paper}: {_stated(claim)}", class_="side")
    status: list[Html] = [badge(str(assessment.status), KINDS[assessment.status])]
    if assessment.differs:
        status.append(element("span", "differs: " + "; ".join(assessment.differs), class_="side"))
    return [
        element("span", claim.metric.replace("_", " "), what),
        element("span", significant(claim.value, claim.unit), element("span", _their_conditions(claim), class_="side")),
        ABSENT if ours is None else _ours(claim, ours),
        _difference(assessment),
        element("span", status),
    ]


def _difference(assessment: Assessment) -> str:
    """Relative, but for a count, of which a reader wants to know by how many it is off."""
    claim, ours = assessment.claim, assessment.evidence
    if ours is None or assessment.differs or assessment.relative is None:
        return ABSENT
    off = ours.value - claim.value
    if claim.better == "exact" and claim.tolerance == 0 and off:
        return f"{off:+,.10g}".replace("-", "−")
    return change(assessment.relative)


def _stated(claim: Claim) -> str:
    shown = ", ".join(f"{name} {value}" for name, value in claim.conditions.items())
    return shown or claim.id


def _their_conditions(claim: Claim) -> str:
    stated = [f"{n}: {getattr(claim, n)}" for n in _THEIRS if getattr(claim, n) != NOT_STATED]
    missing = [n for n in _THEIRS if getattr(claim, n) == NOT_STATED]
    if claim.kind in ("size", "quality"):
        missing = [n for n in missing if n == "dataset" and claim.kind == "quality"]
    return "; ".join([*stated, *([f"not stated: {', '.join(missing)}"] if missing else []), claim.source])


def _ours(claim: Claim, ours: Evidence) -> Html:
    wanted = [*claim.conditions, *_THEIRS]
    shown = [f"{name}: {ours.conditions[name]}" for name in wanted if name in ours.conditions]
    return element("span", significant(ours.value, ours.unit), element("span", "; ".join(shown), class_="side"))


def _papers(claims: Claims, assessments: Sequence[Assessment]) -> Html:
    used = {a.claim.paper for a in assessments}
    return note([element("span", f"{name}: {full}. ") for name, full in claims.papers.items() if name in used])
