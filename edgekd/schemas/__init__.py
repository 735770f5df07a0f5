"""JSON schemas of the records: what another program needs to read them.

``NAME-VERSION.schema.json`` lie beside this file and travel in the wheel. ``python -m edgekd.schemas`` makes
them, and docs/schemas.md, from the models and from ``descriptions.toml``. Once recorded in ``fixed.json``, what
a version says does not change but for its words: what changes needs a new version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edgekd.bundle import manifest
from edgekd.errors import InputError
from edgekd.measuring import claims, measurement
from edgekd.run import SCHEMA_VERSION as RUN_VERSION
from edgekd.run import RunRecord
from edgekd.schema import schema_file
from edgekd.storage import read_json
from edgekd.toml import read_toml

FOLDER = Path(__file__).parent
FIXED = FOLDER / "fixed.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NOT_FINITE = ["Infinity", "-Infinity", "NaN"]  # JSON has no such numbers


@dataclass(frozen=True)
class Record:
    """One kind of file: its model, its version, and where it is found."""

    name: str
    version: int
    model: type[BaseModel]
    file: str

    @property
    def path(self) -> Path:
        return FOLDER / schema_file(self.name, self.version)


RECORDS = (
    Record("manifest", manifest.SCHEMA_VERSION, manifest.Manifest, "BUNDLE/manifest.json"),
    Record("measurement", measurement.SCHEMA_VERSION, measurement.Measurement, "measurements/*.json"),
    Record("claims", claims.SCHEMA_VERSION, claims.Claims, "a recipe's claims.toml"),
    Record("run", RUN_VERSION, RunRecord, "RUN/run.json"),
)


def schema(record: Record) -> dict[str, Any]:
    """The record's JSON schema, with a description at every field.

    Raises:
        InputError: a field without one, or one without its field; each is named.
    """
    made = record.model.model_json_schema()
    models = {record.model.__name__: made, **made.get("$defs", {})}
    words = read_toml(FOLDER / "descriptions.toml")
    missing = []
    for name, part in models.items():
        part.pop("title", None)
        described = words.get(name, {})
        if strangers := sorted(described.keys() - part.get("properties", {}).keys()):
            raise InputError(f"descriptions.toml: {name} has no field {strangers[0]}")
        for field, facts in part.get("properties", {}).items():
            facts.pop("title", None)
            if field not in described:
                missing.append(f"[{name}] {field}")
            facts["description"] = described.get(field, "")
    if missing:
        raise InputError("descriptions.toml lacks fields", ", ".join(missing), 'add a line FIELD = "..." for each')
    for model in _models(record.model):
        if model.model_config.get("ser_json_inf_nan") == "strings":
            _allow_not_finite(models[model.__name__]["properties"])
    stated = {"description": "name of this schema", "type": "string"}
    made["properties"] = {"$schema": stated, **made["properties"]}
    if "schema_version" in made["properties"]:  # has a default for those who write one; who reads must know it
        made["required"] = ["schema_version", *made["required"]]
    return {"$schema": DIALECT, "$id": record.path.name, "title": f"edgekd {record.name}", **made}


def meaning_sha256(made: dict[str, Any]) -> str:
    """Of what a schema allows, words left out: two with the same one accept the same records."""
    return hashlib.sha256(json.dumps(_bare(made), sort_keys=True).encode()).hexdigest()


def fixed() -> dict[str, str]:
    """``meaning_sha256`` of every version there was, by the schema's file name."""
    return dict(read_json(FIXED))


def document() -> str:
    """docs/schemas.md: a table for each model of each record."""
    lines = [
        "# Records and their schemas",
        "",
        "Made by `python -m edgekd.schemas`; do not edit. The schemas are in `edgekd/schemas/` and in the wheel;",
        "`edgekd list schemas` tells where. JSON Schema 2020-12. A record names its own in `$schema`, relative and",
        "without a host. A reader that meets a newer `schema_version` than it knows must refuse it.",
    ]
    shown: set[str] = set()
    for record in RECORDS:
        made = schema(record)
        lines += ["", f"## {record.name}, version {record.version}", "", f"`{record.file}`: `{record.path.name}`"]
        for name, part in {record.model.__name__: made, **made.get("$defs", {})}.items():
            if name in shown:
                continue
            shown.add(name)
            if "properties" not in part:
                lines += ["", f"### {name}", "", _kind(part)]
                continue
            lines += ["", f"### {name}", "", "| field | type | meaning |", "|---|---|---|"]
            required = part.get("required", [])
            for field, facts in part["properties"].items():
                kind = _kind(facts) + ("" if field in required else ", may be left out")
                lines.append(
                    f"| `{field}` | {kind} | {facts['description']} |".replace("|a-b|", "\\|a-b\\|").replace(
                        "|b|", "\\|b\\|"
                    )
                )
    return "\n".join(lines) + "\n"


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """``model`` and all below it that its fields name."""
    seen: set[type[BaseModel]] = set()
    todo: list[Any] = [model]
    while todo:
        kind = todo.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in seen:
                seen.add(kind)
                yield kind
                todo += [field.annotation for field in kind.model_fields.values()]
        else:
            todo += getattr(kind, "__args__", ())


def _allow_not_finite(part: Any) -> None:
    if isinstance(part, list):
        for item in part:
            _allow_not_finite(item)
    elif isinstance(part, dict):
        if part.get("type") == "number":
            del part["type"]
            part["anyOf"] = [{"type": "number"}, {"enum": _NOT_FINITE}]
        else:
            _allow_not_finite(list(part.values()))


def _bare(part: Any, named: bool = False) -> Any:
    """Without descriptions and titles; below ``properties`` and ``$defs`` the keys are names and no keywords."""
    if isinstance(part, list):
        return [_bare(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _bare(value, not named and key in ("properties", "$defs"))
        for key, value in part.items()
        if named or key not in ("description", "title")
    }


def _kind(facts: dict[str, Any]) -> str:
    if "$ref" in facts:
        return str(facts["$ref"]).rpartition("/")[2]
    if "anyOf" in facts:
        return " or ".join(dict.fromkeys(_kind(item) for item in facts["anyOf"]))
    if "enum" in facts or "const" in facts:
        return ", ".join(f"`{value}`" for value in facts.get("enum", [facts.get("const")]))
    kind = str(facts.get("type", "anything"))
    if kind == "array":
        inner = facts.get("items") or {}
        return f"list of {_kind(inner)}" if inner else "list"
    inner = facts.get("additionalProperties")
    if kind == "object" and isinstance(inner, dict):
        return f"name -> {_kind(inner)}"
    return kind
