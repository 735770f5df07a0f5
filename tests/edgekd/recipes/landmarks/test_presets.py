"""The presets and the paper's claims: every one binds, and the sizes they speak of are true."""

import pytest
import torch

from edgekd import config
from edgekd.errors import InputError
from edgekd.measuring.claims import recipe_claims
from edgekd.nn.cost import macs, weight_count
from edgekd.recipes.landmarks.models import efficientnet, mobilenet_v2
from edgekd.recipes.landmarks.recipe import Recipe
from edgekd.registry import recipe_entry, recipes
from edgekd.toml import read_toml

PRESETS = [(recipe, preset) for recipe in recipes() for preset in config.presets(recipe)]


@pytest.mark.parametrize(("recipe", "preset"), PRESETS)
def test_every_preset_binds_and_survives_being_written(recipe, preset, tmp_path):
    found = config.resolve(recipe, preset)
    (tmp_path / "own.toml").write_text(config.dump(found))
    assert config.resolve(recipe, file=tmp_path / "own.toml") == found


def test_the_default_preset_exists():
    assert recipe_entry("landmarks").facts["default_preset"] in config.presets("landmarks")


def teachers(preset):
    found = config.resolve("landmarks", preset)
    return efficientnet(found.data.points, found.teacher.width, found.teacher.depth, found.teacher.dropout)


def test_the_paper_preset_has_the_published_sizes_and_schedule():
    found = config.resolve("landmarks", "paper")
    recipe = Recipe(found)
    assert weight_count(recipe.student(recipe.io_spec())) == 2_432_200  # A6
    assert weight_count(teachers("paper")) == 10_992_560
    assert found.student.input_size == 224
    assert (found.train.epochs, found.train.batch_size, found.train.learning_rate) == (150, 70, 1e-3)  # A7
    assert (found.train.schedule, found.train.weight_decay) == ("time-decay", 0)
    assert (found.teacher.use, found.teacher.dropout, found.teacher.variance) == ("both", 0.5, 0.95)


def test_the_paper_preset_waits_for_a_published_set_and_augments_as_the_authors_do():
    found = config.resolve("landmarks", "paper")
    assert found.data.source == ()
    own = found.augment
    assert (own.fit, own.rotation, own.scale, own.flip, own.occlusion) == ("points", 0.5, 0.0, 0.5, 0.0)  # A8


@pytest.mark.parametrize(
    ("kind", "points", "factor", "weights"),
    [("300w", 68, 6, 2_432_200), ("cofw", 29, 10, 2_332_282), ("wflw", 98, 5, 2_509_060)],
)
def test_a_published_set_decides_points_and_copies(kind, points, factor, weights):
    found = config.resolve("landmarks", "paper", settings=[f'data.source=["{kind}:somewhere"]'])
    assert (found.data.points, found.augment.factor) == (points, factor)
    recipe = Recipe(found)
    assert weight_count(recipe.student(recipe.io_spec())) == weights
    assert found.augment.fit == "points"  # what the preset says stays


def test_what_is_asked_for_wins_over_the_published_set(tmp_path):
    asked = ['data.source=["wflw:x"]', "data.points=68", "augment.factor=2"]
    found = config.resolve("landmarks", "paper", settings=asked)
    assert (found.data.points, found.augment.factor) == (68, 2)
    own = tmp_path / "own.toml"
    own.write_text(config.dump(config.resolve("landmarks", "paper", settings=asked[:1])))
    assert "points = 98" in own.read_text()
    assert config.resolve("landmarks", "quick", settings=asked[:1]).augment.factor == 1


@pytest.mark.parametrize("setting", ["data.source=5", "data=5", 'data.source=[5, "wflw:x"]', "augment=3"])
def test_values_of_another_type_are_refused_by_their_own_field(setting):
    settings = ['data.source=["wflw:x"]', setting] if setting.startswith("augment") else [setting]
    with pytest.raises(InputError, match=setting.partition("=")[0]):
        config.resolve("landmarks", settings=settings)


def test_the_recipes_own_line_about_the_student_is_true():
    recipe = Recipe(config.resolve("landmarks", "paper"))
    student = recipe.student(recipe.io_spec())
    text = f"MobileNetV2, {weight_count(student) / 1e6:.2f} M weights, "
    text += f"{macs(student, torch.zeros(1, 3, 224, 224)) / 1e9:.2f} GMAC at 224"
    assert recipe_entry("landmarks").facts["student"] == text


def test_the_quick_preset_is_as_small_as_it_says():
    found = config.resolve("landmarks", "quick")
    title = config.presets("landmarks")["quick"].read_text().splitlines()[0]
    assert (
        title
        == "# Small on purpose: 64-pixel input, student at width 0.5, teachers at a third of B3's width, drawn faces."
    )
    assert (found.student.input_size, found.student.width, found.data.source) == (64, 0.5, ("drawn",))
    assert found.teacher.width == pytest.approx(1.2 / 3)
    assert weight_count(teachers("quick")) < 10_992_560 / 8


def test_the_pictures_preset_waits_for_pictures_and_needs_no_teacher_of_ours():
    found = config.resolve("landmarks", "pictures")
    assert (found.data.source, found.teacher.use, found.teacher.black_box) == ((), "none", "dlib68")


def test_every_claimed_size_is_the_size_of_the_model_that_it_is_of():
    found = {}
    for claim in recipe_claims("landmarks").claim:
        if claim.kind != "size" or claim.paper != "KD-Loss" or claim.metric not in ("parameters", "parameters_bytes"):
            continue
        points = int(claim.conditions["points"])
        model = mobilenet_v2(points) if claim.conditions["model"] == "student" else efficientnet(points)
        count = weight_count(model)
        found[claim.id] = count if claim.metric == "parameters" else 4 * count
        assert found[claim.id] == claim.value, claim.id
    assert {found[f"student-parameters-{points}"] for points in (68, 98, 29)} == {2_432_200, 2_509_060, 2_332_282}
    assert 10_992_560 in found.values()


def test_every_claim_says_where_it_was_read():
    raw = read_toml(recipe_entry("landmarks").folder / "claims.toml")
    assert all(entry["source"].startswith(("[R]", "[L]", "[C]", "[M]")) for entry in raw["claim"])
