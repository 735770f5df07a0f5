from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from edgekd.errors import MachineError
from edgekd.reporting.plots import Level, Series, chart, cumulative, key, spans_decades


def draw(*series: Series, **options):
    return chart(series, title=options.pop("title", "t"), x_label="x", y_label="y", **options)


def test_a_plot_has_no_colour_address_or_name_of_its_own():
    svg = draw(Series("a", [1, 2, 3], [1, 4, 9], color=1), Series("b", [1, 2], [2, 2], color=2))
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "var(--c1)" in svg
    assert "var(--c2)" in svg
    assert "var(--ink)" in svg
    assert "://" not in svg
    assert "<style" not in svg
    referenced = set(re.findall(r"#([\w.-]+)", svg))
    assert set(re.findall(r' id="([^"]+)"', svg)) == referenced


def test_two_plots_share_no_clip_path_and_the_same_plot_is_drawn_the_same():
    one, again, other = (draw(Series("a", [1, 2], [1, last])) for last in (2, 2, 3))
    assert one == again
    names = [set(re.findall(r' id="([\w-]+)"', svg)) for svg in (one, other)]
    clips = [{n for n in found if f"url(#{n})" in svg} for found, svg in zip(names, (one, other), strict=True)]
    assert clips[0]
    assert not clips[0] & clips[1]


def test_dollar_signs_and_markup_in_labels_are_text():
    svg = chart([Series("s", [1, 2], [1, 2])], title="<b>", x_label=r"$\frac{broken", y_label="</svg><script>")
    assert r"$\frac{broken" in svg
    assert "<script" not in svg
    assert "<title>&lt;b&gt;</title>" in svg


def test_the_user_s_own_matplotlib_settings_stay_as_they_are():
    import matplotlib

    before = matplotlib.rcParams["svg.fonttype"], matplotlib.rcParams["font.size"]
    with matplotlib.rc_context({"font.size": 31}):
        draw(Series("a", [1, 2], [1, 2]))
        assert matplotlib.rcParams["font.size"] == 31
    assert (matplotlib.rcParams["svg.fonttype"], matplotlib.rcParams["font.size"]) == before


def test_what_a_logarithmic_axis_cannot_show_is_left_out():
    svg = draw(Series("a", [0, 1, 10, 1000], [np.nan, 1, 2, 3]), x_log=True, levels=[Level("l", 2.0)])
    assert "nan" not in svg
    assert "1,000" in svg


def test_the_distribution_keeps_the_extremes_and_exact_shares():
    values = np.random.default_rng(0).permutation(10_000) + 1
    x, y = cumulative(values, points=100)
    assert len(x) == 100
    assert (x[0], x[-1], y[-1]) == (1, 10_000, 1.0)
    assert y == pytest.approx(x / 10_000)


def test_a_wide_range_is_told_from_a_narrow_one():
    assert spans_decades([0.5, 20])
    assert not spans_decades([1, 2, 19])
    assert not spans_decades([0.0, 5.0])


def test_the_key_names_each_line_once_and_leaves_out_faint_ones():
    entries = [Series("a", [], [], faint=True), Series("a", [], []), Series("a", [], []), Level("<p90>", 1.0)]
    shown = key(entries)
    assert len(shown) == 2
    assert "&lt;p90&gt;" in shown[1]


def test_without_matplotlib_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError) as caught:
        draw(Series("a", [1], [1]))
    assert caught.value.fix == 'pip install "edgekd[report]"'
