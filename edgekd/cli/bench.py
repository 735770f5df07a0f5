"""``edgekd bench``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Quiet, Threads, Verbose, console, print_json, progress, say
from edgekd.errors import EdgekdError


def bench(
    artifacts: Annotated[list[Path], typer.Argument(help="bundles; runs, which are measured in PyTorch")],
    length: Annotated[str, typer.Option("--length", help="quick, standard or strict")] = "standard",
    out: Annotated[Path, typer.Option("--out", help="folder for the measurements")] = Path("measurements"),
    threads: Threads = None,
    seed: Annotated[int, typer.Option("--seed", help="of order and inputs")] = 0,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> int:
    """Latency, start-up and memory, contenders in turns, each in fresh processes.

    A run folder stands for two contenders: PyTorch eager and torch.compile.

    Example: `edgekd bench bundles/lm-openvino bundles/lm-onnxruntime runs/lm --length quick`
    """
    from edgekd.measuring.bench import Contender
    from edgekd.measuring.bench import bench as run_bench
    from edgekd.reporting.tables import bench_table
    from edgekd.run import is_run

    contenders = []
    for path in artifacts:
        profiles = ("default", "compile") if is_run(path) else (None,)
        contenders += [Contender(str(path), profile) for profile in profiles]
    with progress(quiet) as tell:
        result = run_bench(contenders, length, out, threads=threads, seed=seed, progress=tell)
    if json_output:
        print_json(
            {
                "measurements": [
                    {"path": str(p), **m.model_dump(mode="json", exclude={"workers"})}
                    for p, m in zip(result.paths, result.measurements, strict=True)
                ],
                "failures": [{"contender": f.contender.label, "error": f.error.model_dump()} for f in result.failures],
            }
        )
        return result.code
    for failure in result.failures:
        error = failure.error
        message = EdgekdError(f"error: {failure.contender.label}: {error.what}", error.why, error.fix)
        typer.echo(str(message), err=True)
    if not quiet and result.measurements:
        console().print(bench_table(result.measurements))
        for path in result.paths:
            say(str(path))
    return result.code
