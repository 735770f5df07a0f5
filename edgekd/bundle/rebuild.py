"""``rebuild``: a bundle's engines built anew, from its typed ONNX, on the device that they are to run on."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from edgekd.bundle.manifest import FileFacts, GraphEntry, Manifest, write_manifest
from edgekd.bundle.open import Bundle
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.placement import not_executed, precision_shortfall, summarize
from edgekd.bundle.verify import check
from edgekd.errors import GateError, InputError
from edgekd.registry import builder, profile
from edgekd.storage import refuse_existing, sha256_file, whole_folder


def rebuild(path: str | Path, out: str | Path | None = None, *, overwrite: bool = False) -> Bundle:
    """Writes a new bundle, with engines for this machine; the old one stays as it is.

    Types are the old one's, since they are in the typed ONNX. Where the runtime runs here, so do the vectors.

    Args:
        out: the new folder; ``PATH-rebuilt`` if left out.

    Raises:
        InputError: the bundle is damaged, or holds nothing that is bound to a device; an existing output.
        MachineError: the engines cannot be built here either.
        GateError: they are not what the manifest and the vectors say; nothing is written.
    """
    bundle = open_bundle(path)
    old = bundle.manifest
    make: Any = builder(old.target)
    if not hasattr(make, "rebuild"):
        raise InputError(
            f"{bundle.path} needs no rebuilding",
            f"a bundle for {old.target} holds nothing that is bound to one device",
            f"edgekd verify {bundle.path}",
        )
    chosen = profile(f"{old.target}/{old.profile}")
    folder = Path(out) if out is not None else bundle.path.with_name(f"{bundle.name}-rebuilt")
    refuse_existing(folder, overwrite, marker="manifest.json")
    with whole_folder(folder, overwrite) as temporary:
        _copy_all_but_engines(bundle, temporary)
        graphs = {name: _rebuilt(entry, make, chosen, temporary) for name, entry in old.graphs.items()}
        probe = bundle.runtime.probe()
        changed = {
            "name": folder.name,
            "graphs": graphs,
            "versions": {**old.versions, **make.versions()},
            "not_executed": "" if probe.can_run else not_executed(graphs["main"].engine, probe.why),
            "provenance": old.provenance.model_copy(
                update={"notes": (*old.provenance.notes, f"rebuilt from the bundle {bundle.sha256}")}
            ),
            "files": {
                file.relative_to(temporary).as_posix(): FileFacts(sha256=sha256_file(file), bytes=file.stat().st_size)
                for file in sorted(temporary.rglob("*"))
                if file.is_file()
            },
        }
        made = Bundle(temporary, Manifest.model_validate(old.model_copy(update=changed).model_dump()))
        placements = {name: made.runtime.placement(made.graph(name)) for name in graphs}
        for name, placement in placements.items():
            share = precision_shortfall(placement, old.precision)
            if share.found < share.limit:
                raise GateError(
                    f"the graph {name} was rebuilt in something else than {old.precision}",
                    f"{share.found:.0%} of its multiply-accumulates are {old.precision}, {share.limit:.0%} must be",
                )
        if probe.can_run:
            _require_vectors(made)
        main = {"placement": summarize(placements["main"])}
        write_manifest(temporary, made.manifest.model_copy(update=main))
    return open_bundle(folder)


def _copy_all_but_engines(bundle: Bundle, folder: Path) -> None:
    engines = {entry.entry for entry in bundle.manifest.graphs.values() if entry.entry != entry.typed_onnx}
    for name in bundle.manifest.files.keys() - engines:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / name, folder / name)


def _rebuilt(entry: GraphEntry, make: Any, chosen: Any, folder: Path) -> GraphEntry:
    assert entry.typed_onnx is not None  # a builder that rebuilds starts from it
    typed = folder / entry.typed_onnx
    with tempfile.TemporaryDirectory(prefix="edgekd-") as work:
        built = make.rebuild(typed, entry.io, chosen, Path(work))
        engine = typed.with_name(built.entry.name)
        shutil.copyfile(built.entry, engine)
    return entry.model_copy(update={"entry": engine.relative_to(folder).as_posix(), "engine": built.engine})


def _require_vectors(bundle: Bundle) -> None:
    for item in check(bundle).checks:
        if not item.passed:
            raise GateError(
                f"the rebuilt engine's {item.name} is not what was recorded at export",
                f"{item.found:.3g} found, at most {item.limit:.3g} allowed; {item.note}",
                "nothing was written",
            )
