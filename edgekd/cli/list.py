"""``edgekd list``"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Quiet, Verbose, print_json, print_table


class What(str, Enum):
    recipes = "recipes"
    targets = "targets"
    schemas = "schemas"


def list_(
    what: Annotated[What, typer.Argument(help="recipes, targets or schemas")],
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Which recipes or targets there are, from static files alone; where the JSON schemas of records lie.

    Example: `edgekd list targets`
    """
    from edgekd import config, registry
    from edgekd.toml import read_toml

    if what is What.recipes:
        rows = [
            {**e.facts, "name": n, "presets": sorted(config.presets(n)), "package": e.package}
            for n, e in registry.recipes().items()
        ]
        columns = ["recipe", "what", "student", "presets"]
        cells = [[r["name"], r["title"], r["student"], ", ".join(r["presets"])] for r in rows]
    elif what is What.schemas:
        from edgekd.schemas import RECORDS

        rows = [{"name": r.name, "version": r.version, "file": r.file, "schema": str(r.path)} for r in RECORDS]
        columns = ["record", "version", "file", "schema"]
        cells = [[str(row[key]) for key in ("name", "version", "file", "schema")] for row in rows]
    else:
        rows = []
        for name, entry in registry.targets().items():
            for stem, path in registry.profiles(name).items():
                facts = read_toml(path)
                spec = name if stem == "default" else f"{name}/{stem}"
                rows.append({**entry.facts, "name": spec, "profile": facts, "package": entry.package})
        columns = ["target", "runtime", "profile", "precisions"]
        cells = [[r["name"], r["title"], r["profile"]["title"], ", ".join(r["profile"]["precisions"])] for r in rows]
    if json_output:
        print_json(rows)
    elif not quiet:
        print_table(what.value, columns, cells)
