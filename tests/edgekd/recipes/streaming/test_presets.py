"""The presets are the paper's sizes, and the claims' counts are true of them."""

import pytest
import torch

from edgekd import config
from edgekd.measuring.claims import recipe_claims
from edgekd.nn.cost import macs
from edgekd.nn.folding import fold_batchnorm
from edgekd.recipes.streaming.recipe import Recipe
from edgekd.registry import recipe_entry


def claimed(name: str) -> float:
    return next(claim.value for claim in recipe_claims("streaming").claim if claim.id == name)


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_a_papers_preset_is_the_claimed_model(size):
    recipe = Recipe(config.resolve("streaming", f"paper-{size}"))
    io = recipe.io_spec()
    with torch.device("meta"):
        student = recipe.student(io)
        step = macs(fold_batchnorm(student), *(torch.zeros(t.shape) for t in io.inputs))
    assert sum(p.numel() for p in student.parameters()) == pytest.approx(claimed(f"parameters-{size}"), rel=3e-4)
    assert step == pytest.approx(claimed(f"macs-{size}"), rel=0.01)


def test_the_factor_of_distillation_is_each_sizes_own():
    found = [config.resolve("streaming", f"paper-{size}").loss for size in "sml"]
    assert [(loss.kd_class, loss.kd_object, loss.kd_box) for loss in found] == [(0.2,) * 3, (0.4,) * 3, (0.1,) * 3]


def test_the_default_preset_exists():
    assert recipe_entry("streaming").facts["default_preset"] in config.presets("streaming")
