"""From a hypergraph to labels by the command line's own functions: what only the whole road can show."""

import csv

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

import edgekd
from edgekd.cli.main import run
from edgekd.conversion.export import export
from edgekd.errors import InputError
from edgekd.measuring.quality import evaluate
from edgekd.recipes.hypergraph.config import GeneratedConfig
from edgekd.recipes.hypergraph.sources import generated
from edgekd.storage import read_arrays
from edgekd.training.distill import distill

SETTINGS = (
    'data.source=["generated"]',
    "data.train_per_class=10",
    "data.val_per_class=20",
    "generated.vertices=500",
    "generated.hyperedges=500",
    "generated.features=16",
    "generated.classes=3",
    "generated.noise=1",
    "data.normalization=none",
    "teacher.epochs=15",
    "train.epochs=15",
)
TARGETS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    return distill("hypergraph", tmp_path_factory.mktemp("runs") / "hg", settings=SETTINGS, control=True)


@pytest.fixture(scope="module")
def bundles(distilled, tmp_path_factory):
    """(target, precision) -> bundle."""
    out, found = tmp_path_factory.mktemp("bundles"), {}
    for precision in ("fp32", "int8"):
        for result in export(distilled.path, TARGETS, precision, out / precision):
            if result.error is not None:
                raise result.error
            found[result.target, precision] = result.path
    return found


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).random((4096, 16), dtype=np.float32)
    return x / x.sum(1, keepdims=True)


def test_every_stage_is_judged_and_the_student_keeps_its_teachers_score(distilled):
    stages = {stage.name: stage for stage in distilled.record.stages}
    assert list(stages) == ["teacher", "student", "control"]
    assert stages["student"].teachers["teacher"] == pytest.approx(stages["teacher"].best)
    assert stages["teacher"].test["accuracy"] > 60, "of three classes"
    assert stages["student"].test["accuracy"] > 60


def test_the_batch_norm_is_gone_from_the_graph_and_rows_are_dynamic(bundles):
    model = onnx.load(bundles["onnxruntime", "fp32"] / "model.onnx")
    assert {node.op_type for node in model.graph.node} <= {"Gemm", "Relu"}
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("target", TARGETS)
def test_any_number_of_rows_gives_each_row_what_it_gets_alone(bundles, rows, target, precision):
    bundle = edgekd.open(bundles[target, precision])
    whole = bundle.session.run({"x": rows})["logits"]
    assert whole.shape == (4096, 3)
    for count in (1, 7, 4096):
        found = bundle.session.run({"x": rows[:count]})["logits"]
        np.testing.assert_allclose(found, whole[:count], atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_int8_is_built_and_gated_on_accuracy(bundles, target):
    manifest = edgekd.open(bundles[target, "int8"]).manifest
    assert manifest.placement.precision_by_macs.get("int8", 0) >= 0.8
    assert {gate.metric for gate in manifest.gates} == {"accuracy"}
    assert all(gate.passed for gate in manifest.gates)


def test_verify_and_eval_hold_for_every_bundle(bundles, distilled):
    at_training = evaluate(distilled.path).metrics["accuracy"]
    for path in bundles.values():
        assert edgekd.verify(path).passed
        assert evaluate(path, distilled.path).metrics["accuracy"] == pytest.approx(at_training, rel=0.02)


def test_predict_gives_a_label_and_probabilities_for_each_row_of_a_table_or_an_npz(bundles, rows, tmp_path):
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows[:3].tolist())
    np.savez(tmp_path / "rows.npz", x=rows[:3])
    path = bundles["onnxruntime", "fp32"]
    one, other = (edgekd.predict(path, [str(tmp_path / name)]) for name in ("rows.csv", "rows.npz"))
    assert [r["input"] for r in one] == [f"rows.csv row {k}" for k in range(3)]
    for a, b in zip(one, other, strict=True):
        assert a["prediction"]["label"] == b["prediction"]["label"]
        assert a["prediction"]["probability"] == pytest.approx(b["prediction"]["probability"], abs=1e-6)
        assert a["prediction"]["probability"].sum() == pytest.approx(1)
    edgekd.predict(path, [str(tmp_path / "rows.npz")], tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [cells["label"] for cells in written] == [str(r["prediction"]["label"]) for r in one]
    assert float(written[2]["probability/1"]) == pytest.approx(float(one[2]["prediction"]["probability"][1]), abs=1e-6)
    np.savez(tmp_path / "wide.npz", x=np.ones((2, 17)))
    with pytest.raises(InputError, match="17 features a row"):
        edgekd.predict(path, [str(tmp_path / "wide.npz")])


def test_production_scores_stand_in_the_run(tmp_path):
    made = distill("hypergraph", tmp_path / "prod", settings=[*SETTINGS, "data.setting=production", "data.unseen=0.3"])
    for stage in made.record.stages:
        assert {"accuracy", "trans", "ind"} <= set(stage.test)
    assert set(read_arrays(made.path / "heldout.npz")["truth/setting"].tolist()) == {0, 1, 2}


def test_a_published_split_is_trained_to_its_last_epoch(tmp_path):
    data = generated(GeneratedConfig(vertices=60, hyperedges=60, features=4, classes=3, size=4), 0)
    np.savez(
        tmp_path / "data.npz",
        x=data.features.values,
        labels=data.labels,
        hyperedge_vertices=data.graph.members,
        hyperedge_offsets=data.graph.offsets,
        train_splits=np.arange(20).reshape(2, 10),
    )
    settings = ["data.split=published", "data.fold=1", "train.epochs=6", "teacher.epochs=6"]
    made = distill("hypergraph", tmp_path / "run", data=[f"npz:{tmp_path / 'data.npz'}"], settings=settings)
    for stage in made.record.stages:
        assert stage.best_epoch == stage.epochs - 1
        assert stage.best == stage.last
    assert made.record.data["split"] == {"train": 10, "val": 0, "test": 50, "unseen": 0}


def test_batches_of_vertices_and_hyperedges_train_too(tmp_path):
    made = distill(
        "hypergraph", tmp_path / "batches", settings=[*SETTINGS, "train.batch_size=64", "loss.hyperedges=true"]
    )
    assert made.record.stages[-1].test["accuracy"] > 50


def test_a_resumed_run_ends_with_the_same_weights(tmp_path, monkeypatch):
    settings = [*SETTINGS, "loss.hyperedges=true"]
    whole = distill("hypergraph", tmp_path / "whole", settings=settings)

    def stop(what, share):
        if what.startswith("student: epoch 8/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill("hypergraph", tmp_path / "broken", settings=settings, progress=stop)
    assert distill("hypergraph", tmp_path / "broken", resume=True).sha256 == whole.sha256


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "npz:nowhere.npz"), "cannot read"),
        (("--data", "images:here"), "data.source images:here cannot be used"),
        (("--set", "data.train_per_class=500"), "labelled vertices"),
        (("--teacher", "dlib68"), "hypergraph takes no --teacher"),
        (("--set", "student.width=1"), "width"),
        (("--preset", "paper"), "data.source is empty"),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(tmp_path, capfd, arguments, words):
    assert run(["distill", "hypergraph", "--out", str(tmp_path / "out"), "-q", *arguments]) == 2
    err = capfd.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_two_processes_train_on_halves_of_the_vertices(tmp_path):
    """Each holds the hypergraph and takes its share of every step's vertices; soft targets are computed once."""
    settings, ends = (*SETTINGS, "train.batch_size=100", "teacher.dropout=0"), {}
    for devices in (1, 2):
        together = {"devices": devices, "accelerator": "cpu"}
        ends[devices] = distill("hypergraph", tmp_path / f"run{devices}", settings=settings, **together)
    one, two = (ends[devices].record for devices in (1, 2))
    assert (one.processes, two.processes) == (1, 2)
    assert one.data["fingerprint"] == two.data["fingerprint"]
    teachers = [load_file(end.path / "stages" / "teacher" / "best.safetensors") for end in ends.values()]
    assert all(torch.allclose(teachers[0][name], teachers[1][name], atol=1e-4) for name in teachers[0])
    accuracy = [next(s.test["accuracy"] for s in record.stages if s.role == "student") for record in (one, two)]
    assert accuracy[1] == pytest.approx(accuracy[0], abs=5)  # BatchNorm sees half a batch: near, not equal
