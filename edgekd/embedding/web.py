"""An app in the browser: a page with ONNX Runtime in WebAssembly, and ``config.js`` from the bundle."""

from __future__ import annotations

import json
import shutil
from typing import Any

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.embedding.facts import input_kinds, settings, what_it_is
from edgekd.embedding.plan import Emitted, Plan
from edgekd.embedding.vectors import DECODED_TOLERANCE, FEEDS_SHIFT
from edgekd.storage import write_text

WIDTH = 120  # of a line


def emit(plan: Plan) -> Emitted:
    """Copies the sources of frame, target and recipe, and writes ``config.js``. Nothing is installed or opened."""
    assert plan.kind.recipe is not None
    for folder in (plan.kind.frame, plan.kind.target, plan.kind.recipe):
        for file in sorted(folder.iterdir()):
            shutil.copyfile(file, plan.folder / file.name)
    write_text(plan.folder / "config.js", _config(plan))
    run = ("npm install", "npm start", "then open the page that it names, and press Verify")
    return Emitted(run, "npm once, and a browser", "not opened here: Verify on the page proves it")


def _config(plan: Plan) -> str:
    bundle, facts = plan.bundle, plan.bundle.manifest.vectors
    files = sorted(file.relative_to(plan.folder / "vectors") for file in (plan.folder / "vectors").rglob("*.npy"))
    constants: dict[str, Any] = {
        "TITLE": what_it_is(bundle),
        "INPUTS": input_kinds(bundle),
        "LIVE": bundle.manifest.live[0] if bundle.manifest.live else None,
        "GRAPHS": {name: {"file": g.entry, **_io(g.io)} for name, g in bundle.manifest.graphs.items()},
        **settings(bundle),
        "SAMPLES": plan.samples,
        "FEEDS_TOLERANCE": facts.feeds_tolerance or 0.0,
        "FEEDS_SHIFT": FEEDS_SHIFT,
        "OUTPUTS_TOLERANCE": facts.outputs_tolerance,
        "DECODED_TOLERANCE": DECODED_TOLERANCE,
        "LIVE_TOLERANCES": dict(facts.live_tolerances),
        "VECTORS": [file.as_posix() for file in files],
    }
    lines = [f"export const {name} = {_shown(value)};" for name, value in constants.items()]
    return (
        f"// {what_it_is(bundle)}\n// From the bundle's manifest and the recipe's pipeline, by edgekd embed. After a "
        "change: Verify, on the page.\n\n" + "\n".join(lines) + "\n"
    )


def _io(io: IoSpec) -> dict[str, Any]:
    inputs, outputs = ([_tensor(t) for t in part] for part in (io.inputs, io.outputs))
    return {"inputs": inputs, "outputs": outputs, "state": io.state, "held": io.held}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": spec.name, "shape": list(spec.shape), "layout": spec.layout}
    if spec.image is not None:
        facts["image"] = spec.image.model_dump()
    return facts


def _shown(value: Any, indent: int = 0) -> str:
    """JSON: on one line where it fits, an entry per line where it does not."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent < WIDTH or not isinstance(value, (dict, list)):
        return line
    if isinstance(value, dict):
        parts = [f"{json.dumps(str(key))}: {_shown(inner, indent + 4 + len(str(key)))}" for key, inner in value.items()]
        start, end = "{", "}"
    else:
        parts, start, end = [_shown(inner, indent + 2) for inner in value], "[", "]"
    return f"{start}\n" + "".join(f"{' ' * (indent + 2)}{part},\n" for part in parts) + f"{' ' * indent}{end}"
