"""Core ML's compression by edgekd and by what coremltools and torchao do when they are left to their defaults.

    python benchmarks/coreml.py RUN...

Converts each run's student once per contender, evaluates all of them in the MIL reference evaluator on the run's
held-out samples, and writes results/coreml.json: SQNR against the fp32 graph, the recipe's metric, bytes, seconds.
Nothing is timed but the making: no Core ML device is here. ``--quick`` takes 16 held-out samples.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edgekd
from edgekd.errors import EdgekdError
from edgekd.storage import write_text

HERE = Path(__file__).parent
PROFILE = "coreml/iphone-ios18"
# name -> (precision whose gate judges it, who made it, how)
CONTENDERS: dict[str, tuple[str, str]] = {
    "fp16": ("fp16", "edgekd"),
    "w8, linear_quantize_weights by default": ("w8", "coremltools"),
    "w8": ("w8", "edgekd"),
    "w4 per block, linear_quantize_weights": ("w4", "coremltools"),
    "w4": ("w4", "edgekd"),
    "palette, palettize_weights with 4 bits": ("palette", "coremltools"),
    "palette": ("palette", "edgekd"),
    "W8A8, coremltools' placement, symmetric, min-max": ("int8", "coremltools"),
    "W8A8, torch PT2E": ("int8", "torchao"),
    "int8": ("int8", "edgekd"),
    **{
        f"int8, {statistics}, {activation}, {pairs}": ("int8", "edgekd")
        for statistics in ("minmax", "percentile", "mse")
        for activation in ("int8", "uint8")
        for pairs in ("inputs", "both")
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="16 held-out samples, no grid of ways to place int8")
    options = parser.parse_args()
    found = {}
    for run in options.runs:
        found[run.name] = measure(run, options.quick)
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgekd": edgekd.__version__,
        "quick": options.quick,
        "profile": PROFILE,
        "versions": versions(),
        "runs": found,
    }
    if not options.quick:
        options.results.mkdir(exist_ok=True)
        write_text(options.results / "coreml.json", json.dumps(results, indent=1) + "\n")
    print(section(results))
    return 0


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("coremltools", "torch", "torchao")}


def measure(run: Path, quick: bool) -> dict[str, Any]:
    """Every contender on one run's student."""
    from edgekd.conversion.from_run import make_canonical
    from edgekd.run import open_run

    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        canonical = make_canonical(open_run(run), Path(folder) / "canonical")
        rows = []
        for index, (name, (precision, by)) in enumerate(CONTENDERS.items()):
            if quick and name.startswith("int8, "):
                continue
            print(f"{run.name}: {name}", file=sys.stderr)
            out = Path(folder) / str(index)
            out.mkdir()
            rows.append(
                {"name": name, "precision": precision, "by": by, **contend(canonical, name, precision, out, quick)}
            )
        record = canonical.run.record
        return {
            "recipe": record.recipe,
            "preset": record.preset,
            "metric": canonical.metrics.primary,
            "heldout": 16 if quick else len(canonical.heldout),
            "calibration": len(canonical.calibration),
            "rows": rows,
        }


def contend(canonical: Any, name: str, precision: str, out: Path, quick: bool) -> dict[str, Any]:
    """One contender: made, unpacked, judged by its precision's gate."""
    from edgekd.contracts import Built, Precision
    from edgekd_targets.coreml import build as target

    begin = time.perf_counter()
    try:
        package = MAKERS.get(name, ours)(canonical, name, Precision(precision), out)
    except (EdgekdError, RuntimeError, ValueError, KeyError, NotImplementedError) as error:
        return {"error": str(error).partition("\n")[0]}
    seconds = time.perf_counter() - begin
    built = Built(package, None)
    session = target.reference(built, canonical.source.io)
    if quick:
        return {"seconds": seconds, "bytes": size(package), **distance_of(canonical, session)}
    said = canonical.witness(session)
    gate = canonical.judge(name, canonical.reference, said, Precision(precision), session.name)
    return {
        "seconds": seconds,
        "bytes": size(package),
        "sqnr_db": {output: d.sqnr_db for output, d in gate.distance.items()},
        "metric": gate.after,
        "loss": gate.relative_loss,
        "passed": gate.passed,
        "why": gate.why,
        "macs": target.placement(built, canonical.source.io).share_of_macs("precision"),
    }


def distance_of(canonical: Any, session: Any) -> dict[str, Any]:
    """On the first samples only: what ``--quick`` shows."""
    import numpy as np

    from edgekd.bundle.distance import distance

    said = [session.run(feeds) for feeds in canonical.feeds(16)]
    wanted = canonical.reference.outputs
    stacked = {name: np.stack([one[name] for one in said]) for name in wanted}
    return {"sqnr_db": {name: distance(v, wanted[name][: len(said)]).sqnr_db for name, v in stacked.items()}}


def size(package: Path) -> int:
    return sum(file.stat().st_size for file in package.rglob("*") if file.is_file())


def ours(canonical: Any, name: str, precision: Any, out: Path) -> Path:
    from edgekd.registry import profile
    from edgekd_targets.coreml import build as target

    chosen = profile(PROFILE)
    if name.startswith("int8, "):
        _, statistics, activation, pairs = name.split(", ")
        chosen = chosen.only({**chosen.way, "statistics": statistics, "activation": activation, "pairs": pairs})
    return target.build(canonical.source, chosen, precision, canonical.calibration, out).entry


def half(canonical: Any) -> Any:
    from edgekd.registry import profile
    from edgekd_targets.coreml.convert import convert

    return convert(canonical.source, profile(PROFILE), half=True)[0]


def saved(model: Any, out: Path) -> Path:
    package = out / "model.mlpackage"
    model.save(str(package))
    return package


def default_weights(**settings: Any) -> Callable[..., Path]:
    """``linear_quantize_weights`` as its own documentation calls it."""

    def make(canonical: Any, name: str, precision: Any, out: Path) -> Path:
        from edgekd_targets.coreml.library import coremltools, quiet

        coreml = coremltools().optimize.coreml
        config = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", **settings)
        model = half(canonical)
        with quiet():
            model = coreml.linear_quantize_weights(model, coreml.OptimizationConfig(global_config=config))
        return saved(model, out)

    return make


def default_palette(canonical: Any, name: str, precision: Any, out: Path) -> Path:
    from edgekd_targets.coreml.library import coremltools, quiet

    coreml = coremltools().optimize.coreml
    config = coreml.OptimizationConfig(global_config=coreml.OpPalettizerConfig(mode="kmeans", nbits=4))
    model = half(canonical)
    with quiet():
        model = coreml.palettize_weights(model, config)
    return saved(model, out)


def default_activations(canonical: Any, name: str, precision: Any, out: Path) -> Path:
    """``linear_quantize_activations`` as documented; its calibrator needs macOS, so the ranges are the evaluator's."""
    from edgekd_targets.coreml.compress import quantize

    way = {"statistics": "minmax", "activation": "int8", "pairs": "both"}
    return saved(quantize(half(canonical), canonical.source.io, canonical.calibration, way), out)


def pt2e(canonical: Any, name: str, precision: Any, out: Path) -> Path:
    """Quantized in torch by torchao's PT2E with its X86 quantizer's defaults, then converted."""
    import numpy as np
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    from edgekd_targets.coreml.library import coremltools, quiet

    library, io = coremltools(), canonical.source.io
    feeds = [tuple(torch.from_numpy(feed[t.name]) for t in io.inputs) for feed in canonical.calibration]
    with quiet(), torch.no_grad():
        graph = torch.export.export(canonical.source.module, feeds[0]).module()
        quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(graph, quantizer)
        for feed in feeds:
            prepared(*feed)
        program = torch.export.export(convert_pt2e(prepared), feeds[0]).run_decompositions({})
        model = library.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=library.target.iOS18,
            inputs=[library.TensorType(name=t.name, shape=t.shape, dtype=np.float32) for t in io.inputs],
            outputs=[library.TensorType(name=t.name, dtype=np.float32) for t in io.outputs],
            skip_model_load=True,
        )
    return saved(model, out)


MAKERS: dict[str, Callable[..., Path]] = {
    "w8, linear_quantize_weights by default": default_weights(),
    "w4 per block, linear_quantize_weights": default_weights(dtype="int4", granularity="per_block"),
    "palette, palettize_weights with 4 bits": default_palette,
    "W8A8, coremltools' placement, symmetric, min-max": default_activations,
    "W8A8, torch PT2E": pt2e,
}


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    lines = ["## `python benchmarks/coreml.py`: what Core ML's compression costs, by us and by default", ""]
    for name, run in results["runs"].items():
        lines += [
            f"{run['recipe']} ({name}, preset {run['preset']}), {run['heldout']} held-out samples, calibrated on "
            f"{run['calibration']}:",
            "",
            f"| program | by | SQNR, worst output, dB | {run['metric']} | change | MB | int8 MACs | gate |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_row(row) for row in run["rows"]]
        lines.append("")
    stated = ", ".join(f"{name} {value}" for name, value in results["versions"].items())
    quick = " A quick run: no metric." if results["quick"] else ""
    lines.append(
        f"Taken {results['created'][:10]} in the MIL reference evaluator, not in Core ML: accuracy and size, no speed. "
        f"{stated}.{quick}"
    )
    return "\n".join([*lines, ""])


def _row(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['name']} | {row['by']} | cannot be made: {row['error']} | | | | | |"
    finite = [value for value in row["sqnr_db"].values() if value is not None]
    sqnr = f"{min(finite):.1f}" if finite else "equal"
    metric = f"{row['metric']:.4g}" if "metric" in row else ""
    change = f"{row['loss']:+.2%}" if row.get("loss") is not None else ""
    share = f"{row['macs'].get('int8', 0.0):.0%}" if "macs" in row else ""
    gate = "" if "passed" not in row else "passed" if row["passed"] else "**failed**"
    return (
        f"| {row['name']} | {row['by']} | {sqnr} | {metric} | {change} | {row['bytes'] / 1e6:.2f} | {share} | {gate} |"
    )


if __name__ == "__main__":
    raise SystemExit(main())
