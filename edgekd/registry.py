"""What recipes and targets there are, from static TOML alone; their code is imported by name when used.

Built-in ones are found by listing their folder, others' by the entry points ``edgekd.recipes`` and
``edgekd.targets``, whose value names the package that has the same shape.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import ValidationError

from edgekd.contracts import Builder, Profile, Runtime
from edgekd.errors import InputError, MachineError, nearest
from edgekd.toml import first_problem, not_finite, read_toml


@dataclass(frozen=True)
class Entry:
    """A recipe or a target: its name, the package that holds it, its folder, its static facts."""

    name: str
    package: str
    folder: Path
    facts: Mapping[str, Any]


def _entries(kind: str, home: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    packages = []
    spec = importlib.util.find_spec(home)
    for root in spec.submodule_search_locations or [] if spec else []:
        for facts in sorted(Path(root).glob(f"*/{kind}.toml")):
            packages.append((facts.parent.name, f"{home}.{facts.parent.name}", facts.parent))
    for point in entry_points(group=f"edgekd.{kind}s"):
        try:
            spec = importlib.util.find_spec(point.value)
        except (ModuleNotFoundError, ValueError):  # a parent is missing; the value names something inside a module
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"the entry point {point.name} = {point.value} of edgekd.{kind}s names no package",
                fix=f"uninstall or mend {point.dist.name if point.dist else 'its distribution'}",
            )
        packages.append((point.name, point.value, Path(spec.submodule_search_locations[0])))
    for name, package, folder in packages:
        if name in found:
            raise InputError(f"two packages offer the {kind} {name}", f"{found[name].package} and {package}")
        found[name] = Entry(name, package, folder, _facts(folder / f"{kind}.toml", kind))
    return found


# What edgekd itself reads of a recipe.toml and a target.toml; there may be more.
_NEEDED = {"recipe": ("title", "student"), "target": ("title", "extra", "package")}


def _facts(file: Path, kind: str) -> dict[str, Any]:
    """Raises InputError for a file without the facts that every recipe or target has."""
    facts = read_toml(file)
    for key in _NEEDED[kind]:
        if not isinstance(facts.get(key), str):
            raise InputError(f"{file}: {key} is missing or no text", fix=f'add {key} = "..."')
    tools = facts.get("build_needs", [])
    if not isinstance(facts.get("default_preset", ""), str):
        raise InputError(f"{file}: default_preset is no text", fix='default_preset = "quick"')
    if not isinstance(tools, list) or not all(isinstance(tool, str) for tool in tools):
        raise InputError(f"{file}: build_needs is no list of packages", fix='build_needs = ["nncf"]')
    return facts


@cache
def recipes() -> dict[str, Entry]:
    return _entries("recipe", "edgekd.recipes")


@cache
def targets() -> dict[str, Entry]:
    return _entries("target", "edgekd_targets")


def recipe_entry(name: str) -> Entry:
    if name not in recipes():
        raise InputError(f"there is no recipe {name!r}", fix=nearest(name, recipes()))
    return recipes()[name]


def recipe_part(name: str, part: str) -> ModuleType:
    """Imports ``recipe``, ``config``, ``pipeline`` or ``metrics`` of a recipe.

    A part that is not the package's own is named in its ``recipe.toml``, under ``[parts]``.
    """
    return _import(part_name(name, part), "distill")


def optional_part(name: str, part: str) -> ModuleType | None:
    """A part that not every recipe has (``quality``); None where this one has none."""
    module = part_name(name, part)
    return _import(module, "distill") if importlib.util.find_spec(module) else None


def part_name(name: str, part: str) -> str:
    """The module that a recipe's part is, not imported."""
    entry = recipe_entry(name)
    return str(entry.facts.get("parts", {}).get(part, f"{entry.package}.{part}"))


def target_entry(name: str) -> Entry:
    if name not in targets():
        raise InputError(f"there is no target {name!r}", fix=nearest(name, targets()))
    return targets()[name]


def runtime(target: str) -> Runtime:
    entry = target_entry(target)
    return cast(Runtime, _import(f"{entry.package}.runtime", entry.facts["extra"]))


def builder(target: str) -> Builder:
    entry = target_entry(target)
    if not (entry.folder / "build.py").exists():
        raise InputError(
            f"nothing is built for {target}",
            "it is the reference: a run folder is all it needs",
            "edgekd bench RUN measures it",
        )
    return cast(Builder, _import(f"{entry.package}.build", "distill"))


def profiles(target: str) -> dict[str, Path]:
    return {p.stem: p for p in sorted((target_entry(target).folder / "profiles").glob("*.toml"))}


def profile(spec: str) -> Profile:
    """``TARGET[/PROFILE]``, or ``TARGET/path/to/own.toml``; bare means the target's own ``default_profile``."""
    target, _, name = spec.partition("/")
    name = name or str(target_entry(target).facts.get("default_profile", "default"))
    known = profiles(target)
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"there is no profile file {name}", fix=f"profiles of {target}: {', '.join(known)}")
    elif name in known:
        path = known[name]
    else:
        raise InputError(f"{target} has no profile {name!r}", fix=nearest(name, known))
    data = read_toml(path)
    if given := sorted({"name", "target"} & set(data)):
        raise InputError(f"{path}: unknown key {given[0]!r}", "file and --target say it", f"remove {given[0]}")
    if key := not_finite(data):
        raise InputError(f"{path}: {key} cannot be used", "it is NaN or infinite", "give a finite number")
    try:
        found = Profile.model_validate({"name": path.stem, "target": target, **data})
    except ValidationError as error:
        raise first_problem(error, data, Profile, str(path)) from None
    if not found.precisions or len(set(found.precisions)) < len(found.precisions):
        raise InputError(f"{path}: precisions must name at least one, each once", fix='precisions = ["int8", "fp32"]')
    return found


def _import(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in ("edgekd", "edgekd_targets"):
            raise
        if module.startswith(f"{missing}."):
            raise InputError(
                f"there is no {error.name}", "a recipe or target package lacks a part of its shape"
            ) from None
        raise MachineError(
            f"{missing} is not installed", f"{module} needs it", f'pip install "edgekd[{extra}]"'
        ) from None
