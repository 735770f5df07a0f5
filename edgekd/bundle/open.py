"""Opening a bundle: integrity first, then graph, session and pipeline. All that an app needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from edgekd.bundle.manifest import Manifest, read_manifest
from edgekd.bundle.session import CarriedState
from edgekd.contracts import Array, Arrays, Graph, Runtime, Session
from edgekd.errors import InputError
from edgekd.recipes.contract import Metrics, Pipeline
from edgekd.registry import recipe_part, runtime
from edgekd.storage import inner_file, read_arrays, section, sha256_file

_FIX = "copy the bundle again from where it was made, or export the run again"


class Bundle:
    """An opened bundle. Nothing of the runtime is imported before ``session`` is asked for."""

    def __init__(self, path: Path, manifest: Manifest, threads: int | None = None) -> None:
        self.path, self.manifest, self._threads = path, manifest, threads

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @cached_property
    def sha256(self) -> str:
        """Of the manifest, which holds the sha256 of everything else."""
        return sha256_file(self.path / "manifest.json")

    @property
    def size_bytes(self) -> int:
        """Of the file or files that the runtime loads."""
        graph = self.manifest.graphs["main"]
        entry, proof = Path(graph.entry), {graph.typed_onnx} - {graph.entry}
        beside = {
            name: f
            for name, f in self.manifest.files.items()
            if Path(name).parent == entry.parent and Path(name).stem == entry.stem and name not in proof
        }
        return sum(f.bytes for f in {**beside, **self.manifest.files_at(graph.entry)}.values())

    def graph(self, name: str = "main") -> Graph:
        entry = self.manifest.graphs[name]
        options = dict(self.manifest.runtime)
        if self._threads is not None:
            options["threads"] = self._threads
        return Graph(self.path / entry.entry, entry.io, self.manifest.precision, options)

    @cached_property
    def runtime(self) -> Runtime:
        return runtime(self.manifest.target)

    @cached_property
    def session(self) -> Session:
        graph = self.graph()
        session = self.runtime.load(graph)
        return CarriedState(session) if graph.io.state else session

    @cached_property
    def pipeline(self) -> Pipeline:
        recipe = self._recipe("is a foreign model: it takes and gives arrays, so use bundle.session.run")
        return cast(Pipeline, recipe_part(recipe, "pipeline").Pipeline(self.manifest.graphs["main"].io))

    @cached_property
    def metrics(self) -> Metrics:
        recipe = self._recipe("is a foreign model: it has no metrics")
        return cast(Metrics, recipe_part(recipe, "metrics").METRICS)

    def predict(self, raw: Arrays) -> dict[str, Any]:
        """Raw input (for landmarks ``{"image": uint8 HWC RGB}``) to the recipe's prediction."""
        session = self.session
        outputs = session.run(self.pipeline.preprocess(raw))
        return self.pipeline.postprocess(outputs, raw)

    def vectors(self) -> Mapping[str, dict[str, Array]]:
        """The test vectors by section: ``raw``, ``feeds``, ``fp32`` and ``built`` outputs."""
        file = self.path / "vectors.npz"
        arrays = read_arrays(file)
        parts = {part: section(arrays, part) for part in ("raw", "feeds", "fp32", "built")}
        self._check_vectors(file, parts)
        return parts

    def _check_vectors(self, file: Path, parts: Mapping[str, dict[str, Array]]) -> None:
        io = self.manifest.graphs["main"].io
        outputs = {spec.name for spec in io.outputs}
        fed = {spec.name for spec in io.inputs} - set(io.state.values())
        wanted = {"feeds": fed, "fp32": outputs, "built": outputs}
        for part, arrays in parts.items():
            if part != "raw" and any(value.dtype.kind not in "biuf" for value in arrays.values()):
                raise InputError(f"{file} is damaged", f"{part} holds something else than numbers", _FIX)
            missing = wanted.get(part, set()) ^ set(arrays) if part in wanted else set() if arrays else {part}
            if missing and not (part == "raw" and self.manifest.recipe is None):
                why = f"its {part} and the manifest's io differ in {', '.join(sorted(missing))}"
                raise InputError(f"{file} is damaged", why, _FIX)
        counts = {value.shape[:1] for arrays in parts.values() for value in arrays.values()}
        if len(counts) != 1 or counts & {(), (0,)}:
            raise InputError(f"{file} is damaged", "its parts do not hold the same samples", _FIX)

    def _recipe(self, otherwise: str) -> str:
        if self.manifest.recipe is None:
            raise InputError(f"{self.path} {otherwise}")
        return self.manifest.recipe


def open(path: str | Path, threads: int | None = None) -> Bundle:
    """Opens a bundle after checking every file against the manifest, as it lies there now.

    Args:
        path: the bundle's folder.
        threads: instead of the profile's number of threads.

    Raises:
        InputError: no bundle, a newer schema, a file missing, outside of the folder (by a link too), or changed
            by as little as one byte.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    for name, facts in manifest.files.items():
        file = inner_file(folder, name, "manifest", _FIX)
        if file.stat().st_size != facts.bytes or sha256_file(file) != facts.sha256:
            raise InputError(f"{folder / name} has changed", "its sha256 is not the manifest's", _FIX)
    return Bundle(folder, manifest, threads)
