"""The road on a published set: a student of seconds, whose figures are those of its parts, on the device too."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgekd.cli.main import run
from edgekd.measuring.claims import Status
from edgekd.recipes.landmarks import published_faces
from edgekd.recipes.landmarks.published import SETS
from edgekd.reporting.collect import collect
from edgekd.reporting.evidence import assessments
from edgekd.run import open_run

SMALL = """\
[student]
input_size = 32
width = 0.25
[augment]
factor = 1
[teacher]
use = "none"
[train]
epochs = 1
batch_size = 4
precision = "fp32"
"""


@pytest.fixture(scope="module")
def wflw(tmp_path_factory, write_set_in):
    """A run of ``edgekd distill landmarks --data wflw:DIR``, as if WFLW had been published as small as DIR."""
    folder = tmp_path_factory.mktemp("published")
    data = write_set_in(folder, "wflw")
    (folder / "small.toml").write_text(SMALL)
    subsets = {"pose": 2, **dict.fromkeys(("expression", "illumination", "make-up", "occlusion", "blur"), 1)}
    small = dataclasses.replace(SETS["wflw"], train=8, test=5, subsets=subsets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_faces, "published_set", lambda source: small)
        arguments = ["--data", f"wflw:{data}", "--config", str(folder / "small.toml"), "--out", str(folder / "run")]
        assert run(["distill", "landmarks", *arguments, "-q"]) == 0
    return open_run(folder / "run")


def test_a_student_of_98_points_is_distilled_and_its_figures_are_by_subset(wflw):
    assert wflw.record.config["data"]["points"] == 98
    assert wflw.record.io.outputs[0].shape == (1, 196)
    assert wflw.record.data["split"] == {"train": 6, "val": 2, "test": 5}
    [student] = wflw.record.stages
    for name in ("nme", "nme_pupils", "authors_nme"):
        of_subsets = {s: student.test[f"{name}/{s}"] for s in SETS["wflw"].subsets}
        assert min(of_subsets.values()) < student.test[name] < max(of_subsets.values())
    assert student.test["nme_pupils"] > student.test["nme"] > 0
    assert "nme/pose" not in student.best  # the list's attributes are the test set's


def test_an_exported_student_has_the_same_figures_on_the_same_samples(wflw, tmp_path, capsys):
    export = ["export", str(wflw.path), "--target", "onnxruntime", "--precision", "fp32", "--out", str(tmp_path)]
    assert run([*export, "-q"]) == 0
    capsys.readouterr()
    [bundle] = [path.parent for path in tmp_path.glob("*/manifest.json")]
    assert run(["eval", str(bundle), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["metrics"]
    assert scores == pytest.approx(wflw.record.stages[0].test, rel=1e-3)


def test_nothing_but_the_size_of_the_input_keeps_a_small_run_from_the_papers_claims(wflw):
    found = {a.claim.id: a for a in assessments(collect([wflw.path]))["landmarks"]}
    claim = found["nme-wflw-all-base-older-log"]
    assert claim.differs == ("resolution: theirs 224x224, ours 32x32",)
    assert claim.status is Status.NOT_COMPARABLE
    assert claim.evidence is not None
    assert claim.evidence.value == wflw.record.stages[0].test["authors_nme"]
    assert set(found["nme-wflw-pose-both"].differs) == {*claim.differs, "teachers: theirs both, ours none"}


def test_the_set_s_licence_travels_with_the_run(wflw):
    [source] = wflw.record.data["sources"]
    assert source["licence"] == SETS["wflw"].licence


def test_a_wrong_folder_is_one_message_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "wflw").mkdir()
    arguments = ["--data", f"wflw:{tmp_path / 'wflw'}", "--out", str(tmp_path / "runs" / "x")]
    assert run(["distill", "landmarks", "--preset", "paper", *arguments]) == 2
    said = capsys.readouterr().err
    assert "list_98pt_rect_attr_train.txt is missing" in said
    assert "DIR/WFLW_images/" in said
    assert [path.name for path in tmp_path.rglob("*")] == ["wflw"]
