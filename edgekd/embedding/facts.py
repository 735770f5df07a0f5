"""What every kind of app says of its bundle."""

from __future__ import annotations

from edgekd.bundle.open import Bundle
from edgekd.registry import recipe_entry


def input_kinds(bundle: Bundle) -> dict[str, str]:
    """How each part of a raw item is read, as the recipe's ``recipe.toml`` says under ``[app.inputs]``.

    A recipe that says nothing takes arrays.
    """
    named = recipe_entry(str(bundle.manifest.recipe)).facts.get("app", {}).get("inputs", {})
    return dict(named) or dict.fromkeys(bundle.vectors()["raw"], "array")


def what_it_is(bundle: Bundle) -> str:
    """One line."""
    manifest = bundle.manifest
    return f"{manifest.name}: the {manifest.recipe} student, {manifest.precision}, on {manifest.target}."
