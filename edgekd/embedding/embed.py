"""``embed``: the last step of the road. A bundle becomes a small app that a product engineer reads and copies from."""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgekd.bundle.open import Bundle
from edgekd.bundle.open import open as open_bundle
from edgekd.embedding.facts import what_it_is
from edgekd.embedding.kinds import kind_of
from edgekd.embedding.plan import Emitted, Plan
from edgekd.embedding.vectors import write_vectors
from edgekd.errors import InputError
from edgekd.storage import refuse_existing, whole_folder, write_text

MARKER = "app.json"  # by which a folder is known as an app


@dataclass(frozen=True)
class App:
    """What was made: its folder, how it is verified, and what that said where it was run."""

    path: Path
    kind: str
    bundle: str
    bytes: int
    run: tuple[str, ...]  # command lines, in the app's folder
    verified: str  # what --verify said here, or why it was not run


def embed(path: str | Path, app: str, out: str | Path, *, overwrite: bool = False) -> App:
    """Writes an app of one kind: sources, the graphs that the runtime loads, and the bundle's vectors.

    Args:
        path: the bundle's folder.
        app: ``python``, ``cpp``, ``web`` or ``swift``.
        out: the app's folder.

    Raises:
        InputError: no bundle or a damaged one, a kind that this bundle cannot become, an output that exists.
        GateError: the app was run here and does not give what the bundle recorded.
    """
    bundle = open_bundle(path)
    kind = kind_of(app, bundle.manifest.recipe, bundle.manifest.target)
    folder = Path(out)
    if folder.resolve().is_relative_to(bundle.path.resolve()):
        raise InputError(f"{folder} lies in the bundle", "a bundle is never changed", "choose another --out")
    refuse_existing(folder, overwrite, marker=MARKER)
    emit = importlib.import_module(f"edgekd.embedding.{app}").emit
    with whole_folder(folder, overwrite) as temporary:
        copy_graphs(bundle, temporary / "model")
        said: Emitted = emit(Plan(bundle, kind, temporary, write_vectors(bundle, temporary)))
        write_text(temporary / "README.md", _readme(folder.resolve().name, bundle, app, said))
        write_text(temporary / MARKER, _facts(bundle, app))
        size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
    return App(folder, app, bundle.name, size, said.run, said.verified)


def copy_graphs(bundle: Bundle, folder: Path) -> None:
    """What the runtime loads, and nothing else of the bundle."""
    for name in bundle.manifest.graphs:
        for file in bundle.graph_files(name):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / file, folder / file)


def _facts(bundle: Bundle, app: str) -> str:
    facts = {
        "app": app,
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.sha256,
        "recipe": bundle.manifest.recipe,
        "target": bundle.manifest.target,
        "precision": str(bundle.manifest.precision),
        "edgekd_version": bundle.manifest.edgekd_version,
        "licences": bundle.manifest.licences,
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def _readme(name: str, bundle: Bundle, app: str, said: Emitted) -> str:
    manifest = bundle.manifest
    lines = "\n".join(f"    {line}" for line in said.run)
    licences = "\n".join(f"- {what}: {terms}" for what, terms in manifest.licences.items())
    return (
        f"# {name}\n\n"
        f"A {app} app. {what_it_is(bundle)}\n"
        f"It needs {said.needs}, and no edgekd.\n\n{lines}\n\n"
        "Its verification runs the bundle's vectors through this app: pre-processing, outputs, post-processing and\n"
        "the result, each against what was recorded at export. Run it after every change.\n\n"
        f"Licences:\n\n{licences}\n"
    )
