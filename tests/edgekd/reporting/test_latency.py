from __future__ import annotations

from edgekd.measuring.measurement import Headline, Verdict
from edgekd.reporting.latency import benches, latency_section, samples_ms


def at(minute: int) -> str:
    return f"2026-01-02T03:{minute:02d}:05.000006+00:00"


def test_what_one_bench_wrote_stands_together(make_measurement):
    one = [make_measurement("a" * 64), make_measurement("b" * 64)]
    later = [make_measurement("a" * 64, created=at(30)), make_measurement("b" * 64, created=at(30))]
    groups = benches([*later, *one])
    assert [[m.artifact.sha256[0] for m in group] for group in groups] == [["a", "b"], ["a", "b"]]
    assert groups[0][0].created < groups[1][0].created


def test_the_same_artefact_twice_is_two_benches(make_measurement):
    assert len(benches([make_measurement(), make_measurement()])) == 2


def test_other_conditions_are_another_bench(make_measurement):
    first = make_measurement("a" * 64)
    quick = first.conditions.model_copy(update={"length": "quick"})
    assert len(benches([first, make_measurement("b" * 64, conditions=quick)])) == 2


def test_samples_are_the_workers_own_in_milliseconds(make_measurement):
    found = samples_ms(make_measurement(ms=2.0), "end-to-end")
    assert len(found) == 2
    assert found[0][0] == 2.1
    assert samples_ms(make_measurement(), "pre") == []


def test_every_figure_has_its_conditions_verdict_and_interval(make_measurement):
    verdict = Verdict(label="contended", reasons=("process 1: load before the start: 80%",))
    shown = latency_section([make_measurement(verdict=verdict)])
    assert shown is not None
    for text in ("6.20 [5.90, 6.60]", "contended", "load before the start: 80%", "batch 1", "2 threads", "1.96 – 2.06"):
        assert text in shown, text
    assert shown.count('<svg class="chart"') == 2  # end-to-end and infer


def test_a_percentile_that_is_not_supported_is_left_out(make_measurement):
    headline = Headline(span="end-to-end", p90_ms=None, low_ms=None, high_ms=None, how="too few runs for a p90")
    shown = latency_section([make_measurement(headline=headline)])
    assert shown is not None
    assert "None" not in shown


def test_names_from_files_are_text(make_measurement):
    shown = latency_section([make_measurement(name="<script>x</script>$\\frac")])
    assert shown is not None
    assert "<script" not in shown


def test_nothing_measured_is_no_section():
    assert latency_section([]) is None
