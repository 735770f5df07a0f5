"""What the two pages about shaped students say follows from their figures."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def tryon(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tryon_students

    return tryon_students


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tryon_students_page

    return tryon_students_page


@pytest.fixture
def streaming(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import streaming_students

    return streaming_students


def tryon_results(found):
    """``found``: student -> (ms, SSIM, warp error)."""
    timed = {name: {"median_ms": ms} for name, (ms, _, _) in found.items()}
    scored = {name: {"ssim": ssim, "warp_error_px": warp, "masked_l1": 10.0} for name, (_, ssim, warp) in found.items()}
    cost = {name: {"parameters": 9e6, "megabytes": 36.0, "gmacs": 30.0} for name in found}
    own, control = ({"ssim": s, "masked_l1": 9.0, "warp_error_px": 8.0} for s in (0.8, 0.7))
    return {
        "created": "2026-01-01T00:00",
        "conditions": {
            "settings": ["data.test=100"], "teacher_settings": ["x=1"], "trained_at": [128, 96],
            "timed_at": [256, 192], "seeds": [0, 1], "seeds_of": "small", "machine_title": "m",
            "versions": {"torch": "1"},
        },
        "students": scored,
        "teacher": own,
        "baselines": {"nothing done": control},
        "seeds": [{"student": own, "control": control}, {"student": own, "control": {**control, "ssim": 0.72}}],
        "cost": {"students": cost, "ways": {"one graph": timed, "frame": timed}},
    }  # fmt: skip


def test_only_a_fast_student_that_loses_neither_metric_is_called_lossless(page):
    rows = {"paper": (90.0, 0.80, 6.0), "fast but askew": (15.0, 0.85, 6.1), "fast and right": (20.0, 0.80, 6.0)}
    results = tryon_results(rows)
    assert page.fastest_lossless(results) == ("fast and right", ["fast but askew", "fast and right"])
    text = page.section(results)
    assert "fast and right is as good as the paper's student" in text
    assert "**missed**" not in text


@pytest.mark.parametrize(
    ("fast", "said"),
    [((20.0, 0.79, 6.0), "None of them is as good"), ((26.0, 0.9, 5.0), "None holds 40 frames per second")],
)
def test_a_miss_is_said(page, fast, said):
    text = page.section(tryon_results({"paper": (90.0, 0.80, 6.0), "other": fast}))
    assert said in text
    assert "(**missed**)" in text


def test_a_student_is_on_the_front_unless_another_is_faster_and_as_good(page):
    rows = {"paper": (90.0, 0.8, 6.0), "as good": (40.0, 0.8, 7.0), "worse": (50.0, 0.7, 8.0)}
    results = tryon_results(rows)
    assert page.front(results, "ssim", True) == {"as good"}
    assert page.front(results, "warp_error_px", False) == {"paper", "as good"}


def test_a_gain_within_the_spread_over_seeds_is_called_so(page):
    text = page.section(tryon_results({"paper": (90.0, 0.8, 6.0)}))
    gained = {line.split(" |")[0][2:]: line for line in text.splitlines() if line.startswith(("| ssim", "| warp"))}
    assert "better" in gained["ssim"]
    assert "within the spread" in gained["warp_error_px px"]


def test_streaming_students_are_compared_at_their_own_latency(streaming):
    def row(ms, sap):
        return {"latency_ms": ms, "streaming_sap": sap, "test": {"sap": 15.0, "sap50": 30.0}}

    students = {"slow": row(200.0, 3.0), "quick": row(30.0, 12.0), "small": row(20.0, 9.0), "worse": row(35.0, 11.0)}
    assert streaming.front(students) == {"quick", "small"}
    seeds = {way: [{"sap": s, "sap50": 2 * s} for s in values] for way, values in SEEDS.items()}
    page = streaming.section(
        {
            "created": "2026-01-01T00:00",
            "conditions": {
                "trained_at": [160, 256], "timed_at": [600, 960], "drives": {"count": 2, "frames": 9},
                "settings": ["a=1"], "machine_title": "m", "versions": {"torch": "1"},
            },
            "students": students, "seeds": seeds, "teacher": {"sap": 18.0, "sap50": 36.0},
        }
    )  # fmt: skip
    assert "| **quick** | 15.00 | 30.00 | 30.0 | 12.00 |" in page
    assert "| sap | 14.00 ± 1.00 | 10.00 ± 1.00 | 13.50 ± 3.50 | +4.00 ± 0.00 | +0.50 ± 4.09, within it |" in page


SEEDS = {"distilled": [13.0, 14.0, 15.0], "control": [9.0, 10.0, 11.0], "no forecast": [17.0, 10.0, 13.5]}


def test_every_student_is_trained_once_and_of_one_teacher(streaming, tryon):
    assert next(iter(streaming.jobs())) == streaming.FIRST
    assert len(streaming.jobs()) == 9 + len(streaming.STUDENTS) - 1
    assert next(iter(tryon.jobs())) == tryon.TEACHER
    assert len(tryon.STUDENTS) >= 6 <= len(streaming.STUDENTS)
