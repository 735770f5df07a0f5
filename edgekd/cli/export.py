"""``edgekd export``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Verbose, print_json, print_table, progress, say
from edgekd.errors import EdgekdError


def export(
    run: Annotated[Path | None, typer.Argument(help="a run folder; the newest in runs/ if left out")] = None,
    target: Annotated[list[str] | None, typer.Option("--target", help="TARGET[/PROFILE]; may be repeated")] = None,
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32, bf16, int8, ...")] = "auto",
    out: Annotated[Path, typer.Option("--out", help="where the bundles go")] = Path("bundles"),
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> int:
    """Builds one gated bundle per target. A bundle that fails a gate is not written.

    Example: `edgekd export runs/lm --target onnxruntime --target openvino --precision auto`
    """
    from edgekd.bundle.manifest import read_manifest
    from edgekd.conversion.export import export as run_export
    from edgekd.run import newest_run

    run = run or newest_run()
    with progress(quiet) as tell:
        results = run_export(run, target or [], precision, out, overwrite=overwrite, progress=tell)
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
                        str(c.precision),
                        c.outcome,
                        "" if c.median_ms is None else f"{c.median_ms:.2f}",
                        "" if c.ratio is None else f"{c.ratio:.2f}",
                        c.why,
                    ]
                    for c in manifest.candidates
                ],
            )
            for gate in manifest.gates:
                say(
                    f"  {gate.arrow}: {gate.metric} {gate.before:.4g} → {gate.after:.4g} "
                    f"({gate.relative_loss:+.2%}, n={gate.samples}), {gate.where}"
                )
    return max(int(r.code) for r in results)
