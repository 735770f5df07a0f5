"""Hypergraphs as plain arrays: checked, cleaned and cut, without a loop over hyperedges. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Hypergraph:
    """Hyperedge e holds the vertices ``members[offsets[e]:offsets[e + 1]]``, each once.

    Attributes:
        vertex_count: V; members are 0..V-1.
        offsets: (E + 1,) int64, from 0, never falling.
        members: (incidences,) int64.
        weights: (E,) float32, above 0.
    """

    vertex_count: int
    offsets: Ints
    members: Ints
    weights: NDArray[np.float32]

    @property
    def edge_count(self) -> int:
        return len(self.weights)

    @property
    def sizes(self) -> Ints:
        return np.diff(self.offsets)

    def edges(self) -> Ints:
        """(incidences,) the hyperedge of each member."""
        return np.repeat(np.arange(self.edge_count), self.sizes)

    def restricted(self, vertices: Ints) -> Hypergraph:
        """The sub-hypergraph of ``vertices`` (ascending, unlike each other), renumbered in their order.

        Hyperedges lose their other vertices; those that keep none are gone (LightHGNN's production setting). A
        vertex that no hyperedge holds any more gets one of its own.
        """
        place = np.full(self.vertex_count, -1, np.int64)
        place[vertices] = np.arange(len(vertices))
        members = place[self.members]
        kept = members >= 0
        cut = _packed(len(vertices), self.edges()[kept], members[kept], self.weights)
        return _with_singletons(_merged(cut))


def build(
    vertex_count: int, edges: NDArray, members: NDArray, weights: NDArray | None = None, origin: str = "hypergraph"
) -> Hypergraph:
    """A hypergraph from an incidence list: pair i says that hyperedge ``edges[i]`` holds vertex ``members[i]``.

    A vertex named twice in one hyperedge counts once; equal hyperedges become one with their mean weight; a vertex
    in none gets a singleton hyperedge (as the authors' package does, and without it Dv has zeros).

    Args:
        edges: numbers 0..E-1, in any order.
        weights: (E,) above 0; None: all 1.

    Raises:
        InputError: an id that is negative, out of range or no integer, a hyperedge without vertices, a bad weight.
    """
    if len(edges) != len(members):
        raise InputError(f"{origin}: {len(edges)} hyperedge ids for {len(members)} vertex ids", "they are pairs")
    members, edges = _integers(members, "vertex", origin), _integers(edges, "hyperedge", origin)
    outside = np.flatnonzero((members < 0) | (members >= vertex_count))
    if len(outside):
        first = int(outside[0])
        raise InputError(
            f"{origin}: incidence {first} names vertex {members[first]}",
            f"there are vertices 0 to {vertex_count - 1}; {len(outside)} of {len(members)} incidences lie outside",
            "number the vertices by their row in the feature table, from 0",
        )
    if len(edges) and edges.min() < 0:
        raise InputError(f"{origin}: a hyperedge has the id {edges.min()}", "ids are 0 or more", "renumber from 0")
    count = int(edges.max()) + 1 if len(edges) else 0
    count = max(count, 0 if weights is None else len(weights))
    if count > max(len(edges), 1) + 1_000_000:  # one slip of a digit must not fill the memory
        raise InputError(f"{origin}: hyperedge id {count - 1} of {len(edges)} incidences", "ids are 0..E-1", "renumber")
    empty = np.flatnonzero(np.bincount(edges, minlength=count) == 0)
    if len(empty):
        raise InputError(
            f"{origin}: hyperedge {empty[0]} holds no vertex",
            f"{len(empty)} of {count} hyperedges are empty",
            "leave empty hyperedges out and number the others 0..E-1",
        )
    strength = np.ones(count, np.float32) if weights is None else np.asarray(weights, np.float32)
    if strength.shape != (count,) or not (np.isfinite(strength).all() and (strength > 0).all()):
        raise InputError(f"{origin}: the hyperedge weights cannot be used", f"they must be {count} numbers above 0")
    return _with_singletons(_merged(_packed(vertex_count, edges, members, strength)))


def _integers(values: NDArray, what: str, origin: str) -> Ints:
    values = np.asarray(values)
    if values.ndim != 1:
        raise InputError(f"{origin}: the {what} ids have shape {list(values.shape)}", "they are one list")
    if not np.issubdtype(values.dtype, np.integer):
        rounded = values.astype(np.float64) if np.issubdtype(values.dtype, np.number) else np.array([np.nan])
        if len(values) and not np.array_equal(rounded, np.round(rounded)):
            raise InputError(f"{origin}: a {what} id is no integer", f"the ids are {values.dtype}")
    return values.astype(np.int64)


def _packed(vertex_count: int, edges: Ints, members: Ints, weights: NDArray) -> Hypergraph:
    """Sorts pairs by hyperedge, then vertex; double pairs count once; hyperedges without pairs are gone."""
    codes = np.unique(edges * vertex_count + members) if len(edges) else np.empty(0, np.int64)
    edges, members = np.divmod(codes, vertex_count) if vertex_count else (codes, codes)
    kept, sizes = np.unique(edges, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Hypergraph(vertex_count, offsets, members, weights[kept].astype(np.float32))


def _merged(graph: Hypergraph) -> Hypergraph:
    """Equal hyperedges as one, with the mean of their weights.

    Two hyperedges are equal where their size and two sums of 64 random bits per vertex are: of a million
    hyperedges the chance that any two unlike ones agree is below 1e-26.
    """
    if graph.edge_count < 2:
        return graph
    rng = np.random.default_rng(0x5E7)
    sums = []
    for _ in range(2):
        codes = rng.integers(0, 2**64, graph.vertex_count, dtype=np.uint64)
        sums.append(np.add.reduceat(codes[graph.members], graph.offsets[:-1]))
    prints = np.stack([graph.sizes.astype(np.uint64), *sums], axis=1)
    _, first, group = np.unique(prints, axis=0, return_index=True, return_inverse=True)
    if len(first) == graph.edge_count:
        return graph
    group = group.reshape(-1)
    mean = np.bincount(group, graph.weights) / np.bincount(group)
    order = np.argsort(first)  # the first of each kind keeps its place
    keep = first[order]
    chosen = np.zeros(graph.edge_count, bool)
    chosen[keep] = True
    members = graph.members[np.repeat(chosen, graph.sizes)]
    offsets = np.concatenate([[0], np.cumsum(graph.sizes[keep])]).astype(np.int64)
    return Hypergraph(graph.vertex_count, offsets, members, mean[order].astype(np.float32))


def _with_singletons(graph: Hypergraph) -> Hypergraph:
    alone = np.flatnonzero(np.bincount(graph.members, minlength=graph.vertex_count) == 0)
    if not len(alone):
        return graph
    return Hypergraph(
        graph.vertex_count,
        np.concatenate([graph.offsets, graph.offsets[-1] + 1 + np.arange(len(alone))]),
        np.concatenate([graph.members, alone]),
        np.concatenate([graph.weights, np.ones(len(alone), np.float32)]),
    )
