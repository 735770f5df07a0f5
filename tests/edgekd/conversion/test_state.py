"""A student with state on its whole road: what a bundle says of a video is what the module says, stepped by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import edgekd
from edgekd.bundle.session import CarriedState
from edgekd.bundle.verify import verify
from edgekd.conversion.export import export
from edgekd.conversion.from_run import make_canonical
from edgekd.errors import GateError
from edgekd.measuring.quality import evaluate
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.registry import recipe_part
from edgekd.run import open_run
from edgekd.storage import read_arrays, row, write_arrays
from edgekd_targets.torch.runtime import load_student

BUILT = (
    ("onnxruntime", "fp32", 1e-4),
    ("onnxruntime", "int8", 0.05),
    ("openvino", "fp32", 1e-4),
    ("openvino", "bf16", 0.02),
    ("openvino", "int8", 0.05),
)


@pytest.fixture(scope="module")
def bundles(stream_run, tmp_path_factory):
    """(target, precision) -> bundle, made when it is first asked for. The recipe must be installed then."""
    made, folder = {}, tmp_path_factory.mktemp("stateful")

    def bundle(target, precision):
        if (target, precision) not in made:
            (result,) = export(stream_run, [target], precision, folder / precision)
            assert result.error is None, result.error
            made[target, precision] = result.path
        return made[target, precision]

    return bundle


def by_hand(run, raws):
    """The module's own outputs, its state handed over by hand, from zeros where a video begins."""
    student, io = load_student(run), run.record.io
    pipeline = recipe_part("stream", "pipeline").Pipeline(io)
    said, before = [], None
    for raw in raws:
        if before is None or tuple(raw["frame"]) != (before[0], before[1] + 1):
            past, started = torch.zeros(io.input("past").shape), torch.zeros(1)
        before = tuple(raw["frame"])
        with torch.inference_mode():
            y, past, started = student(torch.from_numpy(pipeline.preprocess(raw)["image"]), past, started)
        said.append(y.numpy()[0])
    return np.stack(said)


def two_videos(run):
    """Twenty frames: the first two held-out videos."""
    return run.heldout().raws()[:20]


@pytest.mark.parametrize(("target", "precision", "limit"), BUILT)
def test_twenty_frames_through_the_bundle_equal_the_module_stepped_by_hand(
    target, precision, limit, stream, stream_run, bundles
):
    run = open_run(stream_run)
    frames, bundle = two_videos(run), edgekd.open(bundles(target, precision), threads=1)
    assert [tuple(f["frame"]) for f in frames] == [(v, n) for v in (0, 1) for n in range(10)]
    wanted = by_hand(run, frames)
    found = np.stack([bundle.predict(raw)["y"] for raw in frames])
    assert np.abs(found - wanted).max() < limit
    # without what was said before, they would not: every frame as the first of a video
    alone = np.concatenate([by_hand(run, [raw]) for raw in frames])
    assert np.abs(alone - wanted).max() > 2 * limit


def test_a_new_video_is_seen_by_the_pipeline_and_can_be_begun_by_hand(stream, stream_run, bundles):
    run = open_run(stream_run)
    first, second = two_videos(run)[:10], two_videos(run)[10:]
    bundle = edgekd.open(bundles("onnxruntime", "fp32"), threads=1)
    for raw in first:
        bundle.predict(raw)
    after = bundle.predict(second[0])["y"]
    bundle.session.reset()
    np.testing.assert_array_equal(bundle.predict(second[0])["y"], after)
    jumped = bundle.predict(second[5])["y"]  # a gap is a new beginning
    np.testing.assert_array_equal(jumped, edgekd.open(bundle.path, threads=1).predict(second[5])["y"])


def test_the_caller_neither_feeds_nor_gets_state(stream, bundles):
    bundle = edgekd.open(bundles("openvino", "fp32"), threads=1)
    assert [t.name for t in bundle.session.io.inputs] == ["image"]
    assert [t.name for t in bundle.session.io.outputs] == ["y"]
    vectors = bundle.vectors()
    assert set(vectors["feeds"]) == {"image"}
    assert set(vectors["built"]) == {"y"}


def test_vectors_are_the_first_frames_of_one_video_and_verify_runs_them_in_order(stream, bundles, copy_of, reseal):
    folder = copy_of(bundles("onnxruntime", "fp32"), "shuffled")
    arrays = read_arrays(folder / "vectors.npz")
    assert arrays["raw/frame"].tolist() == [[0, n] for n in range(10)]
    assert verify(folder, threads=1).passed
    order = [0, 2, 1, *range(3, 10)]
    write_arrays(folder / "vectors.npz", {name: value[order] for name, value in arrays.items()})
    with pytest.raises(GateError, match="output differs"):
        verify(reseal(folder), threads=1)


def test_a_run_and_its_bundles_are_judged_on_the_same_videos(stream, stream_run, bundles):
    recorded = open_run(stream_run).record.stages[0].test
    for path in (stream_run, bundles("onnxruntime", "fp32"), bundles("openvino", "fp32")):
        assert evaluate(path, threads=1).metrics == pytest.approx(recorded, rel=1e-3)


def test_calibration_feeds_the_state_that_the_reference_had(stream, stream_run, tmp_path):
    run = open_run(stream_run)
    canonical = make_canonical(run, tmp_path / "canonical")
    feeds = list(canonical.start.calibrations["main"])
    frames = run.calibration()["frame"]
    assert set(feeds[0]) == {"image", "past", "started"}
    assert [float(f["started"][0]) for f in feeds] == [float(n > 0) for _, n in frames]
    session = CarriedState(OnnxReference(canonical.source.model, canonical.source.io))
    pipeline, last = canonical.pipeline, None
    for index in range(12):
        raw = row(run.calibration(), index)
        if pipeline.restarts(raw, last):
            session.reset()
        wanted = session.complete(pipeline.preprocess(raw))
        np.testing.assert_array_equal(feeds[index]["past"], wanted["past"])
        session.run(pipeline.preprocess(raw))
        last = raw
    assert np.abs(feeds[1]["past"]).max() > 0
    again = list(canonical.start.calibrations["main"])  # a quantizer reads it more than once
    assert all(np.array_equal(a["past"], b["past"]) for a, b in zip(feeds, again, strict=True))


def test_state_that_is_lost_between_frames_is_caught_by_a_gate(stream, stream_run, tmp_path, monkeypatch):
    """A graph whose next state is wrong says the first frame of a video right, and the second one wrong."""
    import onnx

    from edgekd.conversion import from_run

    def broken(student, io, path):
        from edgekd.conversion.to_onnx import export_onnx

        export_onnx(student, io, path)
        model = onnx.load(path)
        for node in model.graph.node:
            node.output[:] = ["unscaled" if name == "past_next" else name for name in node.output]
            node.input[:] = ["unscaled" if name == "past_next" else name for name in node.input]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.9), "nearly"))
        model.graph.node.append(onnx.helper.make_node("Mul", ["unscaled", "nearly"], ["past_next"]))
        onnx.save(model, path)

    monkeypatch.setattr(from_run, "export_onnx", broken)
    with pytest.raises(GateError, match="student → canonical ONNX failed"):
        make_canonical(open_run(stream_run), tmp_path / "canonical")


def test_a_run_keeps_whole_runs_of_frames(stream, stream_run, tmp_path):
    from edgekd.training import finish

    assert open_run(stream_run).heldout().raw["frame"].tolist() == [[v, n] for v in range(6) for n in range(10)]
    samples = recipe_part("stream", "recipe").Videos(20, 10, 0)
    pipeline = recipe_part("stream", "pipeline").Pipeline(open_run(stream_run).record.io)
    chosen = finish._runs(samples, 80, pipeline)
    assert len(chosen) == 80
    first, second = chosen[:40], chosen[40:]
    for part in (first, second):
        assert part == list(range(part[0], part[0] + 40))
        assert part[0] % 10 == 0  # where a video begins
    assert (first[0], second[0]) == (0, 100)


@pytest.mark.parametrize(("most", "most_bytes", "kept"), [(200, 1 << 30, 200), (200, 1000, 10), (200, 1, 2)])
def test_a_file_of_samples_is_capped_by_number_and_by_bytes(most, most_bytes, kept):
    from edgekd.training.finish import _fitting

    assert _fitting(most, most_bytes, {"image": np.zeros(60, np.uint8)}, {"y": np.zeros(10, np.float32)}) == kept
