import numpy as np
import pytest
from pydantic import ValidationError

from edgekd.contracts import ImageSpec, IoSpec, NodePlacement, Placement, Precision, Profile, TensorSpec, check_feeds
from edgekd.errors import InputError

IO = IoSpec(
    inputs=(TensorSpec(name="image", shape=(1, 3, 4, 4)), TensorSpec(name="boxes", shape=("rows", 4), dtype="int64")),
    outputs=(TensorSpec(name="scores", shape=("rows",)), TensorSpec(name="next", shape=(1, 3, 4, 4))),
    state={"next": "image"},
)


def feeds(rows=2):
    return {"image": np.zeros((1, 3, 4, 4), np.float32), "boxes": np.zeros((rows, 4), np.int64)}


def test_a_named_axis_may_be_any_size_and_a_number_only_its_own():
    boxes = IO.input("boxes")
    assert boxes.fits((0, 4))
    assert boxes.fits((7, 4))
    assert not boxes.fits((7, 5))
    assert not boxes.fits((4,))
    assert not boxes.fits((1, 7, 4))


@pytest.mark.parametrize("state", [{"nothing": "image"}, {"next": "nothing"}, {"image": "next"}])
def test_state_leads_from_an_output_to_an_input(state):
    with pytest.raises(ValidationError, match="no such output or input"):
        IoSpec(inputs=IO.inputs, outputs=IO.outputs, state=state)


def test_a_spec_survives_json():
    assert IoSpec.model_validate(IO.model_dump(mode="json")) == IO
    image = TensorSpec(name="i", shape=(1, 3, 2, 2), image=ImageSpec(mean=(0.5, 0.5, 0.5), color="BGR"), range=(0, 1))
    assert TensorSpec.model_validate_json(image.model_dump_json()) == image


def test_specs_are_immutable_and_know_no_other_keys():
    with pytest.raises(ValidationError):
        IO.inputs[0].name = "other"
    with pytest.raises(ValidationError):
        TensorSpec(name="a", shape=(1,), colour="RGB")


def test_feeds_become_contiguous_arrays_of_the_specs_type():
    given = {"image": np.zeros((1, 4, 4, 3)).transpose(0, 3, 1, 2), "boxes": [[1, 2, 3, 4]]}
    ready = check_feeds(IO, given)
    assert ready["image"].dtype == np.float32
    assert ready["boxes"].dtype == np.int64
    assert ready["image"].flags.c_contiguous
    assert ready["boxes"].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": None}, "the model takes"),
        ({"extra": np.zeros(1)}, "the model takes"),
        ({"image": np.zeros((1, 3, 4, 5))}, r"image has shape \[1, 3, 4, 5\](.|\n)*\[1, 3, 4, 4\]"),
        ({"boxes": np.zeros((4,))}, r"boxes has shape \[4\]"),
    ],
)
def test_feeds_that_do_not_fit_are_refused(change, message):
    given = {name: value for name, value in {**feeds(), **change}.items() if value is not None}
    with pytest.raises(InputError, match=message):
        check_feeds(IO, given)


def test_shares_of_macs_leave_out_what_was_not_attributed():
    nodes = (
        NodePlacement("a", "Conv", "int8", "CPU", macs=300),
        NodePlacement("b", "Conv", "fp32", "CPU", macs=100),
        NodePlacement("c", "Relu", "fp32", "CPU", macs=0),
        NodePlacement("d", "Fused", "fp32", "GPU", macs=None),
    )
    placement = Placement(nodes, "test")
    assert placement.share_of_macs("precision") == {"int8": 0.75, "fp32": 0.25}
    assert list(placement.share_of_macs("precision")) == ["int8", "fp32"]  # the largest first
    assert placement.share_of_macs("device") == {"CPU": 1.0}
    assert Placement(nodes[3:], "test").share_of_macs("device") == {}


def test_a_precision_reads_as_its_name_and_auto_is_none():
    assert f"{Precision.INT8}" == str(Precision("int8")) == "int8"
    with pytest.raises(ValueError, match="auto"):
        Precision("auto")


def test_a_profile_lists_precisions_that_exist():
    profile = Profile(name="p", target="t", title="", precisions=("int8", "fp32"))
    assert profile.precisions == (Precision.INT8, Precision.FP32)
    with pytest.raises(ValidationError):
        Profile(name="p", target="t", title="", precisions=("int7",))
