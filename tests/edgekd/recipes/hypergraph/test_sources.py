import sys
from itertools import pairwise

import numpy as np
import pytest

from edgekd.errors import InputError, MachineError
from edgekd.recipes.hypergraph.config import Config, GeneratedConfig
from edgekd.recipes.hypergraph.sources import digits, from_npz, from_tables, generated, load

VERTICES = [["id", "label", "a", "b"], ["p", "x", 1, 2], ["q", "y", 3, 4], ["r", "", 5, 6]]
INCIDENCE = [["hyperedge", "vertex"], ["e1", "q"], ["e1", "p"], ["e2", "r"]]


def edges(data):
    graph = data.graph
    return [graph.members[a:b].tolist() for a, b in zip(graph.offsets[:-1], graph.offsets[1:], strict=True)]


def test_an_npz_gives_features_labels_and_hyperedges_and_singletons_for_the_others(npz, arrays):
    data = from_npz(npz(class_names=np.array(["no", "yes"]), licence=np.array("CC0")))
    assert edges(data) == [[0, 1, 2], [2, 3], [4], [5]]
    assert np.array_equal(data.features.values, arrays["x"])
    assert data.labels.tolist() == [0, 1, 0, 1, 0, -1]
    assert data.classes == ("no", "yes")
    assert data.about["licence"] == "CC0"


def test_sparse_features_are_the_dense_ones(npz, arrays):
    dense = np.where(arrays["x"] > 0.5, arrays["x"], 0)
    where = np.nonzero(dense)
    sparse = {
        "x": None,
        "x_data": dense[where],
        "x_indices": where[1],
        "x_indptr": np.concatenate([[0], np.cumsum((dense > 0).sum(1))]),
        "x_shape": np.array(dense.shape),
    }
    features = from_npz(npz(**sparse)).features
    assert np.array_equal(features.dense(), dense)
    assert np.array_equal(features.take(np.array([4, 0])).dense(), dense[[4, 0]])
    own = features.normalized("l1").dense()
    sums = dense.sum(1, keepdims=True)
    assert own == pytest.approx(dense / np.where(sums > 0, sums, 1), abs=1e-7)


def test_labels_of_floats_with_nan_for_none_are_labels(npz):
    assert from_npz(npz(labels=np.array([0, 1, np.nan, 1, 0, 0]))).labels.tolist() == [0, 1, -1, 1, 0, 0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": None}, "has no labels"),
        ({"x": None}, "has no features"),
        ({"hyperedge_offsets": None}, "has no hyperedge_offsets"),
        ({"x": np.full((6, 3), np.nan)}, "row 0 has a feature that is NaN"),
        ({"x": np.ones((5, 3))}, "names vertex|labels has shape"),
        ({"hyperedge_vertices": np.array([0, 1, 2, 2, 6])}, "names vertex 6"),
        ({"hyperedge_vertices": np.array([0, 1, 2, 2, -3])}, "names vertex -3"),
        ({"hyperedge_offsets": np.array([0, 3, 3, 5])}, "hyperedge 1 holds no vertex"),
        ({"hyperedge_offsets": np.array([0, 3, 4])}, "offsets cannot be used"),
        ({"hyperedge_offsets": np.array([0, 4, 3, 5])}, "offsets cannot be used"),
        ({"labels": np.full(6, -1)}, "no vertex has a label"),
        ({"labels": np.array([0, 1, 0, 1, 0, -2])}, "a label is -2"),
        ({"labels": np.array([0, 1, 0, 1, 0.5, 0])}, "no whole number"),
        ({"labels": np.zeros(5, int)}, "labels has shape"),
        ({"class_names": np.array(["one"])}, "1 class names"),
        ({"train_splits": np.array([[0, 9]])}, "outside 0..5"),
        ({"train_splits": np.array([[0, 5]])}, "without a label"),
    ],
)
def test_an_npz_that_cannot_be_used_is_refused_with_the_place(npz, changed, words):
    with pytest.raises(InputError, match=words):
        from_npz(npz(**changed))


def test_a_pickle_in_an_npz_is_refused(npz):
    with pytest.raises(InputError, match="damaged or holds objects"):
        from_npz(npz(labels=np.array([{}, 1, 2, 3, 4, 5], object)))


def test_tables_are_joined_by_id_and_an_empty_label_is_none(table):
    data = from_tables(table("v.csv", VERTICES), table("e.csv", INCIDENCE))
    assert edges(data) == [[0, 1], [2]]
    assert data.classes == ("x", "y")
    assert data.labels.tolist() == [0, 1, -1]
    assert data.columns == ("a", "b")
    assert data.features.values.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_without_ids_a_vertex_is_its_row_and_weights_are_taken(table):
    vertices = [row[1:] for row in VERTICES]
    incidence = [["hyperedge", "vertex", "weight"], [7, 0, 2.5], [7, 1, 2.5], [3, 2, 1]]
    data = from_tables(table("v.csv", vertices), table("e.csv", incidence))
    assert edges(data) == [[2], [0, 1]]
    assert data.graph.weights.tolist() == [1, 2.5]


@pytest.mark.parametrize(
    ("vertices", "incidence", "words"),
    [
        ([["id", "a"], ["p", 1]], INCIDENCE, "no column label"),
        ([["id", "label"], ["p", "x"]], INCIDENCE, "has no feature"),
        ([VERTICES[0], ["p", "", 1, 2]], INCIDENCE, "no vertex has a label"),
        ([VERTICES[0], ["p", "x", 1, ""]], INCIDENCE, "row 0 has a feature that is NaN"),
        ([VERTICES[0], ["p", "x", 1, "two"]], INCIDENCE, "column 'b', row 0: 'two' is no number"),
        ([VERTICES[0], ["p", "x", 1, 2], ["p", "y", 1, 2]], INCIDENCE, "id 'p' twice"),
        ([VERTICES[0], ["p", "x", 1]], INCIDENCE, "row 0 has 3 cells"),
        ([["label", "a", "a"], ["x", 1, 2]], INCIDENCE, "'a' is there twice"),
        (VERTICES, [["edge", "vertex"], ["e1", "p"]], "no column hyperedge"),
        (VERTICES, [["hyperedge", "vertex"], ["e1", "z"]], "names the vertex 'z'"),
        (VERTICES, [["hyperedge", "vertex"]], "header and no row"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_with_the_place(table, vertices, incidence, words):
    with pytest.raises(InputError, match=words):
        from_tables(table("v.csv", vertices), table("e.csv", incidence))


def test_parquet_gives_what_csv_gives_or_says_what_is_missing(table, tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    for name, rows in (("v", VERTICES), ("e", INCIDENCE)):
        table(f"{name}.csv", rows)
        columns = {key: [row[k] for row in rows[1:]] for k, key in enumerate(rows[0])}
        parquet.write_table(pyarrow.table(columns), tmp_path / f"{name}.parquet")
    one = from_tables(tmp_path / "v.csv", tmp_path / "e.csv")
    other = from_tables(tmp_path / "v.parquet", tmp_path / "e.parquet")
    assert edges(one) == edges(other)
    assert one.labels.tolist() == other.labels.tolist()


def test_generated_data_repeats_by_seed_and_its_hyperedges_are_mostly_of_one_class():
    config = GeneratedConfig(vertices=400, hyperedges=300, size=6, features=4, classes=4, purity=0.9)
    one, same, other = generated(config, 1), generated(config, 1), generated(config, 2)
    assert np.array_equal(one.features.values, same.features.values)
    assert np.array_equal(one.graph.members, same.graph.members)
    assert not np.array_equal(one.labels, other.labels)
    assert one.graph.sizes[: 300 // 2].mean() == pytest.approx(6, abs=1.5)
    kinds = one.labels[one.graph.members]
    pure = [np.bincount(kinds[a:b]).max() / (b - a) for a, b in pairwise(one.graph.offsets) if b > a + 3]
    assert np.mean(pure) > 0.8


def test_digits_are_all_there_and_each_is_in_its_own_hyperedge():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    data = digits(4)
    assert len(data.features) == 1797
    assert set(data.graph.sizes.tolist()) == {5}
    assert data.graph.members.max() == 1796


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "is empty"),
        (["digit"], "cannot be used"),
        (["npz:a.npz", "digits"], "cannot be used"),
        (["npz:a.npz", "npz:b.npz"], "one kind twice"),
        (["vertices:a.csv"], "cannot be used"),
        (["npz:nowhere.npz"], "cannot read"),
    ],
)
def test_a_source_that_is_none_is_refused_with_those_there_are(source, words):
    with pytest.raises(InputError, match=words):
        load(Config.model_validate({"data": {"source": source}}))


def test_a_package_that_is_missing_is_named_with_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "dhg", None)
    with pytest.raises(MachineError, match="dhg is not installed") as caught:
        load(Config.model_validate({"data": {"source": ["dhg:CocitationCora"]}}))
    assert "pip install dhg" in caught.value.fix


def test_a_set_of_dhg_that_has_no_such_list_is_told_what_it_has():
    pytest.importorskip("dhg", reason="dhg is not installed")
    with pytest.raises(InputError, match="has no data set 'CocitationCor'") as caught:
        load(Config.model_validate({"data": {"source": ["dhg:CocitationCor"]}}))
    assert "CocitationCora" in caught.value.fix
    with pytest.raises(InputError, match="has no edge_list") as caught:
        load(Config.model_validate({"data": {"source": ["dhg:DBLP4k"]}}))
    assert "edge_by_paper" in caught.value.why
