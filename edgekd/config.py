"""TOML <-> a recipe's validated config: preset, then the user's file, then ``--set``, later ones winning."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgekd.errors import InputError, nearest
from edgekd.registry import recipe_entry, recipe_part
from edgekd.storage import DEEPEST
from edgekd.toml import first_problem, keys_at, not_finite, parse_toml_value, read_toml


def presets(recipe: str) -> dict[str, Path]:
    return {p.stem: p for p in sorted((recipe_entry(recipe).folder / "presets").glob("*.toml"))}


def resolve(recipe: str, preset: str | None = None, file: Path | None = None, settings: Iterable[str] = ()) -> Any:
    """The recipe's validated ``Config``.

    Args:
        preset: a TOML of the recipe's ``presets`` by name.
        file: the user's own TOML.
        settings: ``section.key=value`` strings; the value is read as TOML, else as a string.

    Raises:
        InputError: unknown preset, key (with its nearest match) or value.
    """
    model: type[BaseModel] = recipe_part(recipe, "config").Config
    layers: list[tuple[str, dict[str, Any]]] = []
    if preset is not None:
        known = presets(recipe)
        if preset not in known:
            raise InputError(f"{recipe} has no preset {preset!r}", fix=nearest(preset, known))
        layers.append((f"preset {preset}", read_toml(known[preset])))
    if file is not None:
        layers.append((str(file), read_toml(file)))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--set {setting!r} is no section.key=value", fix="--set student.width=0.5")
        path = key.split(".")
        if len(path) > DEEPEST:
            raise InputError(f"--set {setting} cannot be used", f"it is nested more than {DEEPEST} levels deep")
        layers.append((f"--set {setting}", _nested(path, parse_toml_value(text))))

    merged: dict[str, Any] = {}
    config = model()
    for origin, layer in layers:
        merged = _merge(merged, layer)
        try:
            config = model.model_validate(merged)
        except ValidationError as error:
            raise first_problem(error, merged, model, origin) from None
        if key := not_finite(merged):
            raise InputError(f"{origin}: {key} cannot be used", "it is NaN or infinite", "give a finite number")
    return config


def restore(recipe: str, recorded: dict[str, Any], origin: str) -> Any:
    """The ``Config`` that ``origin``, a run, was made with.

    Raises:
        InputError: a key or a value that this recipe no longer has.
    """
    model: type[BaseModel] = recipe_part(recipe, "config").Config
    try:
        return model.model_validate(recorded)
    except ValidationError as error:
        raise first_problem(error, recorded, model, origin) from None


def has_key(recipe: str, key: str) -> bool:
    """Whether the recipe can be configured by ``section.key``."""
    *section, last = key.split(".")
    return last in keys_at(recipe_part(recipe, "config").Config, section)


def dump(config: BaseModel) -> str:
    """The config as TOML text; ``resolve(file=...)`` of it gives the same config."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged
