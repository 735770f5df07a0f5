"""``edgekd eval``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Quiet, Threads, Verbose, print_json, print_table


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="a bundle, or a run for its student in PyTorch")],
    run: Annotated[
        Path | None, typer.Option("--run", help="the run with the held-out data, where it has moved")
    ] = None,
    threads: Threads = None,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """The recipe's metrics on held-out data, in this runtime.

    Example: `edgekd eval bundles/lm-openvino`
    """
    from edgekd.measuring.quality import evaluate as run_evaluate

    result = run_evaluate(artifact, run, threads)
    if json_output:
        print_json(result)
    elif not quiet:
        print_table(
            f"{result.artifact}: {result.target} {result.precision}, {result.samples} held-out samples",
            ["metric", "value", "unit"],
            [[n, f"{v:.4g}", result.units.get(n, "")] for n, v in result.metrics.items()],
        )
