"""int8 for TensorRT: edgekd's typed graphs beside those that ModelOpt and ONNX Runtime's quantizer make by default.

    python benchmarks/engines.py --run RUN [--run RUN ...] [--quick]
    python benchmarks/engines.py                    # of the small runs that benchmarks/matrix.py made
    python benchmarks/engines.py --install-peers    # ModelOpt, once, into a venv of its own

All start from a run's canonical ONNX and get the same calibration samples. Each graph is judged in the same reference
evaluator by the recipe's own metric and by SQNR on held-out samples, and then built by TensorRT-RTX for sm_86, sm_89
and sm_120 in one engine: whether it builds, how large it is, how long it takes. No GPU is needed, and no time on one is
claimed. Writes results/engines.json; ``--quick`` only prints.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SMALL = HERE / "work" / "matrix" / "runs"
PROFILE = "tensorrt/rtx"
PEER = (
    "nvidia-modelopt==0.47.0",
    "onnx-graphsurgeon==0.6.1",
    "nvidia-ml-py==13.615.71",
    "onnxslim==0.1.98",
    "lief==1.0.0",
)
PEER_CODE = """
import sys, numpy as np
from modelopt.onnx.quantization import quantize
model, feeds, out = sys.argv[1:]
quantize(model, quantize_mode="int8", calibration_data=dict(np.load(feeds)), calibration_eps=["cpu"], output_path=out)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, action="append", default=[], help="a run folder; may be given again")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for the peer's venv")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="8 calibration samples: to see that it works")
    parser.add_argument("--install-peers", action="store_true", help="makes the venv of ModelOpt, and stops")
    options = parser.parse_args()
    if options.install_peers:
        return install_peer(options.work)
    runs = options.run or sorted(path.parent for path in SMALL.glob("*/run.json"))
    if not runs:
        raise SystemExit("name a run: --run RUN (benchmarks/matrix.py makes small ones)")

    from importlib.metadata import version

    from edgekd.measuring.machine import read_facts
    from edgekd.storage import write_json

    rows = []
    for run in runs:
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            rows += compare(run, Path(folder), options.work, 8 if options.quick else None)
    packages = ("edgekd", "onnx", "onnxruntime", "tensorrt-rtx-cu12")
    results = {
        "conditions": {
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": read_facts().title,
            "profile": PROFILE,
            "quick": options.quick,
            "versions": {name: version(name) for name in packages} | {"modelopt": PEER[0].partition("==")[2]},
        },
        "rows": rows,
    }
    if not options.quick:
        options.results.mkdir(exist_ok=True, parents=True)
        write_json(options.results / "engines.json", results)
    print(section(results))
    return 0


def compare(run: Path, folder: Path, work: Path, samples: int | None) -> list[dict[str, Any]]:
    """A row per contender: who placed the types, what they cost, and whether TensorRT takes them."""
    import numpy as np

    from edgekd.bundle.session import carried
    from edgekd.contracts import Precision
    from edgekd.conversion.from_run import make_canonical
    from edgekd.errors import EdgekdError
    from edgekd.nn.onnx_reference import OnnxReference
    from edgekd.registry import profile
    from edgekd.run import open_run

    canonical = make_canonical(open_run(run), folder / "canonical")
    start, chosen = canonical.start, profile(PROFILE)
    source, calibration = start.sources["main"], start.calibrations["main"]
    feeds = list(calibration)[:samples]
    np.savez(folder / "feeds.npz", **{name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]})
    rows = []
    for name, make in contenders(source, chosen, feeds, folder, work).items():
        print(f"  {run.name}: {name}", flush=True)
        row: dict[str, Any] = {"run": run.name, "name": name}
        rows.append(row)
        began = time.perf_counter()
        try:
            typed = make()
        except Exception as error:  # a peer's, which may be any
            if name.startswith("edgekd") and not isinstance(error, EdgekdError):
                raise
            row["error"] = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            continue
        row |= {"quantize_s": time.perf_counter() - began, "typed_bytes": typed.stat().st_size}
        try:
            said = canonical.witness(carried(OnnxReference(typed, source.io)))
            gate = canonical.judge("", start.said, said, Precision.INT8, "")
            row |= {"metric": gate.metric, "before": gate.before, "after": gate.after, "loss": gate.relative_loss}
            row |= {"sqnr_db": gate.worst[1].sqnr_db, "passed": gate.passed, "samples": gate.samples}
        except EdgekdError as error:
            row["judged"] = error.why
        row |= built(typed, source.io, chosen)
        row["macs"] = types(typed, source.io, chosen)
    return rows


def contenders(source: Any, chosen: Any, feeds: list[Any], folder: Path, work: Path) -> dict[str, Callable[[], Path]]:
    from edgekd.contracts import Precision
    from edgekd_targets.tensorrt.build import write_typed

    class Feeds(list[Any]):
        sha256 = ""

    def ours(precision: str) -> Path:
        path = folder / f"{precision}.onnx"
        write_typed(source, chosen, Precision(precision), Feeds(feeds), path)
        return path

    return {
        "edgekd int8": lambda: ours("int8"),
        "edgekd mixed (int8, fp16 between)": lambda: ours("mixed"),
        "edgekd fp16": lambda: ours("fp16"),
        "ModelOpt int8": lambda: by_modelopt(source.model, folder, work),
        "ONNX Runtime quantize_static": lambda: by_onnxruntime(source.model, feeds, folder),
    }


def built(typed: Path, io: Any, chosen: Any) -> dict[str, Any]:
    """What TensorRT-RTX makes of a typed graph, or why it makes nothing."""
    from edgekd.errors import EdgekdError
    from edgekd_targets.tensorrt.build import compile

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        try:
            made = compile(typed, io, chosen, Path(folder))
            return {"engine_bytes": made.entry.stat().st_size, "build_s": time.perf_counter() - began}
        except EdgekdError as error:
            return {"not_built": f"{error.what}: {error.why}"}


def types(typed: Path, io: Any, chosen: Any) -> dict[str, float]:
    """Share of multiply-accumulates per type: as TensorRT's parser takes the graph, else as it is written."""
    import onnx

    from edgekd.errors import EdgekdError
    from edgekd_targets.tensorrt import typed as types_of
    from edgekd_targets.tensorrt.flavours import flavour_of

    try:
        found = types_of.read(flavour_of(chosen.runtime), typed, io)
    except EdgekdError:
        nodes = types_of.onnx_nodes(onnx.load(typed))
        found = types_of.placement(nodes, types_of.costs_by_node(typed, io), "", "ONNX")
    return found.share_of_macs("precision")


def by_modelopt(model: Path, folder: Path, work: Path) -> Path:
    """Its ONNX int8 with its defaults, on the CPU."""
    python, out = work / "peers" / "ModelOpt" / "bin" / "python", folder / "modelopt.onnx"
    if not python.is_file():
        raise RuntimeError("not installed: run --install-peers first")
    command = [str(python), "-W", "ignore", "-c", PEER_CODE, str(model), str(folder / "feeds.npz"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it gives no reason"])[-1])
    return out


def by_onnxruntime(model: Path, feeds: list[Any], folder: Path) -> Path:
    """Its defaults: asymmetric int8 activations, one scale per tensor, int32 biases."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> Any:
            return next(self.feeds, None)

    prepared, out = folder / "prepared.onnx", folder / "static.onnx"
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(out), Reader())
    return out


def install_peer(work: Path) -> int:
    """A venv that sees this one's packages, with ModelOpt above them: it would bring an older onnx along."""
    venv = work / "peers" / "ModelOpt"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "layer.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", *PEER]
    return subprocess.run(pip, check=False).returncode


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    conditions = results["conditions"]
    versions = ", ".join(f"{name} {version}" for name, version in conditions["versions"].items())
    lines = [
        "## `python benchmarks/engines.py`: what it shows",
        "",
        "Typed graphs of the same students and calibration samples, judged in one reference evaluator on held-out "
        "samples, then built by TensorRT-RTX for sm_86, sm_89 and sm_120. Nothing was run on a GPU.",
        "",
        "| run | who placed the types | metric | change | SQNR, dB | int8 MACs | typed, MB | engine, MB | built |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in results["rows"]]
    return "\n".join([*lines, "", f"Made {conditions['made'][:10]} on {conditions['machine']}; {versions}.", ""])


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['run']} | {row['name']} | | | | | | | {row['error']} |"
    metric = change = sqnr = row.get("judged", "")
    if "metric" in row:
        metric = f"{row['metric']} {row['before']:.4g} → {row['after']:.4g}"
        change = f"{row['loss']:+.2%}" + ("" if row["passed"] else " (**missed**)")
        sqnr = "equal" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}"
    engine = f"{row['engine_bytes'] / 1e6:.1f}" if "engine_bytes" in row else ""
    how = f"{row['build_s']:.1f} s" if "build_s" in row else f"no: {row['not_built']}"
    typed, share = f"{row['typed_bytes'] / 1e6:.1f}", f"{row['macs'].get('int8', 0.0):.0%}"
    return f"| {row['run']} | {row['name']} | {metric} | {change} | {sqnr} | {share} | {typed} | {engine} | {how} |"


if __name__ == "__main__":
    raise SystemExit(main())
