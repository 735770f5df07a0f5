"""``edgekd eval``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Quiet, Threads, Verbose, print_json, print_table, progress


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="a bundle, or a run for its student in PyTorch")],
    run: Annotated[
        Path | None, typer.Option("--run", help="the run with the held-out data, where it has moved")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", help="NAME=FILE of a network that further metrics are taken with (LPIPS, FID)"),
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

    with progress(quiet or json_output) as tell:
        networks = _named(network or [])
        result = run_evaluate(artifact, run, threads, networks, tell)
    if json_output:
        print_json(result)
    elif not quiet:
        print_table(
            f"{result.artifact}: {result.target} {result.precision}, {result.samples} held-out samples",
            ["metric", "value", "unit"],
            [[n, f"{v:.4g}", result.units.get(n, "")] for n, v in result.metrics.items()],
        )


def _named(texts: list[str]) -> dict[str, Path]:
    from edgekd.errors import InputError

    named: dict[str, Path] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals or not file or name in named:
            why = "it is named twice" if name in named else "it has no NAME=FILE"
            raise InputError(f"--network {text} cannot be used", why, "--network vgg16=vgg16.pth")
        named[name] = Path(file)
    return named
