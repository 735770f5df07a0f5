"""Vertices as samples: sets to train and to judge on, and the hypergraph that a teacher sees them in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.contracts import Array
from edgekd.nn.sparse import SparseRows
from edgekd.recipes.contract import Batch, Datasets, Key, Sample
from edgekd.recipes.hypergraph.config import Config
from edgekd.recipes.hypergraph.features import Features
from edgekd.recipes.hypergraph.hypergraph import Hypergraph
from edgekd.recipes.hypergraph.metrics import SETTINGS
from edgekd.recipes.hypergraph.models import Propagation
from edgekd.recipes.hypergraph.sources import NONE, Labelled
from edgekd.recipes.hypergraph.splits import Split, split

Ints = NDArray[np.int64]


class View:
    """What one can see: a hypergraph and the features of its vertices, the whole of the data or a part of it.

    Attributes:
        features: as they are in the table.
        inputs: (V, F) normalised, as models take them: a tensor, or ``SparseRows``.
    """

    def __init__(self, graph: Hypergraph, features: Features, normalization: str) -> None:
        self.graph, self.features, self.normalization = graph, features, normalization
        self._propagations: dict[str, Propagation] = {}

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def normalized(self) -> Features:
        return self.features.normalized(self.normalization)

    @cached_property
    def inputs(self) -> torch.Tensor | SparseRows:
        return as_input(self.normalized)

    def propagation(self, model: str) -> Propagation:
        if model not in self._propagations:
            self._propagations[model] = Propagation(self.graph, model)
        return self._propagations[model]


def as_input(features: Features) -> torch.Tensor | SparseRows:
    if features.offsets is None or features.columns is None:
        return torch.from_numpy(np.ascontiguousarray(features.values))
    return SparseRows.from_numpy(features.offsets, features.columns, features.values, features.width)


@dataclass(frozen=True)
class Part:
    """Vertices of a view, by their place in it, with labels (``NONE``: none, or hidden) and what they are judged as."""

    view: View
    places: Ints
    labels: Ints
    setting: int = SETTINGS["trans"]


class VertexSet:
    """``contract.SampleSet`` of the hypergraph recipe: vertices of one view, or of several one after the other.

    Whatever the batch, a vertex is known by its index in the set, so shares of the vertices can go to several
    processes.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part.places) for part in parts)])
        self._whole: Batch | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def batch(self, keys: Sequence[Key]) -> Batch:
        """``index`` (B,), ascending; ``x`` (B, F), normalised, a tensor or ``SparseRows``; ``label`` (B,), -1 where
        there is none. A batch of the whole set is made once.
        """
        if len(keys) == len(self):
            if self._whole is None:
                self._whole = self._gather(np.arange(len(self)))
            return dict(self._whole)
        return self._gather(np.sort(np.array([index for _, index in keys], np.int64)))

    @cached_property
    def inputs(self) -> torch.Tensor | SparseRows:
        """(n, F) of all the set's vertices at once, as models take them. Of one part."""
        (part,) = self.parts
        return as_input(part.view.normalized.take(part.places))

    def labelled(self) -> VertexSet:
        """The vertices whose labels are shown."""
        (part,) = self.parts
        kept = np.flatnonzero(part.labels != NONE)
        return VertexSet([Part(part.view, part.places[kept], part.labels[kept], part.setting)])

    def _gather(self, indices: Ints) -> Batch:
        (part,) = self.parts
        places = part.places[indices]
        return {
            "index": torch.from_numpy(indices),
            "x": as_input(part.view.normalized.take(places)),  # type: ignore[dict-item]
            "label": torch.from_numpy(part.labels[indices]),
        }

    def sample(self, index: int) -> Sample:
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        part, own = self.parts[which], index - int(self._starts[which])
        row = part.view.features.take(part.places[own : own + 1]).dense()[0]
        truth = {"class": np.array(part.labels[own]), "setting": np.array(part.setting, np.uint8)}
        return Sample({"features": row.astype(np.float32)}, truth)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over features, hyperedges, places and labels."""
        digest = hashlib.sha256()
        for part in self.parts:
            graph = part.view.graph
            arrays: list[Array] = [part.places, part.labels, graph.offsets, graph.members, graph.weights]
            for value in (*arrays, *part.view.features.arrays().values()):
                digest.update(f"{value.dtype.str}{value.shape}".encode())
                digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()


class Hyperedges:
    """The hyperedges of a batch of a view's vertices, some of them drawn by their reliability (LightHGNN+).

    Of a batch that is not all vertices, a hyperedge's mean is over those of its vertices that are in the batch.
    """

    def __init__(self, view: View) -> None:
        graph = view.graph
        self.reliability = torch.ones(graph.edge_count)
        self._all = SparseRows.from_numpy(graph.offsets, graph.members, None, graph.vertex_count)

    def drawn(self, index: torch.Tensor) -> tuple[SparseRows, torch.Tensor]:
        """(E', B) members of the hyperedges that meet the batch, and (E',) bool, which of them were drawn."""
        members, edges = self._among(index.cpu())
        chosen = torch.bernoulli(self.reliability[edges]).bool()
        return members.to(index.device), chosen.to(index.device)

    def _among(self, index: torch.Tensor) -> tuple[SparseRows, torch.Tensor]:
        if len(index) == self._all.width:
            return self._all, torch.arange(len(self._all))
        by_vertex = self._all.T
        starts, sizes = by_vertex.offsets[index], by_vertex.offsets.diff()[index]
        vertices = torch.repeat_interleave(torch.arange(len(index)), sizes)
        first = torch.repeat_interleave(starts - (sizes.cumsum(0) - sizes), sizes)
        edges, own = torch.unique(by_vertex.columns[first + torch.arange(len(vertices))], return_inverse=True)
        order = torch.argsort(own, stable=True)
        counts = torch.bincount(own, minlength=len(edges))
        offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        return SparseRows(offsets, vertices[order], None, len(index)), edges


class DistilledSet(VertexSet):
    """Vertices with what their teachers said, once: ``soft`` (n, teachers, C) logits, mapped from a file."""

    soft: NDArray[np.float32] | None = None

    def open(self, file: Path) -> None:
        self.soft = np.load(file, mmap_mode="r", allow_pickle=False)
        self._whole = None

    def _gather(self, indices: Ints) -> Batch:
        batch = super()._gather(indices)
        if self.soft is not None:
            batch["soft"] = torch.from_numpy(np.array(self.soft[indices]))
        return batch


def datasets(data: Labelled, config: Config) -> Datasets:
    """``train`` is every vertex that training may see, with the labels of the few; ``test`` in the production setting
    holds the seen vertices as ``trans``, the unseen ones as ``ind``, and the seen ones once more in the whole
    hypergraph.
    """
    parts = split(data, config.data, config.seed)
    whole = View(data.graph, data.features, config.data.normalization)
    if config.data.setting == "production":
        seen = np.setdiff1d(np.arange(len(whole)), parts.unseen)
        view = View(data.graph.restricted(seen), data.features.take(seen), config.data.normalization)
    else:
        seen, view = np.arange(len(whole)), whole

    def part(vertices: Ints) -> Part:
        return Part(view, np.searchsorted(seen, vertices), data.labels[vertices])

    shown = np.full(len(seen), NONE)
    shown[np.searchsorted(seen, parts.train)] = data.labels[parts.train]
    train = VertexSet([Part(view, np.arange(len(seen)), shown)])
    val = VertexSet([part(parts.val if len(parts.val) else parts.train)])
    seen_test = np.setdiff1d(parts.test, parts.unseen)
    tests = [part(seen_test)]
    if config.data.setting == "production":
        tests += [
            Part(whole, parts.unseen, data.labels[parts.unseen], SETTINGS["ind"]),
            Part(whole, seen_test, data.labels[seen_test], SETTINGS["seen in prod"]),
        ]
    provenance: dict[str, Any] = {
        "sources": [dict(data.about)],
        "setting": config.data.setting,
        "split": {name: len(getattr(parts, name)) for name in ("train", "val", "test", "unseen")},
        "vertices": len(whole),
        "hyperedges": data.graph.edge_count,
        "incidences": len(data.graph.members),
        "classes": len(data.classes),
        "features": data.features.width,
    }
    return Datasets(train, val, VertexSet(tests), provenance, calibration=_calibration(part(parts.train), parts, data))


def _calibration(train: Part, parts: Split, data: Labelled) -> VertexSet:
    """The labelled vertices, but for those whose features a test vertex has, too."""
    rows = data.features.fingerprints()
    own = ~np.isin(rows[parts.train], rows[parts.test])
    own = own if own.any() else np.ones(len(own), bool)
    return VertexSet([Part(train.view, train.places[own], train.labels[own])])
