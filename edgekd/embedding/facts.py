"""What every kind of app says of its bundle."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from edgekd.bundle.open import Bundle
from edgekd.registry import recipe_entry, recipe_part


def input_kinds(bundle: Bundle) -> dict[str, str]:
    """How each part of a raw item is read, as the recipe's ``recipe.toml`` says under ``[app.inputs]``.

    A recipe that says nothing takes arrays.
    """
    named = recipe_entry(str(bundle.manifest.recipe)).facts.get("app", {}).get("inputs", {})
    return dict(named) or dict.fromkeys(bundle.vectors()["raw"], "array")


def settings(bundle: Bundle) -> dict[str, Any]:
    """Constants of the recipe's pipeline that an app in another language needs, as ``[app]`` lists them: ``NAME``, or
    ``MODULE.NAME`` of a module that the pipeline imports."""
    recipe = str(bundle.manifest.recipe)
    names = recipe_entry(recipe).facts.get("app", {}).get("settings", [])
    pipeline = recipe_part(recipe, "pipeline")
    return {name.rpartition(".")[2]: attrgetter(name)(pipeline) for name in names}


def what_it_is(bundle: Bundle) -> str:
    """One line."""
    manifest = bundle.manifest
    return f"{manifest.name}: the {manifest.recipe} student, {manifest.precision}, on {manifest.target}."
