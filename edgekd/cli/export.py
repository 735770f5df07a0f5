"""``edgekd export``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Verbose, print_json, print_table, progress, say
from edgekd.errors import EdgekdError


def export(
    model: Annotated[
        Path | None, typer.Argument(help="a run folder, an .onnx or a .tflite; the newest run in runs/ if left out")
    ] = None,
    target: Annotated[list[str] | None, typer.Option("--target", help="TARGET[/PROFILE]; may be repeated")] = None,
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32, bf16, int8, ...")] = "auto",
    out: Annotated[Path, typer.Option("--out", help="where the bundles go")] = Path("bundles"),
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="for a file: .npz, an array (samples, *input shape) per input; or pictures"),
    ] = None,
    preprocess: Annotated[
        Path | None, typer.Option("--preprocess", help="TOML: size, layout, color, mean, std, scale of the pictures")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="NAME=1,3,224,224 or AXIS=1 of a file; may be repeated")
    ] = None,
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> int:
    """Builds one gated bundle per target. A bundle that fails a gate is not written.

    A run is judged by its recipe's metrics. A file that somebody else wrote is judged by numbers alone, on every
    fourth sample of the calibration, which the quantizers never see; without a calibration on random feeds, and
    then int8 is not built.

    Example: `edgekd export runs/lm --target onnxruntime --target openvino --precision auto`

    Example: `edgekd export model.onnx --target openvino --calibration feeds.npz --shape batch=1`
    """
    from edgekd.bundle.manifest import read_manifest
    from edgekd.conversion.export import export as run_export
    from edgekd.run import newest_run

    with progress(quiet) as tell:
        results = run_export(
            model or newest_run(),
            target or [],
            precision,
            out,
            calibration=calibration,
            preprocess=preprocess,
            shapes=shape or (),
            overwrite=overwrite,
            progress=tell,
        )
    if json_output:
        print_json(
            [
                {
                    "target": r.target,
                    "bundle": str(r.path) if r.path else None,
                    "error": None if r.error is None else vars(r.error),
                    "manifest": read_manifest(r.path) if r.path else None,
                }
                for r in results
            ]
        )
        return max(int(r.code) for r in results)
    for result in results:
        if result.error is not None:
            typer.echo(str(EdgekdError(f"error: {result.error.what}", result.error.why, result.error.fix)), err=True)
        elif result.path is not None and not quiet:
            manifest = read_manifest(result.path)
            print_table(
                f"{result.path} ({manifest.raced})",
                ["precision", "outcome", "median ms here", "time ratio", "why"],
                [
                    [
                        c.label,
                        c.outcome,
                        "" if c.median_ms is None else f"{c.median_ms:.2f}",
                        "" if c.ratio is None else f"{c.ratio:.2f}",
                        c.why,
                    ]
                    for c in manifest.candidates
                ],
            )
            for gate in manifest.gates:
                say(f"  {gate.arrow}: {gate.said}, n={gate.samples}, {gate.where}")
    return max(int(r.code) for r in results)
