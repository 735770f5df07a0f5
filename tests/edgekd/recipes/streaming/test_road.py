"""From drawn streets to bundles that carry their state: what only the whole road can show."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

import edgekd
from edgekd import config
from edgekd.bundle.sequences import InOrder
from edgekd.nn.deformable import DeformableConv
from edgekd.recipes.streaming.pipeline import Pipeline
from edgekd.recipes.streaming.recipe import Recipe
from edgekd.recipes.weights import load_weights
from edgekd.storage import read_arrays

TARGETS = ("onnxruntime", "openvino")
FRAMES = 20


@pytest.fixture(scope="module")
def student(street_run):
    recipe = Recipe(config.restore("streaming", street_run.record.config, "the run"))
    found = recipe.student(recipe.io_spec())
    load_weights(found, street_run.weights)
    return found.eval()


@pytest.fixture(scope="module")
def raws(street_run):
    """Twenty frames of one sequence."""
    arrays = read_arrays(street_run.path / "heldout.npz")
    found = [{name: arrays[f"raw/{name}"][k] for name in ("image", "sequence", "frame")} for k in range(FRAMES)]
    assert [int(raw["frame"]) for raw in found] == list(range(FRAMES))
    return found


def test_the_student_learns_from_a_teacher_that_sees_the_next_frame(street_run):
    stages = {stage.name: stage for stage in street_run.record.stages}
    assert list(stages) == ["teacher", "student"]
    assert stages["student"].teachers["teacher"] == pytest.approx(stages["teacher"].best, nan_ok=True)
    lines = (street_run.path / "stages" / "student" / "metrics.csv").read_text().splitlines()
    assert {line.split(",")[2] for line in lines} >= {"train/box", "train/l1", "train/kd_class", "train/kd_box"}


def test_offsets_of_deformable_convolutions_were_learned(student):
    moved = [layer.offsets.weight.abs().max() for layer in student.modules() if isinstance(layer, DeformableConv)]
    assert len(moved) == 5
    assert min(moved) > 0


@pytest.mark.parametrize("target", TARGETS)
def test_twenty_frames_through_the_bundle_equal_the_four_frame_network(
    target, street_run, street_bundles, student, raws
):
    pipeline = Pipeline(street_run.record.io)
    frames = torch.cat([torch.from_numpy(pipeline.preprocess(raw)["image"]) for raw in raws])
    session = edgekd.open(street_bundles[target]).session
    for _ in range(2):  # after a reset the past is gone
        session.reset()
        for now in range(FRAMES):
            window = torch.stack([frames[max(now - back, 0)] for back in range(4)])
            with torch.no_grad():
                want = student.decode(*student.raw(window[None])).numpy()
            got = session.run({"image": frames[now : now + 1].numpy()})
            assert set(got) == {"predictions"}
            assert np.abs(got["predictions"] - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize(
    ("target", "lowerings"),
    [("onnxruntime", {"deform": "native"}), ("openvino", {"deform": "native", "focus": "space_to_depth"})],
)
def test_bundles_have_the_operator_of_their_runtime_and_say_so(target, lowerings, street_bundles):
    bundle = edgekd.open(street_bundles[target])
    assert bundle.manifest.lowerings == lowerings
    ops = [node.op_type for node in onnx.load(street_bundles[target] / "model.onnx").graph.node]
    assert ops.count("DeformConv") == 5
    assert "GridSample" not in ops
    assert "BatchNormalization" not in ops


def test_a_gap_in_the_frames_begins_a_new_sequence(street_bundles, raws):
    bundle = edgekd.open(street_bundles["onnxruntime"])
    ordered = InOrder(bundle.session, bundle.pipeline)

    def said(frames):
        return [ordered.outputs(raws[k])["predictions"] for k in frames][-1]

    alone, with_a_past, after_a_gap = said([7]), said(range(8)), said([0, 1, 2, 7])
    assert np.array_equal(alone, after_a_gap)
    assert not np.array_equal(alone, with_a_past)
