"""A recipe from another package walks the whole road: nothing in it knows about landmarks."""

import json

import pytest

from edgekd import config
from edgekd.cli.main import run as edgekd
from edgekd.conversion.export import export
from edgekd.errors import InputError
from edgekd.measuring.quality import evaluate
from edgekd.training.distill import distill

FAST = ("train.precision=fp32", "train.epochs=2")


def test_a_recipe_from_another_package_is_listed(line, capsys):
    assert edgekd(["list", "recipes", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["line"]["package"] == "edgekd_line"
    assert rows["line"]["presets"] == ["wide"]
    assert "landmarks" in rows


def test_a_recipe_from_another_package_is_distilled_exported_and_judged(line, tmp_path):
    run = distill(line, tmp_path / "run", preset="wide", settings=FAST, control=True)
    assert [stage.role for stage in run.record.stages] == ["teacher", "student", "control"]
    assert run.record.config["hidden"] == 24
    assert run.record.student["weights"] == 4 * 24 + 24 + 24 + 1
    (exported,) = export(run.path, ["onnxruntime"], "fp32", tmp_path / "bundles")
    assert exported.error is None
    assert exported.path is not None
    scores = [evaluate(path, threads=1).metrics["r2"] for path in (run.path, exported.path)]
    assert scores == pytest.approx([run.record.stages[1].test["r2"]] * 2, abs=1e-5)


@pytest.mark.parametrize(
    ("flag", "options"), [("--data", {"data": ["drawn"]}), ("--teacher", {"teacher": "dlib68"})], ids=str
)
def test_a_flag_that_a_recipe_has_no_key_for_is_refused(line, tmp_path, flag, options):
    with pytest.raises(InputError, match=f"line takes no {flag}"):
        distill(line, tmp_path / "run", settings=FAST, **options)
    assert not (tmp_path / "run").exists()


def test_every_config_is_dumped_and_read_again(line, tmp_path):
    before = config.resolve(line, settings=["hidden=3", "train.workers=1", "seed=4"])
    (tmp_path / "own.toml").write_text(config.dump(before))
    assert config.resolve(line, file=tmp_path / "own.toml") == before
