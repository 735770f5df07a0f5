"""TOML of users and of other people's packages: a value, or one message that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from strategies.documents import TEXTS, broken, changed
from strategies.outcome import loaded, only_within

from edgekd import config, registry
from edgekd.cli.main import run as edgekd
from edgekd.errors import EdgekdError
from edgekd.measuring.claims import Claims, Evidence, assess_all, load_claims
from edgekd.toml import parse_toml_value, read_toml

RECIPE = registry.recipe_entry("landmarks").folder
REAL = {
    "claims.toml": RECIPE / "claims.toml",
    "preset.toml": RECIPE / "presets" / "quick.toml",
    "profile.toml": registry.profiles("openvino")["default"],
    "recipe.toml": RECIPE / "recipe.toml",
    "target.toml": registry.target_entry("openvino").folder / "target.toml",
}


def assessed(claims: Claims):
    evidence = [Evidence(metric=c.metric, value=1.0, unit=c.unit, conditions={}) for c in claims.claim]
    return assess_all(claims, evidence)


LOADS = {
    "claims.toml": lambda file: assessed(load_claims(file)),
    "preset.toml": lambda file: config.dump(config.resolve("landmarks", file=file)),
    "profile.toml": lambda file: registry.profile(f"openvino/{file}").options,
    "recipe.toml": lambda file: registry._facts(file, "recipe"),
    "target.toml": lambda file: registry._facts(file, "target"),
}


def write(file: Path, document: object) -> None:
    """What TOML can say of ``document``; the rest as JSON, which is mostly no TOML."""
    try:
        text = tomli_w.dumps(document)
    except (TypeError, ValueError, AttributeError, RecursionError):
        text = repr(document)
    file.write_text(text, encoding="utf-8", errors="replace")


@pytest.mark.parametrize("name", sorted(REAL))
@given(data=st.data())
def test_a_changed_document_is_used_or_refused(name, data, folder):
    file = folder / name
    write(file, data.draw(changed(read_toml(REAL[name]))))
    with only_within(folder):
        result = loaded(lambda: LOADS[name](file))
    if isinstance(result, EdgekdError):
        assert name in result.what


@pytest.mark.parametrize("name", sorted(REAL))
@given(data=st.data())
def test_a_broken_document_is_used_or_refused(name, data, folder):
    file = folder / name
    file.write_bytes(data.draw(broken(REAL[name].read_bytes())))
    loaded(lambda: LOADS[name](file))


EXHAUSTING = [
    "a = " + "[" * 3000 + "]" * 3000,
    "a = " + "[" * 100 + "]" * 100,
    ".".join("a" * 3000) + " = 1",
    "[" + ".".join("a" * 3000) + "]\nb = 1",
    "a = " + "{a=" * 3000 + "1" + "}" * 3000,
    "a = " + "9" * 10_000,
    "seed = " + "9" * 4000,
    "[train]\nlearning_rate = " + "9" * 4000,
    '[student]\nwidth = "' + "x" * 100_000 + '"',
    "a = 1979-13-99",
    "a = 1e999999999",
]


@pytest.mark.parametrize("text", EXHAUSTING, ids=range(len(EXHAUSTING)))
@pytest.mark.parametrize("name", ["claims.toml", "preset.toml", "profile.toml"])
def test_what_would_exhaust_who_reads_it_is_refused(folder, text, name):
    (folder / name).write_text(text, encoding="utf-8")
    assert isinstance(loaded(lambda: LOADS[name](folder / name)), EdgekdError)


@given(key=st.one_of(TEXTS, st.sampled_from(["student.width", "seed", "data.source", "train"])), value=TEXTS)
def test_any_setting_is_used_or_refused(key, value):
    loaded(lambda: config.resolve("landmarks", settings=[f"{key}={value}"]))


@given(text=st.one_of(st.text(max_size=40), st.sampled_from(EXHAUSTING), st.sampled_from(["1\nb = 2", "{}\n[x]"])))
def test_a_value_is_one_value_or_the_text_itself(text):
    value = parse_toml_value(text)
    assert value == text or "\n" not in text.strip() or isinstance(value, (str, list, dict))


def test_a_second_key_in_a_setting_is_not_swallowed():
    assert parse_toml_value("1\nb = 2") == "1\nb = 2"
    assert isinstance(loaded(lambda: config.resolve("landmarks", settings=["a." * 3000 + "b=1"])), EdgekdError)


@pytest.mark.parametrize(
    "source", ["images:~nobody-of-that-name/x", "images:" + "a" * 5000, "video:\0", "images:\ud800"]
)
def test_a_source_that_no_system_finds_is_refused(source):
    from edgekd.recipes.landmarks.pictures import parse_source

    assert isinstance(loaded(lambda: parse_source(source)), EdgekdError)


def test_the_command_line_says_one_message(folder, capfd):
    for text in EXHAUSTING:
        (folder / "own.toml").write_text(text, encoding="utf-8")
        assert edgekd(["config", "show", "landmarks", "--config", str(folder / "own.toml")]) == 2
        err = capfd.readouterr().err
        assert err.count("error: ") == 1
        assert len(err) < 5000


def test_a_nan_in_a_list_is_found(folder):
    (folder / "own.toml").write_text(
        'title = "x"\nprecisions = ["fp32"]\n[runtime]\na = [1.0, nan]\n', encoding="utf-8"
    )
    error = loaded(lambda: registry.profile(f"openvino/{folder / 'own.toml'}"))
    assert "runtime.a.1" in error.what
