"""``edgekd report``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Verbose, print_json, say


def report(
    paths: Annotated[list[Path] | None, typer.Argument(help="runs, bundles, measurements, or folders of them")] = None,
    out: Annotated[Path, typer.Option("--out", help="the page to write")] = Path("report.html"),
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """One self-contained page: claims, gates, latency, training curves, pictures.

    Example: `edgekd report --out report.html` (reads runs/, bundles/ and measurements/)
    """
    from edgekd.reporting.report import report as run_report

    result = run_report(paths or None, out, overwrite=overwrite)
    if json_output:
        print_json(result)
    elif not quiet:
        say(f"{out}: {result['runs']} runs, {result['bundles']} bundles, {result['measurements']} measurements")
