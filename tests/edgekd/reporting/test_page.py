from __future__ import annotations

from edgekd.reporting.formatting import change, count, megabytes, milliseconds, ratio, significant
from edgekd.reporting.page import Html, element, folded, page, table

HOSTILE = "<script>alert('x')</script> & \"quoted\""


def test_text_and_attributes_are_escaped_and_markup_is_not():
    shown = element("p", HOSTILE, element("b", "bold"), title=HOSTILE, class_="note")
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert 'title="&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;quoted&quot;"' in shown
    assert "<b>bold</b>" in shown
    assert 'class="note"' in shown


def test_nested_lists_numbers_and_none_become_text():
    assert element("p", ["a<", [Html("<i>b</i>"), None, 3]]) == "<p>a&lt;<i>b</i>3</p>"


def test_cells_carry_their_column_for_narrow_screens():
    shown = table(("name", "p50 <ms>"), [[HOSTILE, "1.2"]], numbers=("p50 <ms>",))
    assert 'data-label="p50 &lt;ms&gt;" class="n"' in shown
    assert "<script" not in shown


def test_the_page_forbids_scripts_and_everything_outside_of_it():
    text = page("t", HOSTILE, [folded("more", "x", unfolded=True)], ["A b"])
    assert "default-src &#x27;none&#x27;" in text
    assert "<script" not in text
    assert 'href="#a-b"' in text
    assert "<details open>" in text
    assert "prefers-color-scheme: dark" in text


def test_figures_keep_their_digits_and_signs():
    assert significant(0.0000123) == "1.2e-05"
    assert significant(2_432_200, "weights") == "2,432,200\u202fweights"
    assert significant(None) == "–"
    assert change(-0.0008) == "−0.08\u202f%"
    assert change(0.00001) == change(-0.00001) == "0.00\u202f%"
    assert milliseconds(0.5) == "0.500"
    assert megabytes(3_000_000) == "3.00"
    assert count(2_432_200) == "2.43\u202fM"
    assert ratio(6.234, 5.9, 6.6) == "6.23 [5.90, 6.60]"
    assert ratio(77.9, 54.7, 150.4) == "78 [55, 150]"
