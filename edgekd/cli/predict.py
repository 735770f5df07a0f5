"""``edgekd predict``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Threads, Verbose, print_json, progress, say


def predict(
    bundle: Annotated[Path, typer.Argument(help="a bundle folder")],
    inputs: Annotated[list[str], typer.Argument(help="NAME=PATH for each input; a bare PATH is the first input")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="overlay: a picture, a folder, or an .mp4 for a video; or a .csv of predictions"),
    ] = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Runs the bundle on what its recipe takes: a picture, a folder of them, a video, a table of rows.

    Example: `edgekd predict bundles/lm-openvino photo.jpg --out overlay.png`
    """
    from edgekd.bundle.predict import predict as run_predict

    with progress(quiet or json_output) as tell:
        results = run_predict(bundle, inputs, out, threads=threads, overwrite=overwrite, progress=tell)
    if json_output:
        print_json(results)
    elif not quiet:
        for result in results[: None if verbose else 20]:
            shown = ", ".join(f"{k} {_shape(v)}" for k, v in result["prediction"].items())
            say(f"{result['input']}: {shown}")
        if len(results) > 20 and not verbose:
            say(f"... and {len(results) - 20} more (--json gives all)")
        if out is not None:
            say(f"{'written' if out.suffix == '.csv' else 'drawn'}: {out}")


def _shape(value: object) -> str:
    shape = getattr(value, "shape", None)
    return f"{list(shape)}" if shape else str(value)
