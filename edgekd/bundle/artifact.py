"""What can be measured, opened by its path: a bundle in its runtime, a run in PyTorch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from edgekd.bundle.live import Held, Live, graphs_held
from edgekd.bundle.manifest import is_bundle
from edgekd.bundle.open import Bundle
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.session import carried, zero_state
from edgekd.bundle.threads import thread_count
from edgekd.contracts import Arrays, Graph, IoSpec, Placement, Precision, Runtime, Session
from edgekd.errors import InputError
from edgekd.recipes.contract import Metrics, Pipeline
from edgekd.registry import profile as read_profile
from edgekd.registry import recipe_part, runtime, target_entry
from edgekd.run import Run, is_run, open_run
from edgekd.storage import row


class _Opened:
    """One graph on one target, before its runtime is imported."""

    def __init__(self, name: str, target: str, profile: str, graph: Graph) -> None:
        self.name, self.target, self.profile = name, target, profile
        self.precision, self.graph = str(graph.precision), graph

    @property
    def io(self) -> IoSpec:
        return self.graph.io

    @property
    def options(self) -> dict[str, Any]:
        return {**self.graph.options, "threads": thread_count(self.graph.options)}

    def runtime(self) -> Runtime:
        return runtime(self.target)

    def import_runtime(self) -> None:
        self.runtime()  # a missing package is told from a broken one by its probe, not here
        try:
            importlib.import_module(target_entry(self.target).facts["package"])
        except ImportError:
            self.load()  # says what is missing, why, and how to install it

    def load(self) -> Session:
        return carried(self.runtime().load(self.graph))

    def placement(self) -> Placement:
        return self.runtime().placement(self.graph)

    def layers(self, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
        state = zero_state(self.io)
        return self.runtime().profile_layers(self.graph, [{**feed, **state} for feed in feeds])


class BundleArtifact(_Opened):
    """One way to run a bundle: ``main``, or a graph that holds what another one gave, which is then prepared once."""

    def __init__(self, bundle: Bundle, name: str = "main") -> None:
        manifest = bundle.manifest
        own = bundle.name if name == "main" else f"{bundle.name}/{name}"
        super().__init__(own, manifest.target, manifest.profile, bundle.graph(name))
        self.bundle, self.graph_name = bundle, name
        self.sha256, self.parameters_bytes = bundle.sha256, manifest.weights.bytes
        loaded = (*graphs_held(self.io), name)
        self.graphs_bytes = {graph: bundle.graph_bytes(graph) for graph in loaded}
        self.size_bytes = sum(self.graphs_bytes.values())

    @property
    def versions(self) -> Mapping[str, str]:
        return _installed(self.target, "edgekd", "numpy")

    def load(self) -> Session:
        return Held(self._prepared()) if self.io.held else super().load()

    def layers(self, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
        if not self.io.held:
            return super().layers(feeds)
        live = self._prepared()
        return self.runtime().profile_layers(self.graph, [live.complete(feed) for feed in feeds])

    def _prepared(self) -> Live:
        live, feeds = self.bundle.live(self.graph_name), self.bundle.vectors()["feeds"]
        live.prepare({t.name: feeds[t.name][0] for t in live.prepared_from})
        return live

    def pipeline(self) -> Pipeline | None:
        return self.bundle.pipeline_of(self.graph_name) if self.bundle.manifest.recipe else None

    def metrics(self) -> Metrics:
        return self.bundle.metrics

    def inputs(self) -> Sequence[Arrays]:
        vectors = self.bundle.vectors()
        arrays = vectors["raw"] if self.bundle.manifest.recipe else vectors["feeds"]
        return [row(arrays, i) for i in range(len(next(iter(arrays.values()))))]


class RunArtifact(_Opened):
    def __init__(self, run: Run, profile: str, options: dict[str, Any]) -> None:
        suffix = "" if profile == "default" else f"/{profile}"
        graph = Graph(run.path, run.record.io, Precision.FP32, options)
        super().__init__(f"{run.name} torch{suffix}", "torch", profile, graph)
        self.run = run
        self.sha256, self.size_bytes = run.sha256, run.weights.stat().st_size
        self.graph_name, self.graphs_bytes = "main", {"main": self.size_bytes}
        self.parameters_bytes = run.record.student["bytes"]

    @property
    def versions(self) -> Mapping[str, str]:
        return _installed(self.target, "edgekd", "numpy")

    def pipeline(self) -> Pipeline | None:
        return cast(Pipeline, recipe_part(self.run.record.recipe, "pipeline").Pipeline(self.io))

    def metrics(self) -> Metrics:
        return cast(Metrics, recipe_part(self.run.record.recipe, "metrics").METRICS)

    def inputs(self) -> Sequence[Arrays]:
        return self.run.heldout().raws()[:16]


def open_artifact(path: str, profile: str | None = None, threads: int | None = None) -> BundleArtifact | RunArtifact:
    """A bundle, ``BUNDLE/GRAPH`` for a graph of it, or a run folder, which is the ``torch`` target.

    Args:
        profile: of a run: default or compile.

    Raises:
        InputError: none of them, damaged, or a profile named for a bundle, which already has one.
    """
    folder = Path(path)
    if is_run(folder):
        run = open_run(folder)
        found = read_profile(f"torch/{profile or 'default'}")
        options = {**found.options, **({"threads": threads} if threads is not None else {})}
        return RunArtifact(run, found.name, options)
    if profile is not None:
        raise InputError(f"{path} has its profile already", "only a run folder takes one: run/compile")
    if not is_bundle(folder) and is_bundle(folder.parent):
        bundle = open_bundle(folder.parent, threads)
        if folder.name not in bundle.manifest.live:
            why = f"its graphs that hold another one's outputs: {', '.join(bundle.manifest.live) or 'none'}"
            raise InputError(f"{folder.parent} has no live graph {folder.name}", why, f"edgekd bench {folder.parent}")
        return BundleArtifact(bundle, folder.name)
    return BundleArtifact(open_bundle(folder, threads))


def _installed(target: str, *more: str) -> dict[str, str]:
    package = target_entry(target).facts["package"]
    return {name: version(name) for name in (package, *more)}
