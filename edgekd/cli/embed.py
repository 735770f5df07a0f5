"""``edgekd embed``"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Verbose, print_json, say


class Kind(str, Enum):
    python = "python"
    cpp = "cpp"
    web = "web"
    swift = "swift"


def embed(
    bundle: Annotated[Path, typer.Argument(help="a bundle folder")],
    app: Annotated[Kind, typer.Option("--app", help="what kind of app")],
    out: Annotated[Path, typer.Option("--out", help="the app's folder")],
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """A small app from a bundle, to be read and copied from; it carries the bundle's vectors and verifies itself.

    Example: `edgekd embed bundles/lm-openvino --app python --out app`
    """
    from edgekd.embedding.embed import embed as run_embed

    made = run_embed(bundle, app.value, out, overwrite=overwrite)
    if json_output:
        print_json(made)
    elif not quiet:
        say(f"{made.path}: a {made.kind} app of {made.bundle}, {made.bytes / 1e6:.2f} MB; {made.verified}")
        for line in made.run:
            say(f"  {line}")
