from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.bundle.distance import distance
from edgekd.contracts import ImageSpec, IoSpec, Precision, Source, TensorSpec
from edgekd.errors import InputError
from edgekd.nn.keep_float import KeepFloat
from edgekd.registry import profile
from edgekd_targets.coreml import build as coreml
from edgekd_targets.coreml.package import inputs, pictures, read_spec

# dB against torch, measured and rounded down; random weights, no training
LEAST_DB = {"fp32": 110, "fp16": 55, "w8": 38, "palette": 25, "int8": 30}


def said(built, source, feeds):
    return coreml.reference(built, source.io).run(feeds)


@pytest.mark.parametrize(("precision", "least"), LEAST_DB.items())
def test_each_precision_says_what_the_student_says(precision, least, built, small, calibration):
    session = coreml.reference(built(precision), small.io)
    with torch.no_grad():
        wanted = np.stack([small.module(torch.from_numpy(f["image"])).numpy() for f in calibration])
    found = np.stack([session.run(feeds)["said"] for feeds in calibration])
    sqnr = distance(found, wanted).sqnr_db
    assert sqnr is None or sqnr > least


def test_fewer_bits_are_fewer_bytes(built):
    def size(precision, name="iphone-ios18"):
        return sum(f.stat().st_size for f in built(precision, name).entry.rglob("weight.bin"))

    assert size("fp32") > size("fp16") > size("w8") > size("w4")


@pytest.mark.parametrize(
    ("precision", "computes"), [("fp32", "fp32"), ("fp16", "fp16"), ("w8", "fp16"), ("int8", "int8")]
)
def test_the_types_that_were_asked_for_are_in_the_program(precision, computes, built, small):
    placement = coreml.placement(built(precision), small.io)
    assert placement.share_of_macs("precision")[computes] == pytest.approx(1)
    macs = {node.op: node.macs for node in placement.nodes if node.macs}
    assert macs["linear"] == 16 * 10
    assert sum(node.macs or 0 for node in placement.nodes) == (
        16 * 16 * (16 * 27 + 144 * 16 + 144 * 9 + 16 * 144) + 16 * 10
    )


def test_a_picture_goes_in_as_a_picture_and_the_program_normalizes_it(small, tmp_path):
    image = ImageSpec(color="BGR", scale=1 / 255, mean=(0.4, 0.5, 0.6), std=(0.25, 0.25, 0.25))
    spec = small.io.inputs[0].model_copy(update={"image": image})
    io = small.io.model_copy(update={"inputs": (spec,)})
    made = coreml.build(replace(small, io=io), profile("coreml"), Precision.FP32, None, tmp_path)
    described = read_spec(made.entry)
    assert pictures(described) == ["image"]
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    feeds = {"image": np.ascontiguousarray(image.normalized(pixels).transpose(2, 0, 1)[None])}
    wanted = small.module(torch.from_numpy(feeds["image"])).numpy()
    np.testing.assert_allclose(coreml.reference(made, io).run(feeds)["said"], wanted, atol=1e-5)


def test_pictures_whose_channels_are_divided_apart_stay_arrays(small, tmp_path):
    """Core ML has one factor for all channels of a picture."""
    image = ImageSpec(std=(0.2, 0.3, 0.4))
    io = small.io.model_copy(update={"inputs": (small.io.inputs[0].model_copy(update={"image": image}),)})
    made = coreml.build(replace(small, io=io), profile("coreml"), Precision.FP32, None, tmp_path)
    assert pictures(read_spec(made.entry)) == []
    assert inputs(read_spec(made.entry))["image"] == ("float32", (1, 3, 32, 32))


def test_the_same_student_gives_the_same_bytes(small, tmp_path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(coreml.build(small, profile("coreml"), Precision.FP16, None, tmp_path / name).entry)
    files = [{f.relative_to(e): f.read_bytes() for f in e.rglob("*") if f.is_file()} for e in made]
    assert files[0] == files[1]


def test_what_keep_float_names_is_not_quantized_and_said_to_be_kept_on_purpose(small, calibration, tmp_path):
    from edgekd.conversion.kept_float import kept_float

    first = next(
        n for n in coreml.placement(_int8(small, calibration, tmp_path, "a"), small.io).nodes if n.op == "conv"
    )
    way = {"keep_float": [first.name]}
    made = _int8(small, calibration, tmp_path, "b", **way)
    placement = coreml.placement(made, small.io)
    (kept,) = kept_float(placement, made, way)
    assert (kept.node, kept.op, kept.precision) == (first.name, "conv", "fp16")
    assert kept.why == "it is kept in floating point on purpose (keep_float)"


def _int8(small, calibration, tmp_path, name, **way):
    (tmp_path / name).mkdir()
    chosen = profile("coreml")
    chosen = chosen.only({**chosen.way, **way})
    return coreml.build(small, chosen, Precision.INT8, calibration, tmp_path / name)


@pytest.mark.parametrize("statistics", ["minmax", "percentile", "mse"])
@pytest.mark.parametrize("activation", ["int8", "uint8"])
def test_every_way_to_place_int8_is_near_the_student(statistics, activation, small, calibration, tmp_path):
    made = _int8(small, calibration, tmp_path, "x", statistics=statistics, activation=activation, pairs="both")
    feeds = calibration.feeds[0]
    wanted = small.module(torch.from_numpy(feeds["image"])).numpy()
    assert distance(said(made, small, feeds)["said"], wanted).sqnr_db > 20


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"statistics": "mean"}, "statistics = 'mean'"),
        ({"recipe": "nncf"}, "recipe = 'nncf'"),
        ({"bits": 8}, "'bits'"),
        ({"keep_float": ["head_"]}, "no 'head_'"),
    ],
)
def test_a_setting_that_quantization_does_not_know_is_refused(way, message, small, calibration, tmp_path):
    with pytest.raises(InputError, match=message):
        _int8(small, calibration, tmp_path, "x", **way)


class Places(KeepFloat):
    def __init__(self):
        super().__init__()
        self.say = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x):
        return torch.tanh(self.say(x)).permute(0, 2, 3, 1)


class Sampling(nn.Module):
    def __init__(self):
        super().__init__()
        self.places, self.last = Places(), nn.Conv2d(3, 10, 1)

    def forward(self, image):
        return self.last(F.grid_sample(image, self.places(image), align_corners=False)).mean((2, 3))


@pytest.mark.parametrize(("precision", "rest"), [("fp16", "fp16"), ("int8", "int8")])
def test_what_a_model_marks_as_places_is_computed_in_fp32(precision, rest, small, calibration, tmp_path):
    from edgekd.bundle.placement import kept_float, lost_float

    source = replace(small, module=Sampling().eval().requires_grad_(False))
    made = coreml.build(source, profile("coreml"), Precision(precision), calibration, tmp_path)
    placement = coreml.placement(made, small.io)
    assert {node.op for node in kept_float(placement)} >= {"conv", "tanh"}
    assert not lost_float(placement)
    assert [n.precision for n in placement.nodes if n.op == "conv"] == ["fp32", rest]


class Steep(nn.Module):
    """Between two convolutions it goes where float16 does not reach, and comes back."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.first, self.last = factor, nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 10, 1)

    def forward(self, image):
        far = torch.relu(self.first(image)) * self.factor
        return self.last(far * far / self.factor / self.factor).mean((2, 3))


@pytest.mark.parametrize(("factor", "said"), [(400.0, r"reaches [\d.]+e\+05"), (2e-4, "loses bits below 6.1e-05")])
def test_what_float16_cannot_hold_on_the_calibration_samples_stays_fp32_and_is_told(factor, said, small, tmp_path):
    from edgekd_targets.coreml.mil.evaluator import MilReference

    torch.manual_seed(0)
    source = replace(small, module=Steep(factor).eval().requires_grad_(False))
    feeds = _Feeds([{"image": np.random.default_rng(k).random((1, 3, 32, 32), np.float32)} for k in range(2)])
    wanted = source.module(torch.from_numpy(feeds[0]["image"])).numpy()
    found = {}
    for name, calibration in (("scanned", feeds), ("not", None)):
        (tmp_path / name).mkdir()
        made = coreml.build(source, profile("coreml"), Precision.FP16, calibration, tmp_path / name)
        found[name] = made, distance(MilReference(made.entry, source.io).run(feeds[0])["said"], wanted).sqnr_db
    assert found["scanned"][1] > 40
    assert not (found["not"][1] or 0) > 20  # infinite, or rounded away
    made = found["scanned"][0]
    assert {n.precision for n in coreml.placement(made, source.io).nodes if n.op == "mul"} == {"fp16", "fp32"}
    assert [n.precision for n in coreml.placement(made, source.io).nodes if n.op == "conv"] == ["fp16", "fp16"]
    assert re.search(rf"\d nodes stay fp32 \(.*({said}).*; ranges scanned over 2 calibration samples", made.notes[0])
    assert "no ranges were scanned" in found["not"][0].notes[0]


class _Feeds(list):
    sha256 = ""


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        return self.layers(x)


def rows(shape=("rows", 6), **more):
    io = IoSpec(
        inputs=(TensorSpec(name="x", shape=shape, **more),), outputs=(TensorSpec(name="y", shape=(shape[0], 3)),)
    )
    return Source(Path("none"), io, Rows().eval().requires_grad_(False))


@pytest.mark.parametrize("count", [1, 7])
def test_an_axis_of_any_size_stays_one(count, tmp_path):
    source = rows()
    made = coreml.build(source, profile("coreml"), Precision.FP32, None, tmp_path)
    x = torch.randn(count, 6)
    np.testing.assert_allclose(said(made, source, {"x": x.numpy()})["y"], source.module(x).numpy(), atol=1e-5)


class Counter(nn.Module):
    def forward(self, x, past):
        return x + 2 * past, past + x


COUNTER = IoSpec(
    inputs=(TensorSpec(name="x", shape=(1, 3)), TensorSpec(name="past", shape=(1, 3))),
    outputs=(TensorSpec(name="y", shape=(1, 3)), TensorSpec(name="next", shape=(1, 3))),
    state={"next": "past"},
)


@pytest.mark.parametrize("kind", ["inputs", "own"])
def test_state_is_carried_by_inputs_and_outputs_or_by_core_mls_own(kind, tmp_path):
    from edgekd.bundle.session import carried

    chosen = profile("coreml/iphone-ios18")
    chosen = chosen.model_copy(update={"build": {**chosen.build, "state": kind}})
    made = coreml.build(Source(Path("none"), COUNTER, Counter()), chosen, Precision.FP32, None, tmp_path)
    session = carried(coreml.reference(made, COUNTER))
    heard = [session.run({"x": np.full((1, 3), value, np.float32)})["y"][0, 0] for value in (1, 2, 3)]
    assert heard == [1, 2 + 2 * 1, 3 + 2 * 3]
    session.reset()
    assert session.run({"x": np.ones((1, 3), np.float32)})["y"][0, 0] == 1


class Erratic(nn.Module):
    def forward(self, x):
        return torch.linalg.det(x)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (replace(rows(), module=None), "coreml converts from torch"),
        (rows(shape=("rows", "columns")), "one axis of any size per input: x has rows, columns"),
        (rows(dtype="float64"), "Core ML has no float64"),
        (rows(shape=("rows", 6), image=ImageSpec()), "Core ML takes no picture of any size"),
    ],
)
def test_what_core_ml_cannot_take_is_refused_with_the_reason(source, message, tmp_path):
    with pytest.raises(InputError, match=message):
        coreml.build(source, profile("coreml"), Precision.FP16, None, tmp_path)


def test_an_operation_that_core_ml_lacks_is_named(tmp_path):
    io = IoSpec(inputs=(TensorSpec(name="x", shape=(3, 3)),), outputs=(TensorSpec(name="y", shape=()),))
    with pytest.raises(InputError, match=r"Core ML lacks the operation .*det"):
        coreml.build(Source(Path("none"), io, Erratic()), profile("coreml"), Precision.FP16, None, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deployment": "iOS99"}, "deployment 'iOS99'"),
        ({"stat": "own"}, "setting 'stat'"),
        ({"state": "mine"}, "state = 'mine'"),
    ],
)
def test_a_build_setting_that_it_does_not_know_is_refused(change, message, small, tmp_path):
    chosen = profile("coreml").model_copy(update={"build": change})
    with pytest.raises(InputError, match=message):
        coreml.build(small, chosen, Precision.FP16, None, tmp_path)


@pytest.mark.parametrize("precision", ["w8", "w4", "palette"])
def test_fewer_bits_that_no_weight_is_worth_are_refused_and_not_claimed(precision, tmp_path):
    with pytest.raises(InputError, match=f"{precision} was asked and not built") as caught:
        coreml.build(rows(), profile("coreml/iphone-ios18"), Precision(precision), None, tmp_path)
    assert "2048 numbers" in caught.value.why
    assert not list(tmp_path.iterdir())


def test_how_many_weights_have_fewer_bits_is_told(built):
    """Of 432, 2304, 1296, 2304 and 160 numbers the two 1x1 convolutions are worth it."""
    assert "71% of the weights are stored as w8" in built("w8").notes[-1]


def test_four_bits_need_a_system_that_unpacks_blocks(small, tmp_path):
    with pytest.raises(InputError, match="w4 needs iOS 18"):
        coreml.build(small, profile("coreml/iphone"), Precision.W4, None, tmp_path)
