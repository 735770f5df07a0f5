"""What every kind of app says of its bundle."""

from __future__ import annotations

from edgekd.bundle.open import Bundle
from edgekd.registry import recipe_entry, recipe_part


def input_kinds(bundle: Bundle) -> dict[str, str]:
    """How each part of a raw item is read, as the recipe's ``recipe.toml`` says under ``[app.inputs]``.

    A recipe that says nothing takes arrays.
    """
    named = recipe_entry(str(bundle.manifest.recipe)).facts.get("app", {}).get("inputs", {})
    return dict(named) or dict.fromkeys(bundle.vectors()["raw"], "array")


def settings(bundle: Bundle) -> dict[str, float | int]:
    """Constants of the recipe's pipeline that an app in another language needs, by the names that ``[app]`` lists."""
    recipe = str(bundle.manifest.recipe)
    names = recipe_entry(recipe).facts.get("app", {}).get("settings", [])
    return {name: getattr(recipe_part(recipe, "pipeline"), name) for name in names}


def what_it_is(bundle: Bundle) -> str:
    """One line."""
    manifest = bundle.manifest
    return f"{manifest.name}: the {manifest.recipe} student, {manifest.precision}, on {manifest.target}."
