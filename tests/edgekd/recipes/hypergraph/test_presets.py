import pytest

from edgekd import config
from edgekd.measuring.claims import recipe_claims
from edgekd.nn.cost import weight_count
from edgekd.recipes.hypergraph.config import Config
from edgekd.recipes.hypergraph.models import StudentMLP
from edgekd.toml import read_toml


@pytest.mark.parametrize("name", list(config.presets("hypergraph")))
def test_a_preset_is_a_config(name):
    assert isinstance(config.resolve("hypergraph", name), Config)


def test_the_defaults_are_the_papers():
    found = Config()
    assert (found.student.hidden, found.teacher.hidden, found.student.dropout, found.teacher.dropout) == (
        128,
        32,
        0.5,
        0.5,
    )
    assert (found.train.learning_rate, found.train.weight_decay, found.train.epochs, found.train.batch_size) == (
        0.01,
        5e-4,
        200,
        0,
    )
    assert (found.data.train_per_class, found.data.val_per_class) == (20, 100)
    assert (found.loss.temperature, found.loss.labels, found.loss.noise) == (1.0, 0.0, 1.0)


def test_the_default_preset_is_there_and_needs_no_data_of_ones_own():
    from edgekd.registry import recipe_entry

    facts = read_toml(recipe_entry("hypergraph").folder / "recipe.toml")
    assert config.resolve("hypergraph", facts["default_preset"]).data.source == ("digits",)


def test_the_claimed_size_is_the_students():
    (claim,) = (c for c in recipe_claims("hypergraph").claim if c.id == "parameters-imdb")
    assert weight_count(StudentMLP(3066, 3)) == claim.value
