"""Where hypergraphs with features and labels come from.

``npz:FILE``, plain arrays, no pickle:
    x (V, F), or CSR x_data, x_indices, x_indptr, x_shape; hyperedge_vertices, hyperedge_offsets (hyperedge e holds
    ``hyperedge_vertices[offsets[e]:offsets[e + 1]]``); labels (V,), -1 where there is none. Optional:
    hyperedge_weights (E,), class_names (C,), train_splits (k, n) vertex ids, licence.
``vertices:FILE`` and ``hyperedges:FILE``, CSV or Parquet:
    a row per vertex with columns ``label`` (any text; empty: none), optionally ``id``, and features; and a row per
    incidence with columns ``hyperedge`` and ``vertex`` (the id, else the row's number), optionally ``weight``.
``dhg:NAME``      a data set of the ``dhg`` package, where that is installed (``from_dhg``).
``digits``        scikit-learn's 1,797 images; a hyperedge is an image and its nearest neighbours.
``generated``     of any size, from a seed (``GeneratedConfig``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError, MachineError, nearest
from edgekd.recipes.hypergraph.config import Config, GeneratedConfig
from edgekd.recipes.hypergraph.features import Features, checked, from_arrays
from edgekd.recipes.hypergraph.hypergraph import Hypergraph, build
from edgekd.recipes.hypergraph.tables import numbers, read_table
from edgekd.storage import read_arrays

KINDS = ("digits", "generated", "npz:FILE", "vertices:FILE and hyperedges:FILE", "dhg:NAME")
NONE = -1  # the label of a vertex that has none


@dataclass(frozen=True)
class Labelled:
    """A hypergraph whose vertices have features and, some of them, labels.

    Attributes:
        labels: (V,) int64, 0..C-1 or ``NONE``.
        classes: C names.
        columns: F names of features, or none.
        splits: train lists that were published with the data.
        about: source and licence, for the run and the manifest.
    """

    graph: Hypergraph
    features: Features
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    columns: tuple[str, ...] = ()
    splits: tuple[NDArray[np.int64], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def load(config: Config) -> Labelled:
    """The configured source.

    Raises:
        InputError: no or an unknown source, or one whose data cannot be used.
        MachineError: a package that it needs is not installed.
    """
    named = dict(source.partition(":")[::2] for source in config.data.source)
    kinds = set(named)
    if len(named) != len(config.data.source):
        raise InputError("data.source names one kind twice", ", ".join(config.data.source), _kinds())
    if kinds == {"digits"}:
        return digits(config.data.neighbours)
    if kinds == {"generated"}:
        return generated(config.generated, config.seed)
    if kinds == {"npz"}:
        return from_npz(Path(named["npz"]))
    if kinds == {"dhg"}:
        return from_dhg(named["dhg"])
    if kinds == {"vertices", "hyperedges"}:
        return from_tables(Path(named["vertices"]), Path(named["hyperedges"]))
    raise InputError(f"data.source {', '.join(config.data.source) or 'is empty'} cannot be used", "", _kinds())


def _kinds() -> str:
    return "--data " + ", ".join(KINDS)


def from_npz(path: Path) -> Labelled:
    """See the module. Raises InputError for arrays that are missing or do not belong together."""
    arrays, origin = read_arrays(path), str(path)
    missing = [n for n in ("hyperedge_vertices", "hyperedge_offsets", "labels") if n not in arrays]
    if missing:
        raise InputError(f"{origin} has no {missing[0]}", f"it has {', '.join(sorted(arrays))}", "see sources.py")
    features = from_arrays(arrays, origin)
    offsets, members = np.asarray(arrays["hyperedge_offsets"]), np.asarray(arrays["hyperedge_vertices"])
    whole = offsets.ndim == 1 and np.issubdtype(offsets.dtype, np.integer) and len(offsets) > 0
    if not whole or offsets[0] != 0 or offsets[-1] != len(members) or (np.diff(offsets) < 0).any():
        why = f"they must rise from 0 to the {len(members)} entries of hyperedge_vertices"
        raise InputError(f"{origin}: the hyperedge offsets cannot be used", why)
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        why = f"{len(empty)} of {len(offsets) - 1} hyperedges are empty"
        raise InputError(f"{origin}: hyperedge {empty[0]} holds no vertex", why, "leave empty hyperedges out")
    edges = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    weights = arrays.get("hyperedge_weights")
    graph = build(len(features), edges, members, weights, origin)
    labels = _labels(np.asarray(arrays["labels"]), len(features), origin)
    count = int(labels.max()) + 1
    names = tuple(map(str, arrays.get("class_names", np.arange(count))))
    if len(names) < count:
        raise InputError(f"{origin}: a vertex has the label {count - 1}", f"there are {len(names)} class names")
    splits = tuple(_split(row, labels, origin) for row in np.atleast_2d(arrays.get("train_splits", np.empty((0, 0)))))
    splits = splits if "train_splits" in arrays else ()
    about = {"source": path.stem, "licence": str(arrays.get("licence", "unknown"))}
    return Labelled(graph, features, labels, names, splits=splits, about=about)


def _labels(labels: NDArray, count: int, origin: str) -> NDArray[np.int64]:
    if labels.shape != (count,):
        raise InputError(f"{origin}: labels has shape {list(labels.shape)}", f"there are {count} vertices")
    if np.issubdtype(labels.dtype, np.floating):  # NaN stands for none
        labels = np.where(np.isnan(labels), NONE, labels)
    if not np.issubdtype(labels.dtype, np.number) or not np.array_equal(labels, np.round(labels)):
        raise InputError(f"{origin}: a label is no whole number", f"labels are {labels.dtype}", "number the classes")
    whole = labels.astype(np.int64)
    if whole.min() < NONE:
        raise InputError(f"{origin}: a label is {whole.min()}", f"classes are 0..C-1, {NONE} is none")
    if (whole == NONE).all():
        raise InputError(f"{origin}: no vertex has a label", "the teacher learns from labels", "label some vertices")
    return whole


def _split(row: NDArray, labels: NDArray[np.int64], origin: str) -> NDArray[np.int64]:
    vertices = np.unique(np.asarray(row).astype(np.int64))
    if len(vertices) and (vertices[0] < 0 or vertices[-1] >= len(labels)):
        raise InputError(f"{origin}: a train split names a vertex outside 0..{len(labels) - 1}")
    if (labels[vertices] == NONE).any():
        raise InputError(f"{origin}: a train split names a vertex without a label")
    return vertices


def from_tables(vertices: Path, hyperedges: Path) -> Labelled:
    """See the module."""
    table, origin = read_table(vertices), str(vertices)
    if "label" not in table:
        raise InputError(f"{origin} has no column label", f"it has {', '.join(table)}", "an empty cell: no label")
    names = [name for name in table if name not in ("id", "label")]
    if not names:
        raise InputError(f"{origin} has no feature", "every column but id and label is one")
    features = checked(Features(len(names), numbers(table, names, origin)), origin)
    text = np.array([_text(cell) for cell in table["label"]])
    classes = np.unique(text[text != ""])
    if not len(classes):
        raise InputError(f"{origin}: no vertex has a label", "the teacher learns from labels", "label some vertices")
    labels = np.where(text == "", NONE, np.searchsorted(classes, text)).astype(np.int64)
    pairs, source = read_table(hyperedges), str(hyperedges)
    if missing := [name for name in ("hyperedge", "vertex") if name not in pairs]:
        raise InputError(f"{source} has no column {missing[0]}", f"it has {', '.join(pairs)}", "hyperedge,vertex")
    members = _rows_of(pairs["vertex"], table.get("id"), len(features), source)
    _, first, edges = np.unique(pairs["hyperedge"], return_index=True, return_inverse=True)
    weights = numbers(pairs, ["weight"], source)[first, 0] if "weight" in pairs else None
    graph = build(len(features), edges.reshape(-1), members, weights, source)
    about = {"source": f"{vertices.name} and {hyperedges.name}", "licence": "unknown"}
    return Labelled(graph, features, labels, tuple(map(str, classes)), tuple(names), about=about)


def _text(cell: Any) -> str:
    """A label as text; what a Parquet file has for none is none here."""
    text = "" if cell is None else str(cell).strip()
    return "" if text.lower() in ("nan", "none") else text


def _rows_of(named: NDArray, ids: NDArray | None, count: int, origin: str) -> NDArray[np.int64]:
    if ids is None:
        try:
            return named.astype(np.float64).astype(np.int64) if named.dtype.kind in "fU" else named.astype(np.int64)
        except ValueError:
            raise InputError(
                f"{origin}: a vertex is no row number", "the vertex table has no column id", "add one, or number from 0"
            ) from None
    known, mine = ids.astype(str), named.astype(str)
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    if (ordered[1:] == ordered[:-1]).any():
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise InputError(f"the vertex table has the id {str(twice)!r} twice", fix="give every vertex an id of its own")
    place = np.minimum(np.searchsorted(ordered, mine), count - 1)
    unknown = np.flatnonzero(ordered[place] != mine)
    if len(unknown):
        raise InputError(
            f"{origin}: row {unknown[0]} names the vertex {str(mine[unknown[0]])!r}", "no vertex has that id"
        )
    return order[place]


def from_dhg(named: str) -> Labelled:
    """A data set of the ``dhg`` package, by its class, and by its lists of hyperedges where those have names of their
    own: ``CocitationCora``, ``DBLP4k/edge_by_conf``, ``IMDB4k/edge_by_actor+edge_by_director``.

    The package downloads the set when it is first asked for, and reads it with pickle, checked by md5.
    """
    try:
        import dhg.data
    except ImportError as error:
        raise MachineError("dhg is not installed", str(error), "pip install dhg") from None
    name, _, lists = named.partition("/")
    known = [key for key, value in vars(dhg.data).items() if isinstance(value, type)]
    if name not in known:
        raise InputError(f"dhg has no data set {name!r}", fix=nearest(name, known))
    found, keys = getattr(dhg.data, name)(), lists.split("+") if lists else ["edge_list"]
    if missing := [key for key in (*keys, "labels", "features") if key not in found.content]:
        fix = f"--data dhg:{name}/LIST, or LIST+LIST, of those that are lists of hyperedges"
        raise InputError(f"dhg's {name} has no {missing[0]}", f"it has {', '.join(found.content)}", fix)
    try:
        labels, x = np.asarray(found["labels"], np.int64), np.asarray(found["features"], np.float32)
        edges = [np.asarray(edge, np.int64) for key in keys for edge in found[key]]
    except OSError as error:  # of the network, too
        raise MachineError(f"dhg cannot get {name}", str(error), "try again, or use npz:FILE") from None
    ids = np.repeat(np.arange(len(edges)), [len(edge) for edge in edges])
    graph = build(len(labels), ids, np.concatenate(edges), None, f"dhg:{named}")
    features = checked(Features(x.shape[1], x), f"dhg:{named}")
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    return Labelled(graph, features, labels, classes, about={"source": f"dhg:{named}", "licence": "unknown"})


def digits(neighbours: int) -> Labelled:
    """scikit-learn's 8 x 8 images of handwritten digits. Hyperedge v is image v and its nearest ones."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.neighbors import NearestNeighbors
    except ImportError as error:
        raise MachineError("scikit-learn is not installed", str(error), "pip install scikit-learn") from None
    x, labels = load_digits(return_X_y=True)
    if neighbours >= len(x):
        raise InputError(f"data.neighbours is {neighbours}", f"there are {len(x)} images")
    members = NearestNeighbors(n_neighbors=neighbours + 1).fit(x).kneighbors(x, return_distance=False)
    edges = np.repeat(np.arange(len(x)), neighbours + 1)
    graph = build(len(x), edges, members.reshape(-1), None, "digits")
    about = {"source": "scikit-learn digits", "licence": "BSD-3-Clause (scikit-learn); UCI, CC BY 4.0"}
    features = Features(x.shape[1], x.astype(np.float32))
    return Labelled(graph, features, labels.astype(np.int64), tuple("0123456789"), about=about)


def generated(config: GeneratedConfig, seed: int) -> Labelled:
    """Hyperedges of a class each, with strangers; sizes are 2 or more, geometric, of the mean asked for."""
    rng = np.random.default_rng([seed, 0x4E])
    labels = rng.integers(0, config.classes, config.vertices)
    kind = rng.integers(0, config.classes, config.hyperedges)
    sizes = 1 + rng.geometric(1.0 / max(1.0, config.size - 1.0), config.hyperedges)
    edges = np.repeat(np.arange(config.hyperedges), sizes)
    # A vertex of class c is drawn from c's stretch in the order of classes; a stranger from everywhere.
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=config.classes)
    starts = np.cumsum(counts) - counts
    own = (rng.random(len(edges)) < config.purity) & (counts[kind[edges]] > 0)
    picked = starts[kind[edges]] + (rng.random(len(edges)) * counts[kind[edges]]).astype(np.int64)
    members = np.where(
        own, order[np.minimum(picked, config.vertices - 1)], rng.integers(0, config.vertices, len(edges))
    )
    graph = build(config.vertices, edges, members, None, "generated")
    means = rng.normal(size=(config.classes, config.features)).astype(np.float32)
    x = rng.standard_normal((config.vertices, config.features), dtype=np.float32)
    x *= config.noise
    x += means[labels]
    about = {"source": "generated", "seed": seed, "licence": "generated by edgekd (Apache-2.0)"}
    names = tuple(map(str, range(config.classes)))
    return Labelled(graph, Features(config.features, x), labels, names, about=about)
