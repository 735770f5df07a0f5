"""Opening a bundle: integrity first, then graph, session and pipeline. All that an app needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from edgekd.bundle.live import Live, graphs_held, live_of
from edgekd.bundle.manifest import Manifest, read_manifest
from edgekd.bundle.sequences import InOrder
from edgekd.bundle.session import carried
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
        """Of the file or files that the runtime loads for ``main``."""
        return self.graph_bytes("main")

    def graph_bytes(self, name: str) -> int:
        """Of the file or files that the runtime loads for one graph."""
        return sum(self.manifest.files[file].bytes for file in self.graph_files(name))

    def graph_files(self, name: str) -> tuple[str, ...]:
        """The file or files that the runtime loads for one graph, relative to the bundle."""
        graph = self.manifest.graphs[name]
        entry, proof = Path(graph.entry), {graph.typed_onnx} - {graph.entry}
        beside = {
            name
            for name in self.manifest.files
            if Path(name).parent == entry.parent and Path(name).stem == entry.stem and name not in proof
        }
        return tuple(sorted(beside | self.manifest.files_at(graph.entry).keys()))

    def graph(self, name: str = "main") -> Graph:
        entry = self.manifest.graphs[name]
        options = dict(self.manifest.runtime)
        if self._threads is not None:
            options["threads"] = self._threads
        return Graph(self.path / entry.entry, entry.io, self.manifest.precision, options, entry.engine)

    @cached_property
    def runtime(self) -> Runtime:
        return runtime(self.manifest.target)

    @cached_property
    def session(self) -> Session:
        """The graph ``main``, which takes everything at once."""
        return carried(self.runtime.load(self.graph()))

    def live(self, name: str | None = None) -> Live:
        """A new session of a graph that holds what another one gave: ``prepare`` once, then ``run`` for each frame.

        Args:
            name: of the graph; may be left out where there is only one.

        Raises:
            InputError: the bundle has no such graph.
        """
        known = self.manifest.live
        if name is None and len(known) == 1:
            name = known[0]
        if name is None or name not in known:
            why = f"its graphs that hold another one's outputs: {', '.join(known) or 'none'}"
            fix = f"bundle.live({known[0]!r})" if known else "bundle.session is the only way to run it"
            raise InputError(f"{self.path} has no live graph{f' {name!r}' if name else ''}", why, fix)
        needed = (name, *graphs_held(self.graph(name).io))
        return live_of(name, {graph: self.runtime.load(self.graph(graph)) for graph in needed}, self.sha256)

    @cached_property
    def pipeline(self) -> Pipeline:
        return self.pipeline_of("main")

    def pipeline_of(self, name: str) -> Pipeline:
        """The recipe's pipeline for one graph: it makes what that one is fed, and no more."""
        recipe = self._recipe("is a foreign model: it takes and gives arrays, so use bundle.session.run")
        return cast(Pipeline, recipe_part(recipe, "pipeline").Pipeline(self.manifest.graphs[name].io))

    @cached_property
    def metrics(self) -> Metrics:
        recipe = self._recipe("is a foreign model: it has no metrics")
        return cast(Metrics, recipe_part(recipe, "metrics").METRICS)

    def predict(self, raw: Arrays) -> dict[str, Any]:
        """Raw input (for landmarks ``{"image": uint8 HWC RGB}``) to the recipe's prediction.

        Of a model with state, give the frames in order: state is cleared where the pipeline sees a new sequence, or
        by ``session.reset()``.
        """
        return self._in_order.predict(raw)

    @cached_property
    def _in_order(self) -> InOrder:
        return InOrder(self.session, self.pipeline)

    def vectors(self) -> Mapping[str, dict[str, Array]]:
        """The test vectors by section: ``raw``, ``feeds``, ``fp32`` and ``built`` outputs.

        And ``live/GRAPH``, what each graph that holds something gave, prepared from the same feeds.
        """
        file = self.path / "vectors.npz"
        arrays = read_arrays(file)
        live = [f"live/{name}" for name in self.manifest.live]
        parts = {part: section(arrays, part) for part in ("raw", "feeds", "fp32", "built", *live)}
        self._check_vectors(file, parts)
        return parts

    def _check_vectors(self, file: Path, parts: Mapping[str, dict[str, Array]]) -> None:
        io = self.manifest.graphs["main"].io
        given = {spec.name for spec in io.given}
        wanted = {"feeds": {spec.name for spec in io.fed}, **dict.fromkeys(set(parts) - {"raw", "feeds"}, given)}
        for part, arrays in parts.items():
            if part != "raw" and any(value.dtype.kind not in "biuf" for value in arrays.values()):
                raise InputError(f"{file} is damaged", f"{part} holds something else than numbers", _FIX)
            missing = wanted[part] ^ set(arrays) if part in wanted else set() if arrays else {part}
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
