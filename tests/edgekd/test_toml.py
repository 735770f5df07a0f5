import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekd.errors import InputError
from edgekd.toml import first_problem, keys_at, not_finite, parse_toml_value, read_toml


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: float
    height: float = 1.0


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner
    name: str = ""


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1.5", 1.5), ("true", True), ("[1, 2]", [1, 2]), ('"a"', "a"), ("a", "a"), ("", ""), ("a:b", "a:b")],
)
def test_a_value_is_toml_or_the_text_itself(text, value):
    found = parse_toml_value(text)
    assert found == value
    assert type(found) is type(value)


def test_a_broken_file_is_named_with_line_and_column(tmp_path):
    (tmp_path / "a.toml").write_text("a = 1\nb = = 2\n")
    with pytest.raises(InputError, match=r"a\.toml is not valid TOML(.|\n)*line 2, column 5"):
        read_toml(tmp_path / "a.toml")


def test_a_file_that_is_no_text_is_no_toml(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(InputError, match="is not valid TOML"):
        read_toml(tmp_path / "a.toml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.toml"):
        read_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inner": {"width": 1, "hieght": 2}}, r"f: unknown key 'inner\.hieght'(.|\n)*did you mean \"height\"\?"),
        ({"inner": {}}, r"f: inner\.width is missing(.|\n)*add width = "),
        ({"inner": {"width": "w"}}, r"f: inner\.width = 'w' cannot be used(.|\n)*valid number"),
    ],
)
def test_what_is_wrong_is_said_with_origin_key_and_remedy(data, message):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(data)
    with pytest.raises(InputError, match=message):
        raise first_problem(caught.value, data, Outer, "f")


def test_keys_of_a_section():
    assert keys_at(Outer, []) == ["inner", "name"]
    assert keys_at(Outer, ["inner"]) == ["width", "height"]
    assert keys_at(Outer, ["name"]) == keys_at(Outer, ["nothing"]) == []


def test_the_first_value_that_is_no_finite_number_is_found():
    assert not_finite({"a": 1.0, "b": {"c": 2, "d": float("nan")}}) == "b.d"
    assert not_finite({"a": 1.0, "b": {"c": "nan"}}) == ""
