"""``edgekd eval``"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import (
    Debug,
    Json,
    Overwrite,
    Quiet,
    Threads,
    Verbose,
    print_json,
    print_table,
    progress,
    say,
)


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="a bundle, or a run for its student in PyTorch")],
    run: Annotated[
        Path | None, typer.Option("--run", help="the run with the held-out data, where it has moved")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", help="NAME=FILE of a network that further metrics are taken with (LPIPS, FID)"),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option("--latency", help="against a clock, for students of streams: milliseconds, or measured"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="with --latency: a .png of the primary metric against latency")
    ] = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """The recipe's metrics on held-out data, in this runtime.

    Example: `edgekd eval bundles/lm-openvino`, `edgekd eval bundles/street-openvino --latency measured --out sap.png`
    """
    from edgekd.measuring.quality import evaluate as run_evaluate

    if out is not None:
        from edgekd.reporting.sweep import check_output

        check_output(out, latency, overwrite)
    networks = _named(network or [])
    with progress(quiet or json_output) as tell:
        result = run_evaluate(artifact, run, threads, networks, latency=latency, sweep=out is not None, progress=tell)
    if out is not None and result.clock is not None:
        from edgekd.reporting.sweep import draw_sweep

        draw_sweep(result, out)
    if json_output:
        print_json(result)
    elif not quiet:
        print_table(
            f"{result.artifact}: {result.target} {result.precision}, {result.samples} held-out samples",
            ["metric", "value", "unit"],
            _rows(result.metrics, result.units),
        )
        if (clock := result.clock) is not None:
            print_table(
                f"against a clock: latency {clock.latency}, {clock.seen} of {clock.samples} samples seen"
                + (f", median {clock.latency_ms:.1f} ms here" if clock.latency == "measured" else ""),
                ["metric", "value", "unit"],
                _rows(clock.metrics, result.units),
            )
        if out is not None:
            say(f"drawn: {out}")


def _rows(metrics: Mapping[str, float], units: Mapping[str, str]) -> list[list[str]]:
    return [[name, f"{value:.4g}", units.get(name, "")] for name, value in metrics.items()]


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
