"""A Swift package for Core ML, with the bundle's vectors as an XCTest. Generated anywhere; compiled on a Mac."""

from __future__ import annotations

import json
import shutil

import numpy as np

from edgekd.contracts import TensorSpec
from edgekd.embedding.facts import what_it_is
from edgekd.embedding.plan import Emitted, Plan
from edgekd.embedding.vectors import DECODED_TOLERANCE, FEEDS_SHIFT, VARIED
from edgekd.storage import write_text

SOURCES, TESTS = "Sources/App", "Tests/AppTests"


def emit(plan: Plan) -> Emitted:
    """Copies the sources of frame, target and recipe, and writes ``Config.swift``. Nothing is compiled."""
    assert plan.kind.recipe is not None
    shutil.copytree(plan.kind.frame, plan.folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for folder in (plan.kind.target, plan.kind.recipe):
        for file in sorted(folder.iterdir()):
            place = plan.folder / (TESTS if file.stem.endswith("Tests") else SOURCES) / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    (plan.folder / "model").rename(plan.folder / SOURCES / "model")
    (plan.folder / "vectors").rename(plan.folder / TESTS / "vectors")
    write_text(plan.folder / SOURCES / "Config.swift", _config(plan))
    return Emitted(("swift test",), "Xcode 15 or later on a Mac", "not compiled here: swift test on a Mac proves it")


def _config(plan: Plan) -> str:
    manifest = plan.bundle.manifest
    graph = manifest.graphs["main"]
    numbers = {
        "feedsTolerance": manifest.vectors.feeds_tolerance or 0.0,
        "feedsShift": FEEDS_SHIFT,
        "outputsTolerance": manifest.vectors.outputs_tolerance,
        "decodedTolerance": DECODED_TOLERANCE,
    }
    lines = [
        f"// {what_it_is(plan.bundle)}",
        "// From the bundle's manifest, by edgekd embed. After a change: swift test",
        "",
        "public enum Config {",
        f"    public static let samples = {plan.samples}",
        f"    public static let varied = {min(VARIED, plan.samples)}",
        *(f"    public static let {name} = {value!r}" for name, value in numbers.items()),
        "    public static let graph = GraphSpec(",
        f"        file: {json.dumps(graph.entry)},",
        f"        inputs: [{', '.join(map(_tensor, graph.io.inputs))}],",
        f"        outputs: [{', '.join(map(_tensor, graph.io.outputs))}])",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _tensor(spec: TensorSpec) -> str:
    image = "nil"
    if spec.image is not None:
        mean, std = (f"[{', '.join(map(_float, part))}]" for part in (spec.image.mean, spec.image.std))
        color, resampler = json.dumps(spec.image.color), json.dumps(spec.image.resampler)
        scale = _float(spec.image.scale)
        image = f"ImageSpec(color: {color}, resampler: {resampler}, scale: {scale}, mean: {mean}, std: {std})"
    shape = [-1 if isinstance(axis, str) else axis for axis in spec.shape]
    name, layout = json.dumps(spec.name), json.dumps(spec.layout)
    return f"TensorSpec(name: {name}, shape: {shape}, layout: {layout}, image: {image})"


def _float(value: float) -> str:
    return repr(float(np.float32(value)))
