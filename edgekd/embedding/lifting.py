"""Definitions taken out of edgekd's own modules, word for word, with all that they use: an app needs no edgekd then.

So the pre- and post-processing of an app in Python is the pipeline that training, gates and ``predict`` run, and not
another writing of it. A definition is what a module has at its top: a function, a class, a constant.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgekd.errors import InputError

Place = tuple[str, str]  # module, name of a definition in it
OWN = ("edgekd", "edgekd_targets")


@dataclass(frozen=True)
class Source:
    """A module's text: its definitions by name, and where its imported names come from."""

    name: str
    lines: tuple[str, ...]
    definitions: dict[str, ast.stmt]
    imported: dict[str, tuple[str, str]]  # name -> (module, name there); "" there: the module itself


@cache
def source(module: str) -> Source:
    """Reads a module without importing it.

    Raises:
        InputError: it has no Python source.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise InputError(f"{module} has no source", "an app is made from it")
    return parsed(module, Path(spec.origin).read_text(encoding="utf-8"))


def parsed(name: str, text: str) -> Source:
    definitions: dict[str, ast.stmt] = {}
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            imported |= {a.asname or a.name.partition(".")[0]: (a.name, "") for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {a.asname or a.name: (node.module or "", a.name) for a in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            definitions[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            definitions |= dict.fromkeys(names, node)
    return Source(name, tuple(text.splitlines()), definitions, imported)


@dataclass(frozen=True)
class Lifted:
    """``text`` of the definitions, each after what it uses; ``imports`` are lines for others' modules."""

    text: str
    imports: frozenset[str]
    names: frozenset[str]


def lift(roots: Iterable[Place], given: Collection[str], methods: Collection[str] = ()) -> Lifted:
    """The roots and all that they use of edgekd's modules or of their own package's.

    Args:
        roots: what is wanted.
        given: names that the app has already; what uses them gets those.
        methods: of classes among the roots, the methods that are wanted, with what those use; empty: all.

    Raises:
        InputError: two definitions of one name, or a module is used as a whole.
    """
    found: dict[str, tuple[Place, str]] = {}
    imports: set[str] = set()
    wanted = list(roots)
    packages = {*OWN, *(module.partition(".")[0] for module, _ in wanted)}

    def visit(place: Place, only: Collection[str]) -> None:
        module, name = place
        if name in given:
            return
        if name in found:
            if found[name][0] != place:
                raise InputError(
                    f"{module}.{name} cannot be put into one file", f"{found[name][0][0]} has a {name}, too", "rename"
                )
            return
        origin = source(module)
        if name not in origin.definitions:
            if name in origin.imported:
                imported(origin, name)
                return
            raise InputError(f"{module} has no {name}", "an app is made from it")
        node = origin.definitions[name]
        parts = _kept(node, only)
        found[name] = (place, "")  # before what it uses: functions may use each other
        if isinstance(node, ast.ClassDef) and parts != [node]:
            for base in node.bases:  # what a class inherits of the wanted methods is wanted, too
                if isinstance(base, ast.Name) and base.id in origin.definitions:
                    visit((module, base.id), only)
        for part in parts:
            for used in _names(part):
                if used in origin.definitions and origin.definitions[used] is not node:
                    visit((module, used), ())
                elif used in origin.imported:
                    imported(origin, used)
        del found[name]  # behind what it uses
        found[name] = (place, _text(origin, node, parts))

    def imported(origin: Source, name: str) -> None:
        module, there = origin.imported[name]
        if module == "__future__" or name in given:
            return
        if module.partition(".")[0] not in packages:
            imports.add(_import_line(module, there, name))
        elif not there or _is_module(f"{module}.{there}"):
            raise InputError(f"{origin.name} uses {module} as a whole", "an app takes single definitions from it")
        else:
            visit((module, there), ())

    for root in wanted:
        visit(root, methods)
    texts = {text: None for _, text in found.values()}  # one assignment may define several names
    return Lifted("\n\n\n".join(_close_constants(list(texts))), frozenset(imports), frozenset(found))


def method(module: str, cls: str, name: str) -> str:
    """The text of one method, as it stands in its class.

    Raises:
        InputError: there is no such method.
    """
    origin = source(module)
    node = origin.definitions.get(cls)
    body = node.body if isinstance(node, ast.ClassDef) else []
    for part in body:
        if isinstance(part, ast.FunctionDef) and part.name == name:
            return _lines(origin, part)
    raise InputError(f"{module}.{cls} has no {name}", "an app is made from it")


def import_lines(text: str) -> tuple[frozenset[str], str]:
    """The import lines at the top of ``text``, and the rest of it."""
    origin = parsed("", text)
    lines = {_import_line(module, there, name) for name, (module, there) in origin.imported.items()}
    gone: set[int] = set()
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            gone |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    rest = [line for number, line in enumerate(origin.lines, start=1) if number not in gone]
    return frozenset(lines), "\n".join(rest).strip("\n")


def ordered_imports(lines: Iterable[str]) -> str:
    """Import lines as they stand in a file: the future, the standard library, others; each module once."""
    whole: set[str] = set()
    parts: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("from "):
            module, _, names = line[len("from ") :].partition(" import ")
            parts.setdefault(module, set()).update(name.strip() for name in names.split(","))
        else:
            whole.add(line)
    made = [*whole, *(f"from {module} import {', '.join(sorted(names))}" for module, names in parts.items())]
    groups: dict[int, list[str]] = {}
    for line in made:
        top = line.split()[1].partition(".")[0]
        groups.setdefault(0 if top == "__future__" else 1 if top in sys.stdlib_module_names else 2, []).append(line)
    ordered = [sorted(groups[k], key=lambda line: (line.startswith("from"), line.lower())) for k in sorted(groups)]
    return "\n\n".join("\n".join(group) for group in ordered)


def _import_line(module: str, there: str, name: str) -> str:
    if there:
        return f"from {module} import {there}" + (f" as {name}" if there != name else "")
    return f"import {module}" + (f" as {name}" if name != module.partition(".")[0] else "")


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is a module, not a package
        return False


def _kept(node: ast.stmt, only: Collection[str]) -> list[ast.stmt]:
    """A definition; of a class those parts that ``only`` needs."""
    if not isinstance(node, ast.ClassDef) or not only:
        return [node]
    named = {name: part for part in node.body for name in _defined(part)}
    kept: set[str] = {name for name in only if name in named}
    waiting = list(kept)
    while waiting:
        used = [n.attr for n in ast.walk(named[waiting.pop()]) if isinstance(n, ast.Attribute) and _is_self(n.value)]
        more = {name for name in used if name in named} - kept
        kept |= more
        waiting += more
    return [part for part in node.body if kept & set(_defined(part))]


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _defined(part: ast.stmt) -> list[str]:
    if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
        return [part.name]
    targets = part.targets if isinstance(part, ast.Assign) else [part.target] if isinstance(part, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names(node: ast.stmt) -> list[str]:
    """Names that a definition reads, in the order of its text; some are its own locals, which no module has."""
    read = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    return [name for name in dict.fromkeys(read) if not hasattr(builtins, name)]


def _lines(origin: Source, node: ast.stmt) -> str:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return "\n".join(origin.lines[first - 1 : node.end_lineno])


def _text(origin: Source, node: ast.stmt, parts: list[ast.stmt]) -> str:
    if parts == [node] or not isinstance(node, ast.ClassDef):
        return _lines(origin, node)
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    documented = isinstance(node.body[0], ast.Expr)
    head = origin.lines[first - 1 : node.body[0].end_lineno if documented else node.body[0].lineno - 1]
    return "\n\n".join(["\n".join(head), *(_lines(origin, part) for part in parts)])


def _close_constants(texts: list[str]) -> list[str]:
    """Constants that follow each other stand on lines that do."""
    joined: list[str] = []
    for text in texts:
        constant = not text.startswith(("def ", "class ", "@"))
        if joined and constant and not joined[-1].startswith(("def ", "class ", "@")):
            joined[-1] += f"\n{text}"
        else:
            joined.append(text)
    return joined
