"""What an app costs: bytes that are shipped, time to its first result, and its own loop beside ``edgekd bench``.

    python benchmarks/apps.py bundles/lm-openvino bundles/lm-onnxruntime ...           # some minutes a bundle
    python benchmarks/apps.py bundles/lm-openvino --quick                              # to try

Of each bundle every kind of app is made that runs here: Python always; C++ where CMake, a compiler and the runtime's
headers are (ONNX Runtime's: --onnxruntime-include); the page where Node, Chromium and --web-modules are, a
``node_modules`` with onnxruntime-web and playwright-core. Each app proves itself before it is timed. Then, round by
round, each app times its own loop over the bundle's vectors (pre-processing, inference, post-processing), in a
process of its own; ``edgekd bench`` measures the bundle in the same run, span end-to-end. Writes results/apps.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CLICK = HERE.parent / "tests" / "edgekd" / "embedding" / "click_through.mjs"
KINDS = ("python", "cpp", "web")
Timed = dict[str, float]  # first_ms, p50_ms, p90_ms, calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--quick", action="store_true", help="one short round, to try")
    parser.add_argument("--onnxruntime-include", type=Path, help="the folder of onnxruntime_cxx_api.h")
    parser.add_argument("--web-modules", type=Path, help="a node_modules with onnxruntime-web and playwright-core")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    from edgekd.measuring.machine import read_facts
    from edgekd.storage import write_text

    facts = read_facts()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for bundle in options.bundles for row in measured(bundle, Path(folder) / bundle.name, options)]
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine_title": facts.title,
        "machine": facts.model_dump(mode="json"),
        "rows": rows,
    }
    write_text(options.results / "apps.json", json.dumps(results, indent=1) + "\n")
    print(section(results))
    return 0


def measured(path: Path, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per app of the bundle, and one for what could not be timed, with the reason."""
    import edgekd
    from edgekd.embedding.kinds import served

    manifest = edgekd.open(path).manifest
    rounds, seconds = (1, 0.3) if options.quick else (5, 3.0)
    apps: dict[str, tuple[Callable[[], Timed], int]] = {}
    rows: list[dict[str, Any]] = []
    about = {"bundle": manifest.name, "target": manifest.target, "recipe": manifest.recipe}
    about["precision"] = str(manifest.precision)
    for kind in KINDS:
        why = "" if kind in served(str(manifest.recipe), manifest.target) else "no such app of this bundle"
        app = folder / kind
        if not why:
            edgekd.embed(path, kind, app)
            size = shipped(app)
            loop = {"python": python_loop, "cpp": cpp_loop, "web": web_loop}[kind](
                app, manifest.target, seconds, options
            )
            if isinstance(loop, str):
                why = loop
            else:
                apps[kind] = loop, size
        if why:
            rows.append({**about, "app": kind, "not_timed": why})
    taken: dict[str, list[Timed]] = {kind: [] for kind in apps}
    for _ in range(rounds):
        for kind, (loop, _) in apps.items():
            taken[kind].append(loop())
    length = "quick" if options.quick else "standard"
    benched = edgekd.bench([path], length=length, out=folder / "measurements").measurements[0]
    own = benched.spans["end-to-end"].percentiles_ms
    for kind, (_, size) in apps.items():
        figures = {
            key: statistics.median(found[key] for found in taken[kind]) for key in ("first_ms", "p50_ms", "p90_ms")
        }
        bench = {"bench_p50_ms": own["p50"], "bench_p90_ms": own["p90"]}
        rows.append({**about, "app": kind, "shipped_bytes": size, **figures, **bench, "rounds": taken[kind]})
    return rows


def shipped(app: Path) -> int:
    """Bytes of what a product ships: sources and graphs, not the vectors, nor the runtime itself."""
    files = (file for file in app.rglob("*") if file.is_file() and "vectors" not in file.relative_to(app).parts)
    return sum(file.stat().st_size for file in files)


def python_loop(app: Path, target: str, seconds: float, options: argparse.Namespace) -> Callable[[], Timed] | str:
    return lambda: _json([sys.executable, "-I", app / "app.py", "--bench", seconds])


def cpp_loop(app: Path, target: str, seconds: float, options: argparse.Namespace) -> Callable[[], Timed] | str:
    if shutil.which("cmake") is None:
        return "no CMake"
    if target == "openvino":
        import openvino

        where = [f"-DOpenVINO_DIR={Path(openvino.__path__[0]) / 'cmake'}"]
    else:
        import onnxruntime

        libraries = sorted((Path(onnxruntime.__path__[0]) / "capi").glob("libonnxruntime.so.*"))
        if options.onnxruntime_include is None or not libraries:
            return "no headers of ONNX Runtime: --onnxruntime-include"
        library = app.with_name("libonnxruntime.so.1")  # as it names itself
        library.symlink_to(libraries[0])
        include = options.onnxruntime_include.resolve()
        where = [f"-DONNXRUNTIME_INCLUDE={include}", f"-DONNXRUNTIME_LIBRARY={library}"]
    build = app.with_name("build")
    for command in (
        ["cmake", "-S", app, "-B", build, *where],
        ["cmake", "--build", build],
        [build / "app", "--verify"],
    ):
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return lambda: _json([build / "app", "--bench", seconds])


def web_loop(app: Path, target: str, seconds: float, options: argparse.Namespace) -> Callable[[], Timed] | str:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if options.web_modules is None or shutil.which("node") is None or chromium is None:
        return "no Node, no Chromium or no --web-modules"
    (app / "node_modules").symlink_to(options.web_modules.resolve())
    plan = app.with_name("plan.json")
    plan.write_text(json.dumps({"chromium": chromium, "time_only": True, "screenshots": str(app.parent), "files": {}}))

    def loop() -> Timed:
        told = _json(["node", CLICK, app, plan])
        if told.get("verified") != "ok":
            raise SystemExit(f"the page of {app} does not give what the bundle recorded: {told}")
        return dict(told["timed"])

    return loop


def _json(command: list[Any]) -> Any:
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    quick = " (a quick try, no result)" if results["quick"] else ""
    lines = [
        f"## `python benchmarks/apps.py`: what an app costs{quick}",
        "",
        "Of each app the bytes that are shipped (sources and graphs, without runtime and test vectors), milliseconds "
        "from the start of loading to the first result, and its own loop from raw input to decoded result; beside it "
        "`edgekd bench` of the same bundle in the same run, span end-to-end.",
        "",
        "| bundle | app | kB | first result, ms | p50, ms | p90, ms | `edgekd bench` p50 | p90 |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in results["rows"]:
        name = f"{row['recipe']}, {row['target']} {row['precision']}"
        if "not_timed" in row:
            lines.append(f"| {name} | {row['app']} | {row['not_timed']} | | | | | |")
            continue
        times = [row[key] for key in ("first_ms", "p50_ms", "p90_ms", "bench_p50_ms", "bench_p90_ms")]
        shown = " | ".join("" if value is None else f"{value:.3g}" for value in times)
        lines.append(f"| {name} | {row['app']} | {row['shipped_bytes'] / 1e3:.0f} | {shown} |")
    lines += ["", f"Measured {results['created'][:10]} on {results['machine_title']}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
