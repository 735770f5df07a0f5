import numpy as np
import pytest

from edgekd.contracts import IoSpec, RowSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.hypergraph.pipeline import Pipeline


def spec(normalization="l1", columns=("a", "b", "c"), classes=("no", "yes")):
    rows = RowSpec(normalization=normalization, columns=columns)
    x = TensorSpec(name="x", shape=("rows", 3), rows=rows)
    return IoSpec(inputs=(x,), outputs=(TensorSpec(name="logits", shape=("rows", 2), classes=classes),))


def read(path, **changed):
    return [raw["features"].tolist() for _, raw in Pipeline(spec(**changed)).read({"x": str(path)})]


def test_a_row_is_divided_by_the_sum_of_its_absolute_values_and_zeros_stay():
    pipeline = Pipeline(spec())
    assert pipeline.preprocess({"features": np.array([1, -1, 2])})["x"].tolist() == [[0.25, -0.25, 0.5]]
    assert pipeline.preprocess({"features": np.zeros(3)})["x"].tolist() == [[0, 0, 0]]
    as_it_is = Pipeline(spec("none")).preprocess({"features": np.array([1, -1, 2])})
    assert as_it_is["x"].tolist() == [[1, -1, 2]]
    assert as_it_is["x"].dtype == np.float32


def test_logits_become_a_label_and_probabilities():
    found = Pipeline(spec()).postprocess({"logits": np.array([[0.0, np.log(3)]], np.float32)}, {})
    assert (str(found["label"]), int(found["class"])) == ("yes", 1)
    assert found["probability"].tolist() == pytest.approx([0.25, 0.75])


def test_columns_of_a_table_are_found_by_name_in_any_order_and_others_are_left_out(table):
    path = table("rows.csv", [["c", "id", "b", "label", "a", "more"], [3, "v", 2, "yes", 1, 9]])
    assert read(path) == [[1, 2, 3]]


def test_without_names_columns_are_taken_in_order(table):
    assert read(table("rows.csv", [[1, 2, 3], [4, 5, 6]])) == [[1, 2, 3], [4, 5, 6]]
    assert read(table("named.csv", [["x", "y", "z"], [1, 2, 3]]), columns=()) == [[1, 2, 3]]


def test_an_npz_gives_its_rows_dense_or_sparse(tmp_path):
    np.savez(tmp_path / "dense.npz", x=np.array([[1, 2, 3], [4, 5, 6]]))
    np.savez(tmp_path / "sparse.npz", x_data=[7.0], x_indices=[1], x_indptr=[0, 0, 1], x_shape=[2, 3])
    assert read(tmp_path / "dense.npz") == [[1, 2, 3], [4, 5, 6]]
    assert read(tmp_path / "sparse.npz") == [[0, 0, 0], [0, 7, 0]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["a", "b"], [1, 2]], "has no column 'c'"),
        ([[1, 2], [3, 4]], "has 2 features a row"),
        ([[1, 2, 3], [1, "", 3]], "row 1 has a feature that is NaN"),
        ([["a", "b", "c"], [1, "inf", 3]], "row 0 has a feature that is NaN or infinite"),
        ([], "is empty"),
    ],
)
def test_a_table_of_other_rows_is_refused(table, rows, words):
    with pytest.raises(InputError, match=words):
        read(table("rows.csv", rows))


def test_rows_of_another_width_or_no_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "wide.npz", x=np.ones((2, 4)))
    with pytest.raises(InputError, match="has 4 features a row"):
        read(tmp_path / "wide.npz")
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / "nowhere.csv")
    pipeline = Pipeline(spec())
    with pytest.raises(InputError, match="takes x, not image"):
        list(pipeline.read({"image": "rows.csv"}))
    for raw, words in (
        ({"features": np.ones(4)}, "has 4 features"),
        ({"features": np.array([1, np.nan, 1])}, "NaN or infinite"),
        ({"features": np.ones((1, 3))}, "one row of numbers"),
        ({"image": np.ones(3)}, "must have features"),
    ):
        with pytest.raises(InputError, match=words):
            pipeline.preprocess(raw)


def test_a_picture_shows_a_bar_per_class_and_marks_the_truth():
    pipeline = Pipeline(spec())
    prediction = pipeline.postprocess({"logits": np.array([[0.0, 2.0]])}, {})
    plain, marked = pipeline.draw([{}], [prediction]), pipeline.draw([{}], [prediction], [{"class": np.array(0)}])
    assert plain.size == marked.size
    orange = (np.asarray(marked) == (0xD5, 0x5E, 0)).all(-1)
    assert orange.any()
    assert not (np.asarray(plain) == (0xD5, 0x5E, 0)).all(-1).any()
    green = (np.asarray(plain) == (0, 0x9E, 0x73)).all(-1).sum(1)
    assert green.max() > 2 * green[green > 0].min(), "the likelier class has the longer bar"


def test_an_io_spec_of_another_kind_of_model_is_refused():
    bare = spec()
    with pytest.raises(InputError, match="no model of feature rows"):
        Pipeline(bare.model_copy(update={"inputs": (bare.inputs[0].model_copy(update={"rows": None}),)}))
