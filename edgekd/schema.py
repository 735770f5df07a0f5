"""Records with a schema version, read from JSON: run, manifest, measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from edgekd.errors import InputError
from edgekd.storage import inner_path, read_json

Model = TypeVar("Model", bound=BaseModel)

Count = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
InnerPath = Annotated[str, AfterValidator(inner_path)]  # of a file in the record's own folder


def schema_file(record: str, version: int) -> str:
    """Name of the JSON schema of a record, which ``$schema`` states: relative, in ``edgekd/schemas``."""
    return f"{record}-{version}.schema.json"


def with_schema(record: str, version: int, data: dict[str, Any]) -> dict[str, Any]:
    """The record's JSON with ``$schema`` first."""
    return {"$schema": schema_file(record, version), **data}


def read_versioned(file: Path, kind: str, newest: int, remake: str) -> dict[str, Any]:
    """The JSON object in ``file``, whose ``schema_version`` this edgekd knows, without its ``$schema``.

    Args:
        kind: what it is a record of: run, bundle, measurement.
        newest: the schema that this edgekd writes.
        remake: how the user gets a whole one.

    Raises:
        InputError: unreadable, no such record, or a newer schema.
    """
    return versioned(read_json(file), file, kind, newest, remake)


def versioned(data: Any, file: Path, kind: str, newest: int, remake: str) -> dict[str, Any]:
    """As ``read_versioned``, of what was read already."""
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"{file} is damaged or no {kind}", "it states no schema_version", remake)
    if version > newest:
        why = f"this edgekd reads up to {newest}"
        raise InputError(f"{file} has {kind} schema {version}", why, "pip install --upgrade edgekd")
    return {key: value for key, value in data.items() if key != "$schema"}


def validated(model: type[Model], data: dict[str, Any], file: Path, remake: str) -> Model:
    """Raises InputError that names the first thing ``model`` objects to."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise InputError(f"{file} is damaged", f"{where}: {problem['msg']}", remake) from None
