"""``edgekd verify``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Quiet, Threads, Verbose, print_json, say


def verify(
    bundle: Annotated[Path, typer.Argument(help="a bundle folder")],
    threads: Threads = None,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Runs the bundle's own vectors in its runtime on this machine.

    Example: `edgekd verify bundles/lm-openvino`
    """
    from edgekd.bundle.verify import verify as run_verify

    result = run_verify(bundle, threads)
    if json_output:
        print_json(result)
    elif not quiet:
        for check in result.checks:
            found = f"{check.found:.3g}, limit {check.limit:.3g}"
            say(f"ok  {check.name}: {found}" + (f" ({check.note})" if check.note else ""))
        sqnr = result.distance_to_fp32.sqnr_db
        say(
            f"{result.bundle}: {result.samples} vectors as recorded; {result.precision}, "
            + (f"SQNR against fp32 {sqnr:.1f} dB" if sqnr is not None else "equal to fp32")
        )
