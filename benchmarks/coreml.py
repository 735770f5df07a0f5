"""Core ML's compression by edgekd and by what coremltools and torchao do when they are left to their defaults.

    python benchmarks/coreml.py RUN...
    python benchmarks/coreml.py                 # the small runs that benchmarks/matrix.py made

Converts each run's student once per contender, evaluates all of them in the MIL reference evaluator on the run's
held-out samples, and writes results/coreml.json: SQNR against the fp32 graph, the recipe's metric, bytes, seconds. Ways
to place int8 are compared by SQNR over the whole calibration set, which is what they may be chosen by; held-out samples
then judge. Nothing is timed but the making: no Core ML device is here. ``--quick`` takes 16 held-out samples and few
ways, and writes nothing.
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
SMALL = HERE / "work" / "matrix" / "runs"
LAYER_SAMPLES = 16
LAYERS_SHOWN = 5
WAY = ("statistics", "activation", "pairs")
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
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="16 held-out samples, no grid of ways to place int8")
    options = parser.parse_args()
    runs = options.runs or sorted(path.parent for path in SMALL.glob("*/run.json"))
    if not runs:
        raise SystemExit("name a run: python benchmarks/coreml.py RUN (benchmarks/matrix.py makes small ones)")
    found = {run.name: measure(run, options.quick) for run in runs}
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgekd": edgekd.__version__,
        "quick": options.quick,
        "profile": PROFILE,
        "way": profiles_way(),
        "versions": versions(),
        "runs": found,
    }
    if not options.quick:
        options.results.mkdir(exist_ok=True)
        write_text(options.results / "coreml.json", json.dumps(results, indent=1) + "\n")
    print(section(results))
    return 0


def profiles_way() -> dict[str, Any]:
    from edgekd.registry import profile

    return {key: profile(PROFILE).way[key] for key in WAY}


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("coremltools", "torch", "torchao")}


def measure(run: Path, quick: bool) -> dict[str, Any]:
    """Every contender on one run's student."""
    from edgekd.conversion.from_run import make_canonical
    from edgekd.run import open_run

    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        canonical = make_canonical(open_run(run), Path(folder) / "canonical")
        exact = exact_outputs(canonical)
        rows = []
        for index, (name, (precision, by)) in enumerate(CONTENDERS.items()):
            if quick and name.startswith("int8, "):
                continue
            print(f"{run.name}: {name}", file=sys.stderr)
            out = Path(folder) / str(index)
            out.mkdir()
            rows.append(
                {"name": name, "precision": precision, "by": by}
                | contend(canonical, exact, name, precision, out, 16 if quick else None)
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


def contend(
    canonical: Any, exact: list[dict[str, Any]], name: str, precision: str, out: Path, first: int | None
) -> dict[str, Any]:
    """One contender: made, unpacked, judged by its precision's gate, or by its first outputs alone."""
    from edgekd.bundle.session import carried
    from edgekd.contracts import Built, Precision
    from edgekd_targets.coreml import build as target

    begin = time.perf_counter()
    try:
        package = MAKERS.get(name, ours)(canonical, name, Precision(precision), out)
    except EdgekdError as error:
        return {"error": f"{error.what}: {error.why}"}
    except Exception as error:  # a peer's, which may be any
        if name not in MAKERS:
            raise
        return {"error": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
    row: dict[str, Any] = {"seconds": time.perf_counter() - begin, "bytes": size(package)}
    built = Built(package, None)
    session = target.reference(built, canonical.source.io)
    if Precision(precision) == Precision.INT8:
        row["calibration_sqnr_db"] = sqnr(canonical, exact, session)
    row["macs"] = target.placement(built, canonical.source.io).share_of_macs("precision")
    if first is not None:
        return row | {"sqnr_db": distance_of(canonical, carried(session), first)}
    said = canonical.witness(carried(session))
    gate = canonical.judge(name, canonical.reference, said, Precision(precision), session.name)
    if name == "int8" and not gate.passed:
        row["layers"] = falls(canonical, package, out)
    return row | {
        "sqnr_db": {output: d.sqnr_db for output, d in gate.distance.items()},
        "metric": gate.after,
        "loss": gate.relative_loss,
        "passed": gate.passed,
        "why": gate.why,
    }


def calibration_of(canonical: Any) -> Any:
    """With state, where the student has one."""
    return canonical.start.calibrations["main"]


def exact_outputs(canonical: Any) -> list[dict[str, Any]]:
    """What the fp32 graph gives for every calibration sample, state included."""
    from edgekd.nn.onnx_reference import OnnxReference

    reference = OnnxReference(canonical.source.model, canonical.source.io)
    return [reference.run(feeds) for feeds in calibration_of(canonical)]


def sqnr(canonical: Any, exact: list[dict[str, Any]], session: Any) -> float | None:
    """In dB over all calibration samples, of the output that is farthest off; None where all are equal."""
    import numpy as np

    signal, error = (dict.fromkeys(exact[0], 0.0) for _ in range(2))
    for wanted, feeds in zip(exact, calibration_of(canonical), strict=True):
        said = session.run(feeds)
        for output, value in wanted.items():
            signal[output] += float(np.square(value, dtype=np.float64).sum())
            error[output] += float(np.square(said[output].astype(np.float64) - value).sum())
    ratios = [signal[output] / error[output] for output in exact[0] if error[output]]
    return None if not ratios else float(10 * np.log10(min(ratios))) if min(ratios) > 0 else float("-inf")


def falls(canonical: Any, package: Path, out: Path) -> list[dict[str, Any]]:
    """Layers that multiply, in the order of the program: how exact each is in int8, and in which types it computes.

    SQNR against the same layer of the fp16 program over calibration samples, with all that was lost before it. Those
    at which it falls most come first.
    """
    import numpy as np

    from edgekd_targets.coreml.mil.evaluator import MilReference
    from edgekd_targets.coreml.package import read_spec, typed_nodes

    exact = saved(half(canonical), out / "exact")
    sessions = [MilReference(path, canonical.source.io) for path in (exact, package)]
    types = {node.name: node.precision for node in typed_nodes(read_spec(package), "") if node.macs}
    signal, error = (dict.fromkeys(types, 0.0) for _ in range(2))
    for _, feeds in zip(range(LAYER_SAMPLES), calibration_of(canonical), strict=False):
        seen: list[dict[str, Any]] = []
        for session in sessions:
            found: dict[str, Any] = {}
            session.observed(feeds, lambda op, name, value, found=found: found.update({name: value.numpy()}))
            seen.append(found)
        for name in types:
            if name in seen[0]:
                wanted, said = (one[name].astype(np.float64) for one in seen)
                signal[name] += float(np.square(wanted).sum())
                error[name] += float(np.square(said - wanted).sum())
    rows: list[dict[str, Any]] = []
    for name, kind in types.items():
        if signal[name] and error[name]:
            found_db = float(10 * np.log10(signal[name] / error[name]))
            before = rows[-1]["sqnr_db"] if rows else found_db
            rows.append({"layer": name, "type": kind, "sqnr_db": found_db, "fall_db": before - found_db})
    return sorted(rows, key=lambda row: -row["fall_db"])


def distance_of(canonical: Any, session: Any, first: int) -> dict[str, float | None]:
    """On the first held-out samples only: what ``--quick`` shows."""
    import numpy as np

    from edgekd.bundle.distance import distance

    said = [session.run(feeds) for feeds in canonical.feeds(first)]
    wanted = {name: canonical.reference.outputs[name] for name in said[0]}
    stacked = {name: np.stack([one[name] for one in said]) for name in wanted}
    return {name: distance(value, wanted[name][: len(said)]).sqnr_db for name, value in stacked.items()}


def size(package: Path) -> int:
    return sum(file.stat().st_size for file in package.rglob("*") if file.is_file())


def ours(canonical: Any, name: str, precision: Any, out: Path) -> Path:
    from edgekd.registry import profile
    from edgekd_targets.coreml import build as target

    chosen = profile(PROFILE)
    if name.startswith("int8, "):
        chosen = chosen.only({**chosen.way, **dict(zip(WAY, name.split(", ")[1:], strict=True))})
    return target.build(canonical.source, chosen, precision, calibration_of(canonical), out).entry


def half(canonical: Any) -> Any:
    from edgekd.registry import profile
    from edgekd_targets.coreml.convert import convert

    return convert(canonical.source, profile(PROFILE), half=True)[0]


def saved(model: Any, out: Path) -> Path:
    out.mkdir(exist_ok=True)
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
    return saved(quantize(half(canonical), canonical.source.io, calibration_of(canonical), way), out)


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
    feeds = [tuple(torch.from_numpy(feed[t.name]) for t in io.inputs) for feed in calibration_of(canonical)]
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
        grid = [row for row in run["rows"] if row["name"].startswith("int8, ")]
        lines += [_row(row) for row in run["rows"] if row not in grid]
        lines += ["", *_ways(grid, results["way"])] if grid else []
        lines += [line for row in run["rows"] if "layers" in row for line in ("", _falls(row["layers"]))]
        lines.append("")
    stated = ", ".join(f"{name} {value}" for name, value in results["versions"].items())
    quick = " A quick run: no metric." if results["quick"] else ""
    lines.append(
        f"Taken {results['created'][:10]} in the MIL reference evaluator, not in Core ML: accuracy and size, no speed. "
        f"{stated}.{quick}"
    )
    return "\n".join([*lines, ""])


def _ways(rows: list[dict[str, Any]], way: dict[str, Any]) -> list[str]:
    """Every way to place int8, the best over the calibration set first, and where the profile's own stands."""
    own = "int8, " + ", ".join(str(way[key]) for key in WAY)
    lines = [
        f"| int8: {', '.join(WAY)} | SQNR over the calibration set, dB | held-out, dB | change | gate |",
        "|---|---:|---:|---:|---|",
    ]
    made = [row for row in rows if "error" not in row]
    for row in sorted(made, key=_calibrated, reverse=True):
        name = row["name"].removeprefix("int8, ") + (" (the profiles')" if row["name"] == own else "")
        change = f"{row['loss']:+.2%}" if row.get("loss") is not None else ""
        lines.append(f"| {name} | {_calibrated(row):.1f} | {_worst(row['sqnr_db'])} | {change} | {_gate(row)} |")
    lines += [
        f"| {row['name'].removeprefix('int8, ')} | cannot be made: {row['error']} | | | |"
        for row in rows
        if "error" in row
    ]
    best = max(made, key=_calibrated, default=None)
    ours = next((row for row in made if row["name"] == own), None)
    if best is not None and ours is not None:
        behind = _calibrated(best) - _calibrated(ours)
        lines += [
            "",
            f"The profiles' way is {behind:.1f} dB behind the best." if behind else "The profiles' way is the best.",
        ]
    return lines


def _falls(layers: list[dict[str, Any]]) -> str:
    """One sentence."""
    shown = layers[:LAYERS_SHOWN]
    said = "; ".join(
        f"{row['layer']} ({row['type']}) by {row['fall_db']:.1f} dB to {row['sqnr_db']:.1f} dB" for row in shown
    )
    return f"int8 fails its gate. Exactness falls most from one layer to the next at: {said}."


def _calibrated(row: dict[str, Any]) -> float:
    found = row["calibration_sqnr_db"]
    return float("inf") if found is None else float(found)


def _worst(sqnr_db: dict[str, float | None]) -> str:
    finite = [value for value in sqnr_db.values() if value is not None]
    return f"{min(finite):.1f}" if finite else "equal"


def _gate(row: dict[str, Any]) -> str:
    return "" if "passed" not in row else "passed" if row["passed"] else "**failed**"


def _row(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['name']} | {row['by']} | cannot be made: {row['error']} | | | | | |"
    sqnr_db = _worst(row["sqnr_db"])
    metric = f"{row['metric']:.4g}" if "metric" in row else ""
    change = f"{row['loss']:+.2%}" if row.get("loss") is not None else ""
    share = f"{row['macs'].get('int8', 0.0):.0%}" if "macs" in row else ""
    figures = (sqnr_db, metric, change, f"{row['bytes'] / 1e6:.2f}", share, _gate(row))
    return f"| {row['name']} | {row['by']} | " + " | ".join(figures) + " |"


if __name__ == "__main__":
    raise SystemExit(main())
