"""Teachers HGNN and HGNN+, and the student, an MLP."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.dropout import Dropout, mask
from edgekd.nn.sparse import SparseRows
from edgekd.recipes.hypergraph.hypergraph import Hypergraph

MODELS = ("hgnn", "hgnn+")


class Propagation:
    """Mean over a hyperedge's vertices, then over a vertex's hyperedges; linear, without weights of its own.

    ``hgnn``   Dv^-1/2 H W De^-1 H' Dv^-1/2 x   (Feng et al., AAAI 2019)
    ``hgnn+``  Dv^-1 H W De^-1 H' x             (Gao et al., TPAMI 2023)

    with H (V, E) the incidence, W the hyperedges' weights, De their sizes and Dv the sum of the weights at a vertex.
    It goes by way of the E hyperedges: the V x V product is never built.
    """

    def __init__(self, graph: Hypergraph, model: str) -> None:
        if model not in MODELS:
            raise ValueError(f"{model!r} is none of {MODELS}")
        self.to_edges = SparseRows.from_numpy(graph.offsets, graph.members, None, graph.vertex_count)
        self.to_vertices = self.to_edges.T
        weights = torch.from_numpy(np.ascontiguousarray(graph.weights))
        self.edge_scale = (weights / self.to_edges.row_sums())[:, None]
        degree = (self.to_vertices @ weights)[:, None]
        self.before = degree.rsqrt() if model == "hgnn" else None
        self.after = degree.rsqrt() if model == "hgnn" else degree.reciprocal()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(V, k) -> (V, k)."""
        if self.before is not None:
            x = self.before * x
        return self.after * (self.to_vertices @ (self.edge_scale * (self.to_edges @ x)))


class HypergraphNetwork(nn.Module):
    """Two layers, ``features`` -> ``hidden`` -> ``classes``: linear, then propagated; ReLU and dropout between."""

    def __init__(self, features: int, classes: int, hidden: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, hidden), nn.Linear(hidden, classes)
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor | SparseRows, propagate: Propagation) -> torch.Tensor:
        """Features (V, F) of all vertices -> logits (V, C) of all vertices."""
        hidden = self.dropout(F.relu(propagate(apply_linear(self.first, x))))
        return propagate(self.second(hidden))


class StudentMLP(nn.Module):
    """Linear, ReLU, BatchNorm, Dropout, Linear (LightHGNN): a row of features in, logits out, and no hypergraph.

    ``feature_dropout`` is of the inputs, in training only.
    """

    def __init__(
        self, features: int, classes: int, hidden: int = 128, dropout: float = 0.5, feature_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.feature_dropout = feature_dropout
        self.layers = nn.Sequential(
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: torch.Tensor | SparseRows) -> torch.Tensor:
        """(B, F) -> (B, C). ``SparseRows`` only in training: there most features of most rows are 0."""
        if self.training and self.feature_dropout:
            x = dropped(x, self.feature_dropout)
        if isinstance(x, SparseRows):
            first, *rest = self.layers
            assert isinstance(first, nn.Linear)
            logits: torch.Tensor = nn.Sequential(*rest)(apply_linear(first, x))
            return logits
        return self.layers(x)


def apply_linear(layer: nn.Linear, x: torch.Tensor | SparseRows) -> torch.Tensor:
    return x @ layer.weight.T + layer.bias if isinstance(x, SparseRows) else layer(x)


def dropped(x: torch.Tensor | SparseRows, share: float) -> torch.Tensor | SparseRows:
    """Dropout of features, dense or sparse."""
    values = x.values if isinstance(x, SparseRows) else x
    assert values is not None
    kept = values * mask(values.shape, share, values.device, values.dtype)
    return x.with_values(kept) if isinstance(x, SparseRows) else kept
