"""Records with a schema version, read from JSON: run, manifest, measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgekd.errors import InputError
from edgekd.storage import read_json

Model = TypeVar("Model", bound=BaseModel)


def read_versioned(file: Path, kind: str, newest: int, remake: str) -> dict[str, Any]:
    """The JSON object in ``file``, whose ``schema_version`` this edgekd knows.

    Args:
        kind: what it is a record of: run, bundle, measurement.
        newest: the schema that this edgekd writes.
        remake: how the user gets a whole one.

    Raises:
        InputError: unreadable, no such record, or a newer schema.
    """
    data = read_json(file)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise InputError(f"{file} is damaged or no {kind}", "it states no schema_version", remake)
    if version > newest:
        why = f"this edgekd reads up to {newest}"
        raise InputError(f"{file} has {kind} schema {version}", why, "pip install --upgrade edgekd")
    return dict(data)


def validated(model: type[Model], data: dict[str, Any], file: Path, remake: str) -> Model:
    """Raises InputError that names the first thing ``model`` objects to."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise InputError(f"{file} is damaged", f"{where}: {problem['msg']}", remake) from None
