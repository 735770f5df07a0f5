"""An app in C++17 with CMake: frame, target's runtime, recipe's student, and ``config.hpp`` from the bundle."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np

from edgekd.contracts import TensorSpec
from edgekd.embedding.facts import input_kinds, settings, what_it_is
from edgekd.embedding.plan import Emitted, Plan
from edgekd.embedding.vectors import DECODED_TOLERANCE, FEEDS_SHIFT
from edgekd.registry import target_entry
from edgekd.storage import write_text

CONFIGURE = {
    "openvino": 'cmake -S . -B build -DOpenVINO_DIR=$(python -c "import openvino; print(openvino.__path__[0])")/cmake',
    "onnxruntime": "cmake -S . -B build -DONNXRUNTIME_INCLUDE=FOLDER -DONNXRUNTIME_LIBRARY=libonnxruntime.so",
}


def emit(plan: Plan) -> Emitted:
    """Copies the sources of frame, target and recipe, and writes ``config.hpp``. Nothing is compiled."""
    assert plan.kind.recipe is not None
    for folder in (plan.kind.frame, plan.kind.target, plan.kind.recipe):
        for file in sorted(folder.iterdir()):
            shutil.copyfile(file, plan.folder / file.name)
    write_text(plan.folder / "config.hpp", _config(plan))
    first = next(iter(input_kinds(plan.bundle)))
    target = plan.bundle.manifest.target
    title = target_entry(target).facts["title"]
    run = (
        CONFIGURE.get(target, "cmake -S . -B build"),
        "cmake --build build",
        "build/app --verify",
        f"build/app {first}=PATH",
    )
    return Emitted(run, f"a C++17 compiler, CMake and {title}", "not compiled here: build/app --verify proves it")


def _config(plan: Plan) -> str:
    bundle = plan.bundle
    manifest, kinds = bundle.manifest, input_kinds(bundle)
    facts = manifest.vectors
    numbers = {
        "feeds_tolerance": facts.feeds_tolerance or 0.0,
        "feeds_shift": FEEDS_SHIFT,
        "outputs_tolerance": facts.outputs_tolerance,
        "decoded_tolerance": DECODED_TOLERANCE,
    }
    lines = [
        f"// {what_it_is(bundle)}",
        "// From the bundle's manifest and the recipe's pipeline, by edgekd embed. After a change: build/app --verify",
        "#pragma once",
        "",
        "#include <map>",
        "#include <string>",
        "#include <vector>",
        "",
        '#include "spec.hpp"',
        "",
        "namespace config {",
        "",
        f"inline const std::string precision = {_text(str(manifest.precision))};",
        f"constexpr int threads = {int(manifest.runtime.get('threads') or 0)};  // 0: every CPU",
        f"constexpr int samples = {plan.samples};",
        *(f"constexpr double {name} = {value!r};" for name, value in numbers.items()),
        "",
        "// Of the pre- and post-processing.",
        *(
            f"constexpr {_type(v)} {name} = {v!r};"
            for name, v in settings(bundle).items()
            if isinstance(v, (int, float))
        ),
        "",
        "// How each input is read.",
        f"inline const std::string first_input = {_text(next(iter(kinds)))};",
        *_function(
            "std::map<std::string, std::string>", "inputs", [f"{{{_text(k)}, {_text(v)}}}" for k, v in kinds.items()]
        ),
        *_function(
            "std::map<std::string, double>",
            "live_tolerances",
            [f"{{{_text(name)}, {limit!r}}}" for name, limit in facts.live_tolerances.items()],
        ),
        *_function(
            "std::vector<GraphSpec>", "graphs", [_graph(name, graph) for name, graph in manifest.graphs.items()]
        ),
        "}  // namespace config",
    ]
    return "\n".join(lines) + "\n"


def _function(kind: str, name: str, entries: list[str]) -> list[str]:
    inner = ["  static const " + kind + " all{"] + [f"      {entry}," for entry in entries] + ["  };"]
    return [f"inline const {kind}& {name}() {{", *inner, "  return all;", "}", ""]


def _graph(name: str, graph: Any) -> str:
    inputs, outputs = (
        "{" + "".join(f"\n           {_tensor(t)}," for t in part) + "}" for part in (graph.io.inputs, graph.io.outputs)
    )
    state, held = (_pairs(pairs) for pairs in (graph.io.state, graph.io.held))
    parts = [f"{_text(name)}, {_text(graph.entry)}", inputs, outputs, f"{state}, {held}"]
    return f"GraphSpec{{{(',' + chr(10) + ' ' * 10).join(parts)}}}"


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join("-1" if isinstance(axis, str) else str(axis) for axis in spec.shape)
    image = ""
    if spec.image is not None:
        mean, std = ("{" + ", ".join(map(_float, part)) + "}" for part in (spec.image.mean, spec.image.std))
        words = ", ".join([_text(spec.image.color), _text(spec.image.resampler), _float(spec.image.scale), mean, std])
        image = f"ImageSpec{{{words}}}"
    rows = spec.rows.normalization if spec.rows is not None else ""
    classes = ", ".join(map(_text, spec.classes))
    name, dtype, layout = map(_text, (spec.name, spec.dtype, spec.layout))
    return f"{{{name}, {{{shape}}}, {dtype}, {layout}, {{{image}}}, {_text(rows)}, {{{classes}}}}}"


def _pairs(pairs: dict[str, str]) -> str:
    return "{" + ", ".join(f"{{{_text(a)}, {_text(b)}}}" for a, b in pairs.items()) + "}"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def _type(value: Any) -> str:
    return "unsigned" if isinstance(value, int) else "double"


def _float(value: float) -> str:
    """The float32 nearest to ``value``, as a literal that is read back as just that."""
    return f"{float(np.float32(value))!r}f"
