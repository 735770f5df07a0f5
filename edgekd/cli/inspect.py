"""``edgekd inspect``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Quiet, Threads, Verbose, print_json, print_table, say


def inspect(
    path: Annotated[Path, typer.Argument(help="a bundle folder, or any .onnx file")],
    threads: Threads = None,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Precision as built and placement, by node and by share of MACs; gates; provenance.

    Example: `edgekd inspect bundles/lm-openvino -v` (`-v` lists every node)
    """
    from edgekd.bundle.inspect import inspect as run_inspect

    result = run_inspect(path, threads)
    if json_output:
        print_json(result)
        return
    if quiet:
        return
    for title, rows in result.tables(verbose):
        print_table(title, rows[0], rows[1:])
    for line in result.lines():
        say(line)
