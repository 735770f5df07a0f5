"""The benchmark trains by a loop of its own: it must be the Trainer's, to the bit."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from edgekd import config
from edgekd.recipes.hypergraph.recipe import Recipe
from edgekd.training.distill import distill

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hypergraph_accuracy.py"
SETTINGS = (
    'data.source=["generated"]',
    "data.train_per_class=5",
    "data.val_per_class=20",
    "generated.vertices=300",
    "generated.hyperedges=300",
    "generated.features=8",
    "generated.classes=3",
    "teacher.epochs=4",
    "train.epochs=5",
    "loss.hyperedges=true",
    "student.feature_dropout=0.3",
    "seed=3",
)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("hypergraph_accuracy", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_loop_gives_the_weights_and_scores_that_distill_gives(script, tmp_path):
    run = distill("hypergraph", tmp_path / "run", settings=SETTINGS, control=True)
    recipe = Recipe(config.resolve("hypergraph", settings=SETTINGS))
    data = recipe.datasets(tmp_path, lambda what, share: None)
    for stage, record in zip(recipe.stages(data, True), run.record.stages, strict=True):
        found = script.train(stage, data, 3, tmp_path / stage.name)
        assert found["epoch"] == record.best_epoch
        assert found["accuracy"] == pytest.approx(record.test["accuracy"])
        assert found["macro_f1"] == pytest.approx(record.test["macro_f1"])
        from safetensors.torch import load_file

        kept = load_file(run.path / "stages" / stage.name / "best.safetensors")
        assert all(torch.equal(value, kept[name]) for name, value in stage.model.state_dict().items())


def test_its_part_of_the_page_is_made_of_its_results_alone(script):
    results = SCRIPT.parent / "results" / "hypergraph_accuracy.json"
    if not results.is_file():
        pytest.skip("the benchmark has not been run")
    text = script.section(json.loads(results.read_text(encoding="utf-8")))
    assert text.startswith("## `python benchmarks/hypergraph_accuracy.py`: ")
    assert "nan" not in text
