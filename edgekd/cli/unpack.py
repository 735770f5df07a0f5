"""``edgekd unpack``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Verbose, print_json, say


def unpack(
    archive: Annotated[Path, typer.Argument(help="what `edgekd pack` wrote")],
    out: Annotated[Path | None, typer.Option("--out", help="the bundle's folder; ARCHIVE without .zip")] = None,
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """The bundle of an archive, every byte of it checked before the folder appears.

    Example: `edgekd unpack lm-openvino.zip`
    """
    from edgekd.bundle.archive import unpack as run_unpack

    bundle = run_unpack(archive, out, overwrite=overwrite)
    if json_output:
        print_json({"bundle": str(bundle)})
    elif not quiet:
        say(f"{bundle}: whole and unchanged. Its vectors, on this machine:")
        say(f"edgekd verify {bundle}")
