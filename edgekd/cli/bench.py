"""``edgekd bench``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.options import Debug, Json, Quiet, Threads, Verbose, console, print_json, progress, say
from edgekd.errors import EdgekdError

if TYPE_CHECKING:
    from edgekd.measuring.bench import BenchResult, Contender


def bench(
    artifacts: Annotated[list[Path], typer.Argument(help="bundles, BUNDLE/GRAPH; runs, which are measured in PyTorch")],
    length: Annotated[str, typer.Option("--length", help="quick, standard or strict (10 minutes each)")] = "standard",
    scenario: Annotated[
        str,
        typer.Option("--scenario", help="single: one after another; offline: throughput; paced: a camera's clock"),
    ] = "single",
    fps: Annotated[float | None, typer.Option("--fps", help="the camera's frames per second (paced; 30)")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Also profile every node: time, kernel, precision.")] = False,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="an earlier measurement's JSON, of the same conditions")
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option("--fail-above", help="exit 3 if surely slower than so many times the baseline, or A of A B"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="folder for the measurements")] = Path("measurements"),
    threads: Threads = None,
    seed: Annotated[int, typer.Option("--seed", help="of order and inputs")] = 0,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> int:
    """Latency or throughput, start-up and memory, contenders in turns, each in fresh processes.

    A run folder stands for two contenders: PyTorch eager and torch.compile; a bundle that holds a graph prepared once
    for every way to run it, BUNDLE/GRAPH for that one. Where it is judged, each stands for the first.

    Example: `edgekd bench bundles/lm-openvino bundles/lm-onnxruntime runs/lm --length quick`

    A camera, its deadline misses, and the highest rate: `edgekd bench bundles/lm-openvino --scenario paced --fps 60`

    A regression, old against new in turns: `edgekd bench old/lm-openvino bundles/lm-openvino --fail-above 1.05`,
    or against a file: `edgekd bench bundles/lm-openvino --baseline measurements/OLD.json --fail-above 1.05`
    """
    from edgekd.measuring.bench import bench as run_bench

    contenders = _contenders(artifacts, baseline, fail_above is not None)
    with progress(quiet) as tell:
        result = run_bench(
            contenders,
            length,
            out,
            scenario=scenario,
            threads=threads,
            seed=seed,
            progress=tell,
            fps=fps,
            layers=layers,
            baseline=baseline,
            fail_above=fail_above,
        )
    if json_output:
        print_json(_document(result))
        return result.code
    for failure in result.failures:
        error = failure.error
        _complain(EdgekdError(f"{failure.contender.label}: {error.what}", error.why, error.fix))
    if not quiet and result.measurements:
        from edgekd.reporting.tables import bench_table

        console().print(bench_table(result.measurements, verbose))
        for path in result.paths:
            say(str(path))
    _tell_regression(result, quiet)
    return result.code


def _contenders(paths: list[Path], baseline: Path | None, judged: bool) -> list[Contender]:
    """A run in both of its profiles, a bundle in all ways to run it; in one alone where it is judged."""
    from edgekd.bundle.manifest import is_bundle, read_manifest
    from edgekd.measuring.bench import Contender
    from edgekd.measuring.measurement import load
    from edgekd.run import is_run

    profiles: tuple[str, ...] = ("default", "compile")
    if judged:
        profiles = ("default",) if baseline is None else (load(baseline).artifact.profile,)
    contenders = []
    for path in paths:
        contenders += [Contender(str(path), profile) for profile in (profiles if is_run(path) else (None,))]
        if is_bundle(path) and not judged:
            contenders += [Contender(str(path / graph)) for graph in read_manifest(path).live]
    return contenders


def _document(result: BenchResult) -> dict[str, Any]:
    return {
        "measurements": [
            {"path": str(p), **m.model_dump(mode="json", exclude={"workers"})}
            for p, m in zip(result.paths, result.measurements, strict=True)
        ],
        "failures": [{"contender": f.contender.label, "error": f.error.model_dump()} for f in result.failures],
        "regression": result.regression and result.regression.model_dump(mode="json"),
    }


def _tell_regression(result: BenchResult, quiet: bool) -> None:
    found = result.regression
    if found is None:
        return
    differs = f"; what differs: {'; '.join(found.differs)}" if found.differs else ""
    if found.outcome == "regressed":
        why = f"{found.sentence}; {found.conditions}{differs}"
        _complain(EdgekdError(f"{found.now} became slower", why, "find what changed, or raise --fail-above"))
    elif not quiet:
        said = {"passed": "no regression", "inconclusive": "inconclusive: above the limit, but within the noise"}
        say(f"{said[found.outcome]}: {found.sentence}{differs}")


def _complain(error: EdgekdError) -> None:
    typer.echo(str(EdgekdError(f"error: {error.what}", error.why, error.fix)), err=True)
