"""An app in Python: one file, which needs numpy, Pillow and the bundle's runtime."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.bundle.open import Bundle
from edgekd.contracts import IoSpec, TensorSpec
from edgekd.embedding import readers
from edgekd.embedding.facts import input_kinds, what_it_is
from edgekd.embedding.lifting import import_lines, lift, method, ordered_imports
from edgekd.embedding.plan import Emitted, Plan
from edgekd.embedding.vectors import DECODED_TOLERANCE, FEEDS_SHIFT
from edgekd.errors import GateError
from edgekd.registry import part_name, runtime, target_entry
from edgekd.storage import write_text

METHODS = ("__init__", "preprocess", "postprocess", "restarts")  # of a pipeline: what an app calls
READERS = {
    "picture": "picture_at",
    "frames": "picture_at",
    "mask": "mask_at",
    "box": "box_of",
    "rows": "rows_at",
    "array": "array_at",
}
WIDTH = 120  # of a line
ITEMS = {"frames": "frame_items", "rows": "row_items", "array": "array_items"}  # one item of several inputs, otherwise


def emit(plan: Plan) -> Emitted:
    """Writes ``app.py``, and runs its ``--verify`` where the runtime is here.

    Raises:
        InputError: the recipe's pipeline cannot be taken out of its package.
        GateError: the app's verification fails.
    """
    bundle = plan.bundle
    write_text(plan.folder / "app.py", composed(plan))
    first = next(iter(input_kinds(bundle)))
    run = ("python app.py --verify", f"python app.py {first}=PATH", "python app.py --bench 5")
    package = target_entry(bundle.manifest.target).facts["package"]
    return Emitted(run, f"numpy, Pillow and {package}", _verified(bundle, plan.folder))


def composed(plan: Plan) -> str:
    """The frame with the bundle's facts, its pipeline, its runtime and the readers of its inputs."""
    bundle = plan.bundle
    frame = (plan.kind.frame / "app.py").read_text(encoding="utf-8")
    imports, body = import_lines(re.sub(r"\A(#.*\n)+", "", frame))  # without the lines that are for edgekd
    runtime_imports, runtime_text = import_lines((plan.kind.target / "runtime.py").read_text(encoding="utf-8"))
    given = _defined(body)
    pipeline = lift([(part_name(str(bundle.manifest.recipe), "pipeline"), "Pipeline")], given, METHODS)
    reading = _Reading(bundle)
    taken = lift([(readers.__name__, name) for name in reading.functions], given | pipeline.names)
    marks = {
        "ImageSpec.normalized": method("edgekd.contracts", "ImageSpec", "normalized").strip(),
        "bundle": _facts(bundle, plan.samples),
        "pipeline": f"# Pre- and post-processing: the recipe's own.\n\n\n{pipeline.text}",
        "runtime": f"# The runtime.\n\n\n{runtime_text}",
        "readers": f"# What the command line takes.\n\n\n{taken.text}\n\n\n{reading.table}",
        "items": f"yield from {reading.items}",
    }
    text = _live(body, bool(bundle.manifest.live))
    for mark, value in marks.items():
        text = text.replace(f"# {{{{{mark}}}}}", value)
    named = bundle.vectors()["raw"]
    lines = [f"{name}: {value.dtype} {list(value.shape[1:])}, as in vectors/raw" for name, value in named.items()]
    text = text.replace("{{raw}}", f"\n{' ' * 12}".join(lines))
    text = re.sub(r"\n+(?=\n# [TV]he |\n# \w.*[.:]\n\n\n)", "\n\n", re.sub(r"\n{4,}", "\n\n\n", text)).strip("\n")
    every = imports | runtime_imports | pipeline.imports | taken.imports
    used = [line for line in every if re.search(rf"\b{line.split()[-1]}\b", text) or "__future__" in line]
    return f'"""{_what(bundle)}"""\n\n{ordered_imports(used)}\n\n{text}\n'


class _Reading:
    """How an app's command line becomes raw items."""

    def __init__(self, bundle: Bundle) -> None:
        kinds = input_kinds(bundle)
        bare = {name: kind.rstrip("?").partition(" of ")[0] for name, kind in kinds.items()}
        cutouts = {name: kind.partition(" of ")[2] for name, kind in kinds.items() if " of " in kind}
        required = [name for name, kind in kinds.items() if not kind.endswith("?") and name not in cutouts]
        style = ITEMS.get(next(iter(bare.values())), "single_item")
        self.items = f"{style}(given, READERS{', CUTOUTS' if style == 'single_item' else ''})"
        self.functions = [*dict.fromkeys(READERS[kind] for kind in bare.values()), style]
        table = _shown(
            {name: _Text(READERS[kind]) for name, kind in bare.items()}, before=len("READERS: dict[str, Any] = ")
        )
        lines = [f"READERS: dict[str, Any] = {table}", f"REQUIRED = {_shown(tuple(required))}"]
        rows = bundle.manifest.graphs["main"].io.inputs[0].rows
        if rows is not None and rows.columns:
            lines[0] = lines[0].replace(
                "rows_at", 'lambda path: rows_at(path, GRAPHS["main"][1].inputs[0].rows.columns)'
            )
        if style == "single_item":
            lines.append(f"CUTOUTS: dict[str, str] = {_shown(cutouts)}  # masks that may be a picture's alpha")
        self.table = "\n".join(lines)


def _what(bundle: Bundle) -> str:
    return (
        f"{what_it_is(bundle)}\n\nMade by edgekd embed; pre- and post-processing are the recipe's own code, and what\n"
        "this file says of names, shapes and numbers is the bundle's manifest. After a change: python app.py --verify\n"
    )


def _facts(bundle: Bundle, samples: int) -> str:
    manifest = bundle.manifest
    lines = [
        "# What the bundle is: from its manifest.",
        "",
        f'PRECISION = "{manifest.precision}"',
        f"THREADS = {int(manifest.runtime.get('threads') or 0)}  # 0: every CPU that this process may run on",
        f"SAMPLES = {samples}",
        f"FEEDS_TOLERANCE = {manifest.vectors.feeds_tolerance!r}",
        f"FEEDS_SHIFT = {FEEDS_SHIFT!r}",
        f"OUTPUTS_TOLERANCE = {manifest.vectors.outputs_tolerance!r}",
        f"DECODED_TOLERANCE = {DECODED_TOLERANCE!r}",
    ]
    if manifest.live:
        lines += [f'LIVE = "{manifest.live[0]}"', f"LIVE_TOLERANCES = {_shown(dict(manifest.vectors.live_tolerances))}"]
    graphs = {name: (f"model/{graph.entry}", _io(graph.io)) for name, graph in manifest.graphs.items()}
    return "\n".join([*lines, f"GRAPHS = {_shown(graphs)}"])


class _Text(str):
    """Code, shown as it is."""


@dataclass(frozen=True)
class _Call:
    """A constructor's call in the app's code."""

    name: str
    arguments: Mapping[str, Any]


def _io(io: IoSpec) -> _Call:
    inputs, outputs = tuple(map(_tensor, io.inputs)), tuple(map(_tensor, io.outputs))
    more = {name: value for name, value in (("state", io.state), ("held", io.held)) if value}
    return _Call("IoSpec", {"inputs": inputs, "outputs": outputs, **more})


def _tensor(spec: TensorSpec) -> _Call:
    facts: dict[str, Any] = {"name": spec.name, "shape": spec.shape, "dtype": spec.dtype, "layout": spec.layout}
    for name in ("image", "rows"):
        if (inner := getattr(spec, name)) is not None:
            facts[name] = _Call(type(inner).__name__, inner.model_dump())
    return _Call("TensorSpec", {**facts, "classes": spec.classes} if spec.classes else facts)


def _shown(value: Any, indent: int = 0, before: int = 12) -> str:
    """Code of a value: on one line where it fits, an entry per line where it does not."""
    if isinstance(value, _Call):
        start, end, parts = f"{value.name}(", ")", [(f"{k}=", v) for k, v in value.arguments.items()]
    elif isinstance(value, dict):
        start, end, parts = "{", "}", [(f"{_shown(k)}: ", v) for k, v in value.items()]
    elif isinstance(value, tuple):
        start, end, parts = "(", ",)" if len(value) == 1 else ")", [("", v) for v in value]
    elif isinstance(value, str) and not isinstance(value, _Text):
        return json.dumps(value, ensure_ascii=False)
    else:
        return str(value)
    line = f"{start}{', '.join(key + _shown(v, before=-9999) for key, v in parts)}{end}"
    if before < 0 or len(line) + indent + before < WIDTH:
        return line
    inner = "".join(f"{' ' * (indent + 4)}{key}{_shown(v, indent + 4, len(key) + 1)},\n" for key, v in parts)
    return f"{start}\n{inner}{' ' * indent}{end.lstrip(',')}"


def _live(text: str, wanted: bool) -> str:
    """The parts for a graph that is prepared, kept or taken out."""
    if wanted:
        return re.sub(r"^ *# \{\{(end of )?live\}\}\n", "", text, flags=re.M)
    return re.sub(r"^ *# \{\{live\}\}\n.*?# \{\{end of live\}\}\n", "", text, flags=re.M | re.S)


def _defined(text: str) -> frozenset[str]:
    """What a text defines at its top."""
    made: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            made.add(node.name)
        elif isinstance(node, ast.Assign):
            made |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(made)


def _verified(bundle: Bundle, folder: Path) -> str:
    """Runs the app's own proof in an interpreter that sees no checkout."""
    probe = runtime(bundle.manifest.target).probe()
    if not probe.can_run:
        return f"not verified here: {probe.why}"
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "app.py"), "--verify"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
        why = "; ".join(failed) or (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise GateError("the app does not give what the bundle recorded", why, "edgekd verify BUNDLE, on this machine")
    return f"verified here: {len(done.stdout.splitlines())} checks on {bundle.manifest.vectors.samples} vectors"
