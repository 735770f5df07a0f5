"""``edgekd rebuild``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Verbose, print_json, say


def rebuild(
    bundle: Annotated[Path, typer.Argument(help="a bundle folder")],
    out: Annotated[
        Path | None, typer.Option("--out", help="the new bundle's folder; BUNDLE-rebuilt if left out")
    ] = None,
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Engines for this machine, from the bundle's typed ONNX: after an update, or on another GPU.

    Example: `edgekd rebuild bundles/lm-tensorrt-rtx`
    """
    from edgekd.bundle.rebuild import rebuild as run_rebuild

    made = run_rebuild(bundle, out, overwrite=overwrite)
    engine = made.manifest.graphs["main"].engine
    if json_output:
        print_json({"bundle": str(made.path), "engine": engine, "not_executed": made.manifest.not_executed})
    elif not quiet and engine is not None:
        say(f"{made.path}: {engine.builder} {engine.version} for {', '.join(engine.compute_capabilities)}")
        say(made.manifest.not_executed or "its vectors ran here, as recorded")
