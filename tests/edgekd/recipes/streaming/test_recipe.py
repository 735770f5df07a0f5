from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from edgekd.errors import InputError
from edgekd.recipes.contract import Datasets, SetTeacher
from edgekd.recipes.streaming import recipe as module
from edgekd.recipes.streaming.config import Config
from edgekd.recipes.streaming.models import StillDetector, StreamDetector
from edgekd.recipes.streaming.recipe import Recipe
from edgekd.recipes.streaming.teacher import Teacher
from edgekd.recipes.weights import save_weights

SIZE = (40, 72)
SMALL = {"depth": 0.33, "width": 0.0625, "neck_blocks": 1}


class Frames:
    """Four samples of noise, each with one box now and one in the next frame."""

    fingerprint = "noise"

    def __len__(self) -> int:
        return 4

    def batch(self, keys):
        generator = torch.Generator().manual_seed(sum(index for _, index in keys))
        frames = 255 * torch.rand(len(keys), 5, 3, *SIZE, generator=generator)
        now = torch.tensor([[[2, 30.0, 20.0, 20.0, 16.0], [-1, 0, 0, 0, 0]]]).repeat(len(keys), 1, 1)
        after = now + torch.tensor([0, 6.0, 0, 0, 0])
        return {"frames": frames[:, 1:], "next_frame": frames[:, 0], "boxes": after, "support": now}

    def sample(self, index):
        raise NotImplementedError


DATA = Datasets(Frames(), Frames(), Frames())


def configured(**sections) -> Config:
    student = {**SMALL, "input_height": SIZE[0], "input_width": SIZE[1], **sections.pop("student", {})}
    teacher = {**SMALL, "neck": "drfpn", **sections.pop("teacher", {})}
    return Config(student=student, teacher=teacher, **sections)


def stages(control: bool = False, **sections):
    return {stage.name: stage for stage in Recipe(configured(**sections)).stages(DATA, control)}


def test_a_teacher_is_trained_then_the_student_learns_from_it_and_its_control_does_not():
    found = stages(control=True)
    assert [(name, stage.role) for name, stage in found.items()] == [
        ("teacher", "teacher"),
        ("student", "student"),
        ("control", "control"),
    ]
    assert found["student"].frozen == {"teacher": found["teacher"].model}
    assert not found["control"].frozen
    assert isinstance(found["teacher"].model, SetTeacher)
    student, control = (found[name].model.state_dict() for name in ("student", "control"))
    assert all(torch.equal(student[name], control[name]) for name in student)


def test_without_a_teacher_there_is_nothing_to_compare_with():
    assert list(stages(teacher={"use": "none"})) == ["student"]
    with pytest.raises(InputError, match="--control compares with a teacher"):
        stages(control=True, teacher={"use": "none"})


class Spy(nn.Module):
    """Remembers what it was shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.shown = inner, []

    def forward(self, image):
        self.shown.append(image)
        return self.inner(image)


def spied(monkeypatch, **sections):
    """The student's step, its terms, and what was seen and asked for."""
    truths = []
    real = module.detection_terms

    def terms(raw, sizes, truth, config, now=None, teacher=None):
        truths.append((truth, now))
        return real(raw, sizes, truth, config, now, teacher)

    monkeypatch.setattr(module, "detection_terms", terms)
    recipe = Recipe(configured(**sections))
    spy = Spy(recipe._new_teacher())
    batch = DATA.train.batch([(0, 1), (0, 2)])
    found = recipe._student_stage("student", spy, DATA.train).step(batch)
    return batch, found, spy.shown[0], *truths[0]


def test_the_student_learns_the_next_frames_boxes_and_the_teacher_is_shown_that_frame(monkeypatch):
    batch, terms, shown, truth, now = spied(monkeypatch)
    assert set(terms) == {"box", "object", "class", "l1", "kd_class", "kd_object", "kd_box"}
    assert torch.equal(shown, batch["next_frame"])
    assert torch.equal(truth, batch["boxes"])
    assert torch.equal(now, batch["support"])


def test_without_forecasting_both_see_this_frame_and_its_boxes_are_learned(monkeypatch):
    batch, _, shown, truth, now = spied(monkeypatch, student={"forecast": False})
    assert torch.equal(shown, batch["frames"][:, 0])
    assert torch.equal(truth, batch["support"])
    assert now is None


@pytest.mark.parametrize(
    ("student", "kind"),
    [({}, StreamDetector), ({"past": 0}, StillDetector), ({"forecast": False}, StillDetector)],
)
def test_every_parameter_of_a_student_gets_a_gradient(student, kind):
    stage = stages(teacher={"use": "none"}, student=student)["student"]
    assert isinstance(stage.model, kind)
    sum(stage.step(DATA.train.batch([(0, 0), (0, 3)])).values()).backward()
    assert [name for name, p in stage.model.named_parameters() if p.grad is None] == []


def test_the_teacher_is_judged_on_the_frame_after_each_sample():
    teacher = Recipe(configured())._new_teacher().train()
    said = teacher.judged(DATA.val)["predictions"]
    assert teacher.training
    teacher.eval()
    with torch.no_grad():
        want = teacher.network(DATA.val.batch([(0, 2)])["next_frame"])
    assert said.shape[0] == 4
    assert torch.allclose(torch.from_numpy(said[2:3]), want, atol=1e-5)


@pytest.mark.parametrize("of", ["the network", "a run's stage"])
def test_a_teacher_of_ones_own_weights_is_not_trained_again(of, tmp_path):
    trained = Recipe(configured(seed=7))._new_teacher()
    save_weights(trained.network if of == "the network" else trained, tmp_path / "teacher.safetensors")
    found = stages(teacher={"black_box": str(tmp_path / "teacher.safetensors")})
    assert list(found) == ["student"]
    teacher, image = found["student"].frozen["teacher"], torch.rand(1, 3, *SIZE)
    assert torch.equal(teacher.eval()(image), trained.eval()(image))
    with pytest.raises(InputError, match="another model's weights"):
        stages(teacher={"width": 0.125, "black_box": str(tmp_path / "teacher.safetensors")})


class Foreign(nn.Module):
    """Somebody else's detector: all that is known of it is what it says."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.inner = network

    def forward(self, image):
        return self.inner(image)


def test_probabilities_of_a_foreign_teacher_are_taken_back_to_logits():
    own = Recipe(configured())._new_teacher().eval()
    foreign = Teacher(Foreign(own.network))
    image = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        assert torch.allclose(foreign(image), own(image), atol=1e-3)


def test_a_student_starts_from_weights_of_its_own_shape(tmp_path):
    recipe = Recipe(configured(seed=9))
    save_weights(recipe.student(recipe.io_spec()), tmp_path / "init.safetensors")
    started = stages(student={"init": str(tmp_path / "init.safetensors")})["student"]
    assert torch.equal(
        started.model.head.levels[0].box.weight, recipe.student(recipe.io_spec()).head.levels[0].box.weight
    )
    assert started.starts_from["source"] == "init.safetensors"


def rates(steps: int, **train) -> list[float]:
    stage = stages(train={"epochs": 4, "batch_size": 64, "learning_rate": 0.1, **train})["student"]
    optimizer = stage.optimizer(stage.model.parameters())
    schedule, found = stage.schedule(optimizer, steps), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_as_coded_falls_to_its_end_at_once_and_as_intended_along_a_cosine():
    coded, intended = rates(40), rates(40, schedule="cosine")
    assert coded[:10] == intended[:10] == pytest.approx([0.1 * (k / 10) ** 2 for k in range(1, 11)])
    assert coded[10:] == pytest.approx([0.005] * 30)
    assert intended[10] == pytest.approx(0.1)
    assert intended[25] == pytest.approx((0.1 + 0.005) / 2)
    assert intended[39] == pytest.approx(0.005, abs=3e-4)
    assert all(a > b for a, b in pairwise(intended[10:]))


def test_the_rate_grows_with_the_batch():
    assert rates(8, batch_size=128, warm_up=0.0)[0] == pytest.approx(2 * rates(8, warm_up=0.0)[0])


def test_convolutions_weights_alone_decay():
    stage = stages(train={"weight_decay": 0.3})["student"]
    decaying, others = stage.optimizer(stage.model.parameters()).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.3, 0)
    assert {p.dim() for p in decaying["params"]} == {4}
    assert {p.dim() for p in others["params"]} == {1}


def test_the_average_reaches_its_decay_along_a_ramp():
    decay = stages(train={"average": 0.9, "average_ramp": 10})["student"].average
    assert decay(1) == pytest.approx(0.9 * 0.0951626)
    assert decay(1000) == pytest.approx(0.9)
    assert stages(train={"average": 0.0})["student"].average is None


def test_the_io_spec_carries_a_third_of_half_the_channels_for_each_of_three_frames():
    io = Recipe(Config()).io_spec()
    assert {t.name: t.shape for t in io.inputs} == {
        "image": (1, 3, 600, 960),
        "past_8": (1, 63, 75, 120),
        "past_16": (1, 126, 38, 60),
        "past_32": (1, 255, 19, 30),
        "started": (1,),
    }
    assert io.outputs[0].shape == (1, 11_850, 13)
    assert set(io.state.values()) == {"past_8", "past_16", "past_32", "started"}


def test_l_carries_both_projections():
    io = Recipe(Config(student={"width": 1.0, "depth": 1.0, "neck_ratio": 1.0, "own_last": True})).io_spec()
    assert [io.input(f"past_{s}").shape[1] for s in (8, 16, 32)] == [
        2 * a + 3 * b for a, b in ((42, 44), (85, 86), (170, 172))
    ]


def test_a_still_student_has_no_state():
    io = Recipe(configured(student={"forecast": False})).io_spec()
    assert ([t.name for t in io.inputs], [t.name for t in io.outputs], io.state) == (["image"], ["predictions"], {})


def test_a_student_takes_the_io_specs_inputs_and_gives_its_outputs():
    recipe = Recipe(configured())
    io = recipe.io_spec()
    with torch.no_grad():
        outputs = recipe.student(io).eval()(*(torch.zeros(t.shape) for t in io.inputs))
    assert [tuple(o.shape) for o in outputs] == [t.shape for t in io.outputs]


@pytest.mark.parametrize("student", [{"own_last": True, "past": 1}, {"width": 0.01}, {"input_height": 41}])
def test_shapes_that_are_none_are_refused(student):
    with pytest.raises(ValueError, match=r"past|channels|multiple"):
        configured(student=student)
