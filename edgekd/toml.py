"""Reading TOML, and saying what is wrong with it in one message that names file, key and nearest match."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgekd.errors import InputError, nearest
from edgekd.storage import DEEPEST, too_deep

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """Raises InputError, with line and column, for a file that is missing or no TOML."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}", error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:  # its own, no UTF-8, a number of thousands of digits
        raise InputError(f"{path} is not valid TOML", str(error)) from None
    if too_deep(data):
        raise InputError(f"{path} cannot be used", f"it is nested more than {DEEPEST} levels deep")
    return data


def parse_toml_value(text: str) -> Any:
    """A value as in ``--set key=value``: TOML if it reads as one value, else the string itself."""
    try:
        data = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return data["value"] if data.keys() == {"value"} and not too_deep(data) else text


def first_problem(error: ValidationError, data: Mapping[str, Any], model: type[BaseModel], origin: str) -> InputError:
    """The first thing pydantic objects to, as one message with the nearest known key."""
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = keys_at(model, path[:-1])
        return InputError(f"{origin}: unknown key {key!r}", fix=nearest(path[-1], known))
    if problem["type"] == "missing":
        return InputError(f"{origin}: {key} is missing", fix=f"add {path[-1]} = ...")
    value = problem.get("input")
    fix = ""
    if problem["type"] in ("literal_error", "enum"):
        known = re.findall(r"'([^']*)'", problem.get("ctx", {}).get("expected", ""))
        fix = nearest(str(value), known) if known else ""
    return InputError(f"{origin}: {key} = {value!r} cannot be used", problem["msg"], fix)


def not_finite(data: Mapping[str, Any], above: str = "") -> str:
    """The first key whose value is NaN or infinite, as ``section.key``; empty where there is none."""
    for key, value in data.items():
        if isinstance(value, list):
            value = {str(index): item for index, item in enumerate(value)}
        if isinstance(value, Mapping):
            if found := not_finite(value, f"{above}{key}."):
                return found
        elif isinstance(value, float) and not math.isfinite(value):
            return f"{above}{key}"
    return ""


def keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys of the section at ``path``; none where there is no such section."""
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
