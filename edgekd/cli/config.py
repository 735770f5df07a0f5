"""``edgekd config show``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Quiet, Verbose, print_json

app = typer.Typer()


@app.callback()
def _group() -> None:
    """Shows a recipe's configuration."""


@app.command("show")
def show(
    recipe: Annotated[str, typer.Argument(help="a recipe, see `edgekd list recipes`")],
    preset: Annotated[str | None, typer.Option("--preset", help="start from this preset")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="your own TOML")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """The resolved configuration as TOML, ready to be edited and given back with `--config`.

    Example: `edgekd config show landmarks --preset quick --set student.width=0.5`
    """
    from edgekd import config as configuration

    resolved = configuration.resolve(recipe, preset, config, settings or [])
    if json_output:
        print_json(resolved)
    elif not quiet:
        print(configuration.dump(resolved), end="")
