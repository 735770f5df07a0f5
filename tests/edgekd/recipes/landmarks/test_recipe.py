from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgekd.errors import InputError
from edgekd.nn.cost import weight_count
from edgekd.recipes.landmarks.config import AugmentConfig, Config
from edgekd.recipes.landmarks.data import FaceSet
from edgekd.recipes.landmarks.recipe import Recipe
from edgekd.recipes.landmarks.shape_model import ShapeModel

SMALL = {
    "student": {"width": 0.25, "input_size": 32},
    "teacher": {"width": 0.2, "depth": 0.2, "dropout": 0.0},
    "train": {"batch_size": 8},
}


def config(**sections):
    merged = {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in {*SMALL, *sections}}
    return Config.model_validate(merged)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 255, (20, 40, 40, 3), dtype=np.uint8)
    points = rng.uniform(8, 32, (20, 68, 2)).astype(np.float32)
    boxes = np.tile(np.array([4, 4, 36, 36], np.float32), (20, 1))
    faces = FaceSet(images, points, boxes, augment=AugmentConfig(), seed=0, input_size=32)
    return SimpleNamespace(train=faces, val=faces, test=faces)


@pytest.mark.parametrize(
    ("use", "names"),
    [
        ("both", ["tough", "tolerant", "student"]),
        ("tough", ["tough", "student"]),
        ("tolerant", ["tolerant", "student"]),
        ("none", ["student"]),
    ],
)
def test_the_teachers_in_use_are_stages_and_terms_of_the_loss(data, use, names):
    stages = Recipe(config(teacher={"use": use})).stages(data, control=False)
    assert [stage.name for stage in stages] == names
    student = stages[-1]
    assert set(student.frozen) == set(names[:-1])
    assert set(student.step(data.train.batch([(0, 0), (0, 1)]))) == {"main", *names[:-1]}


def test_no_teacher_gets_a_gradient_from_the_students_step(data):
    *teachers, student = Recipe(config()).stages(data, control=False)
    sum(student.step(data.train.batch([(0, 0), (0, 1)])).values()).backward()
    assert all(parameter.grad is None for stage in teachers for parameter in stage.model.parameters())
    assert all(parameter.grad is not None for parameter in student.model.parameters())


def test_the_tough_teacher_learns_the_labels_and_the_tolerant_one_the_smoothed_labels(data):
    tough, tolerant, _ = Recipe(config(teacher={"variance": 0.8})).stages(data, control=False)
    labels = data.train.batch([(0, index) for index in range(len(data.train))])["landmarks"]
    shapes = ShapeModel.fit(labels, 0.8)
    batch = data.train.batch([(3, 1), (3, 4), (3, 5)])
    for stage, target in ((tough, batch["landmarks"]), (tolerant, shapes.smooth(batch["landmarks"]))):
        stage.model.eval()
        (term,) = stage.step(batch).values()
        assert term.item() == pytest.approx(F.mse_loss(stage.model(batch["image"]), target).item(), rel=1e-6)
    assert F.mse_loss(shapes.smooth(batch["landmarks"]), batch["landmarks"]) > 1e-3, "smoothing changed nothing"


def test_the_control_is_the_same_student_from_the_same_weights_without_teacher_terms(data):
    *_, student, control = Recipe(config(student={"width": 0.25})).stages(data, control=True)
    assert (student.role, control.role) == ("student", "control")
    assert control.model is not student.model
    for one, other in zip(student.model.state_dict().values(), control.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert (control.epochs, control.batch_size, control.schedule) == (
        student.epochs,
        student.batch_size,
        student.schedule,
    )
    assert control.frozen == {}
    assert set(control.step(data.train.batch([(0, 0), (0, 1)]))) == {"main"}


def test_a_control_needs_teachers(data):
    with pytest.raises(InputError, match="--control"):
        Recipe(config(teacher={"use": "none"})).stages(data, control=True)


def test_teachers_start_apart_and_the_seed_decides_where(data):
    def weights(seed):
        recipe = Recipe(Config.model_validate({**config().model_dump(), "seed": seed}))
        return [stage.model.state_dict() for stage in recipe.stages(data, control=False)]

    first, again, other = weights(0), weights(0), weights(1)
    for one, same, different in zip(first, again, other, strict=True):
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not torch.equal(one["head.weight"], different["head.weight"])
    assert not torch.equal(first[0]["head.weight"], first[1]["head.weight"])


def test_making_models_does_not_move_the_global_random_state(data):
    before = torch.get_rng_state()
    Recipe(config()).stages(data, control=True)
    assert torch.equal(torch.get_rng_state(), before)


# --- schedules


def rates(schedule, steps, train):
    """The learning rate of every step, and the one after the last."""
    (stage,) = Recipe(config(teacher={"use": "none"}, train={"schedule": schedule, **train})).stages(
        None, control=False
    )
    optimizer = stage.optimizer(stage.model.parameters())
    scheduler = stage.schedule(optimizer, steps)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_time_decay_is_keras_per_step():
    assert rates("time-decay", 50, {"learning_rate": 1e-3}) == pytest.approx(
        [1e-3 / (1 + 1e-4 * step) for step in range(51)]
    )


def test_the_cosine_warms_up_falls_and_ends_at_zero():
    found = rates("cosine", 100, {"learning_rate": 2e-3})
    assert found[:5] == pytest.approx([2e-3 * k / 5 for k in range(1, 6)])
    assert max(found) == pytest.approx(2e-3)
    assert all(later < earlier for earlier, later in pairwise(found[5:]))
    assert found[52] == pytest.approx(1e-3, rel=0.02)  # half way down
    assert found[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_cosine_of_a_few_steps_still_moves(steps):
    assert rates("cosine", steps, {})[0] > 0


def test_adam_takes_the_configured_rate_and_decay():
    train = {"learning_rate": 0.02, "weight_decay": 0.3}
    (stage,) = Recipe(config(teacher={"use": "none"}, train=train)).stages(None, control=False)
    group = stage.optimizer(stage.model.parameters()).param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.02, 0.3, (0.9, 0.999))


# --- io spec


def test_the_io_spec_is_the_students_input_and_output():
    recipe = Recipe(config(student={"input_size": 48}))
    io = recipe.io_spec()
    assert [tensor.shape for tensor in io.inputs] == [(1, 3, 48, 48)]
    with torch.inference_mode():
        assert tuple(recipe.student(io).eval()(torch.zeros(1, 3, 48, 48)).shape) == io.outputs[0].shape == (1, 136)


def test_students_of_one_seed_are_equal():
    recipes = Recipe(config()), Recipe(config())
    one, other = (recipe.student(recipe.io_spec()) for recipe in recipes)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert weight_count(one) == weight_count(other)
