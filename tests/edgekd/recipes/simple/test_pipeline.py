import numpy as np
import pytest

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.simple.pipeline import Pipeline

IO = IoSpec(
    inputs=(TensorSpec(name="a", shape=(1, 2)), TensorSpec(name="b", shape=(1, 3, 1))),
    outputs=(TensorSpec(name="y", shape=(1, 4)),),
)


def test_a_sample_gets_its_batch_axis_and_loses_it_again():
    feeds = Pipeline(IO).preprocess({"a": np.zeros(2), "b": np.zeros((3, 1))})
    assert {name: (value.shape, value.dtype) for name, value in feeds.items()} == {
        "a": ((1, 2), np.float32),
        "b": ((1, 3, 1), np.float32),
    }
    assert Pipeline(IO).postprocess({"y": np.ones((1, 4))}, {})["y"].shape == (4,)


@pytest.mark.parametrize("lead", [(), (5,)])
def test_an_npz_holds_one_sample_or_several(tmp_path, lead):
    np.savez(tmp_path / "x.npz", a=np.ones((*lead, 2)), b=np.ones((*lead, 3, 1)))
    items = list(Pipeline(IO).read({"a": str(tmp_path / "x.npz")}))
    assert len(items) == (lead[0] if lead else 1)
    assert {sample["b"].shape for _, sample in items} == {(3, 1)}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.ones(2)}, r"holds \['a'\](.|\n)*takes \['a', 'b'\]"),
        ({"a": np.ones((4, 2)), "b": np.ones((5, 3, 1))}, r"\[4, 5\] samples"),
        ({"a": np.ones(3), "b": np.ones((3, 1))}, r"a in .* has shape \[3\](.|\n)*has \[2\]"),
    ],
)
def test_arrays_that_are_no_sample_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=said):
        list(Pipeline(IO).read({"a": str(tmp_path / "x.npz")}))


def test_nothing_is_drawn():
    with pytest.raises(InputError, match="nothing to draw"):
        Pipeline(IO).draw([], [])
