"""Small hypergraphs as files, and a config of seconds."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from edgekd.recipes.hypergraph.config import Config

TINY = {
    "data": {"source": ["generated"], "train_per_class": 5, "val_per_class": 10, "normalization": "none"},
    "generated": {"vertices": 240, "hyperedges": 240, "size": 5.0, "features": 12, "classes": 3, "noise": 1.0},
    "teacher": {"epochs": 3, "hidden": 8},
    "student": {"hidden": 16},
    "train": {"epochs": 3},
}


@pytest.fixture
def tiny():
    """``tiny(section={key: value}, ...)``: a config of 240 generated vertices."""

    def make(**sections):
        merged = {name: {**TINY.get(name, {}), **sections.get(name, {})} for name in {*TINY, *sections}}
        return Config.model_validate(merged)

    return make


@pytest.fixture
def arrays():
    """The arrays of an npz of 6 vertices, 3 features and 2 classes."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.random((6, 3)).astype(np.float32),
        "hyperedge_vertices": np.array([0, 1, 2, 2, 3]),
        "hyperedge_offsets": np.array([0, 3, 5]),
        "labels": np.array([0, 1, 0, 1, 0, -1]),
    }


@pytest.fixture
def npz(tmp_path, arrays):
    """``npz(name=array, ...)``: a file of ``arrays`` with some replaced; None leaves one out."""

    def write(**changed):
        whole = {name: value for name, value in {**arrays, **changed}.items() if value is not None}
        np.savez(tmp_path / "data.npz", **whole)
        return tmp_path / "data.npz"

    return write


@pytest.fixture
def table(tmp_path):
    """``table(name, rows)``: a CSV."""

    def write(name, rows):
        path = tmp_path / name
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return path

    return write
