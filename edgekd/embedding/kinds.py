"""Which kinds of app a bundle can become, found by listing folders: nothing is registered anywhere.

An app is made of three parts, each of which says what it can by having a folder ``app/KIND``:

    edgekd/embedding/frames/KIND        the frame: command line or page, verification, what all students share
    edgekd_targets/TARGET/app/KIND      how a graph of that target is run
    edgekd/recipes/RECIPE/app/KIND      pre- and post-processing, for kinds in another language than Python

Python apps take the recipe's own ``pipeline.py`` (``edgekd.embedding.lifting``), so every recipe has that kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import InputError, nearest
from edgekd.registry import recipe_entry, target_entry, targets

FRAMES = Path(__file__).parent / "frames"
LIFTED = frozenset({"python"})  # kinds that need no part of the recipe's


@dataclass(frozen=True)
class Kind:
    """One kind of app with the folders of its parts; ``recipe`` is None where the pipeline itself is taken."""

    name: str
    frame: Path
    target: Path
    recipe: Path | None


def kinds() -> list[str]:
    """Every kind that there is a frame for."""
    return sorted(folder.name for folder in FRAMES.iterdir() if folder.is_dir())


def able_targets(kind: str) -> list[str]:
    return [name for name, entry in targets().items() if (entry.folder / "app" / kind).is_dir()]


def served(recipe: str, target: str) -> list[str]:
    """The kinds that a bundle of this recipe for this target can become."""
    able = [kind for kind in kinds() if target in able_targets(kind)]
    return [kind for kind in able if kind in LIFTED or (recipe_entry(recipe).folder / "app" / kind).is_dir()]


def kind_of(name: str, recipe: str | None, target: str) -> Kind:
    """The kind's parts for a bundle.

    Raises:
        InputError: there is no such kind, or one part of it is missing; what can be made is said.
    """
    if name not in kinds():
        raise InputError(f"there is no kind of app {name!r}", fix=nearest(name, kinds()))
    if recipe is None:
        why = "it is a foreign model: it takes and gives arrays, and there is nothing to decode"
        raise InputError(f"no {name} app can be made of this bundle", why, "edgekd.open(BUNDLE).session.run(arrays)")
    can = served(recipe, target)
    if name not in can:
        apps = f"--app {', --app '.join(can)}" if can else ""
        if target not in able_targets(name):
            why = f"{target} has no {name} app; {', '.join(able_targets(name)) or 'no target'} has"
            other = f"export the run for {able_targets(name)[0]}" if able_targets(name) else ""
        else:
            why, other = f"the recipe {recipe} has no pre- and post-processing for {name} apps", ""
        fix = " or ".join(part for part in (apps, other) if part)
        raise InputError(f"no {name} app can be made of this bundle", why, fix or "edgekd predict BUNDLE runs it")
    part = None if name in LIFTED else recipe_entry(recipe).folder / "app" / name
    return Kind(name, FRAMES / name, target_entry(target).folder / "app" / name, part)
