"""What every kind of app says of its bundle."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from edgekd.bundle.open import Bundle
from edgekd.errors import InputError
from edgekd.registry import recipe_entry, recipe_part

KINDS = ("picture", "frames", "mask", "box", "rows", "array")  # how an app's input may be read


def input_kinds(bundle: Bundle) -> dict[str, str]:
    """How each part of a raw item is read, as the recipe's ``recipe.toml`` says under ``[app.inputs]``.

    A recipe that says nothing takes arrays.

    Raises:
        InputError: it says something that no app knows.
    """
    recipe = str(bundle.manifest.recipe)
    named = _app(recipe).get("inputs", {})
    for name, how in named.items() if isinstance(named, dict) else [("app.inputs", named)]:
        if not isinstance(how, str) or how.rstrip("?").partition(" of ")[0] not in KINDS:
            raise InputError(f"recipe.toml of {recipe}: {name} is read as {how!r}", f"there are: {', '.join(KINDS)}")
    return dict(named) or dict.fromkeys(bundle.vectors()["raw"], "array")


def settings(bundle: Bundle) -> dict[str, Any]:
    """Constants of the recipe's pipeline that an app in another language needs, as ``[app]`` lists them: ``NAME``, or
    ``MODULE.NAME`` of a module that the pipeline imports.

    Raises:
        InputError: the pipeline has no such constant.
    """
    recipe = str(bundle.manifest.recipe)
    pipeline = recipe_part(recipe, "pipeline")
    try:
        return {name.rpartition(".")[2]: attrgetter(name)(pipeline) for name in _app(recipe).get("settings", [])}
    except (AttributeError, TypeError) as error:
        raise InputError(f"recipe.toml of {recipe}: app.settings cannot be used", str(error)) from None


def _app(recipe: str) -> dict[str, Any]:
    found = recipe_entry(recipe).facts.get("app", {})
    return found if isinstance(found, dict) else {}


def what_it_is(bundle: Bundle) -> str:
    """One line."""
    manifest = bundle.manifest
    return f"{manifest.name}: the {manifest.recipe} student, {manifest.precision}, on {manifest.target}."
