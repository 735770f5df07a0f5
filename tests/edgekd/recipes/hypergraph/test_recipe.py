import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgekd.errors import InputError
from edgekd.recipes.hypergraph.losses import vertex_loss
from edgekd.recipes.hypergraph.recipe import Recipe, Teacher


@pytest.fixture
def made(tiny, tmp_path):
    """``made(section={...})``: a recipe, its data and its stages, the student's prepared."""

    def make(control=False, **sections):
        recipe = Recipe(tiny(**sections))
        data = recipe.datasets(tmp_path, lambda what, share: None)
        stages = recipe.stages(data, control)
        for stage in stages:
            stage.model.eval()
            if stage.prepare is not None:
                (tmp_path / stage.name).mkdir(exist_ok=True)
                stage.prepare(tmp_path / stage.name, lambda what, share: None)
        return recipe, data, stages

    return make


def whole(stage):
    return stage.samples.batch([(0, index) for index in range(len(stage.samples))])


def test_teachers_come_first_and_the_student_holds_them_frozen(made):
    _, _, stages = made(control=True, teacher={"count": 3, "model": "both"})
    assert [(s.name, s.role) for s in stages] == [
        ("teacher-1", "teacher"),
        ("teacher-2", "teacher"),
        ("teacher-3", "teacher"),
        ("student", "student"),
        ("control", "control"),
    ]
    assert [s.model.model for s in stages[:3]] == ["hgnn", "hgnn+", "hgnn"]
    assert list(stages[3].frozen) == ["teacher-1", "teacher-2", "teacher-3"]
    first, *others = (s.model.network.first.weight for s in stages[:3])
    assert not any(torch.equal(first, other) for other in others)


def test_without_teachers_the_student_learns_labels_and_has_no_control(made):
    _, _, (student,) = made(teacher={"count": 0})
    assert set(student.step(whole(student))) == {"labels"}
    with pytest.raises(InputError, match="--control compares with teachers"):
        made(control=True, teacher={"count": 0})


def test_the_control_is_the_same_student_on_the_same_vertices(made):
    _, _, (_, student, control) = made(control=True)
    for one, other in zip(student.model.state_dict().values(), control.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert len(control.samples) == len(student.samples) == 240
    assert control.batch_size == student.batch_size == 240


def test_the_teacher_sees_the_whole_hypergraph_and_learns_the_shown_labels(made):
    _, data, (teacher, _) = made()
    (part,) = teacher.samples.parts
    logits = teacher.model(part.view)
    assert logits.shape == (240, 3)
    loss = F.cross_entropy(logits[part.places], torch.from_numpy(part.labels))
    assert teacher.step(whole(teacher))["labels"].item() == pytest.approx(loss.item())
    assert len(teacher.samples) == 15
    judged = teacher.model.judged(data.test)["logits"]
    assert judged == pytest.approx(logits.detach().numpy()[data.test.parts[0].places], abs=1e-6)


@pytest.mark.parametrize("form", ["kl", "released"])
def test_the_student_minimises_the_distance_to_what_its_teacher_said_once(made, form, tmp_path):
    _, _, (teacher, student) = made(loss={"form": form})
    batch = whole(student)
    said = teacher.model.judged(student.samples)["logits"]
    assert np.array_equal(np.load(tmp_path / "student" / "soft.npy")[:, 0], said)
    assert isinstance(student.samples.soft, np.memmap)
    loss = vertex_loss(student.model(batch["x"]), torch.from_numpy(said), form)
    terms = student.step(batch)
    assert set(terms) == {"soft"}
    assert terms["soft"].item() == pytest.approx(loss.item(), rel=1e-6)


def test_labels_take_their_share_of_the_loss_and_soft_targets_the_rest(made):
    _, _, (_, alone) = made()
    _, _, (_, mixed) = made(loss={"labels": 0.25})
    pure, both = alone.step(whole(alone)), mixed.step(whole(mixed))
    assert both["soft"].item() == pytest.approx(0.75 * pure["soft"].item(), rel=1e-5)
    batch = whole(mixed)
    shown = batch["label"] >= 0
    cross = F.cross_entropy(mixed.model(batch["x"])[shown], batch["label"][shown])
    assert both["labels"].item() == pytest.approx(0.25 * cross.item(), rel=1e-5)


def test_a_batch_without_any_label_has_no_nan(made):
    _, _, (_, student) = made(loss={"labels": 0.5}, train={"batch_size": 2})
    unlabelled = [(0, i) for i in range(240) if student.samples.parts[0].labels[i] < 0][:2]
    assert all(torch.isfinite(term) for term in student.step(student.samples.batch(unlabelled)).values())


def test_the_plus_form_adds_hyperedges_that_are_as_reliable_as_the_teacher_is_steady(made, tmp_path):
    _, _, (_, student) = made(loss={"hyperedges": True})
    rho = np.load(tmp_path / "student" / "reliability.npy")
    assert rho.min() == 0
    assert rho.max() <= 1
    for keys in ([(0, i) for i in range(240)], [(0, i) for i in range(0, 240, 7)]):
        terms = student.step(student.samples.batch(keys))
        assert set(terms) == {"soft", "hyperedges"}
        assert all(torch.isfinite(term) for term in terms.values())


def test_without_noise_every_hyperedge_is_reliable(made, tmp_path):
    made(loss={"hyperedges": True, "noise": 0.0})
    assert (np.load(tmp_path / "student" / "reliability.npy") == 1).all()


def test_no_teacher_gets_a_gradient_from_the_students_step(made):
    _, _, (teacher, student) = made(loss={"hyperedges": True})
    sum(student.step(whole(student)).values()).backward()
    assert all(parameter.grad is None for parameter in teacher.model.parameters())
    assert all(parameter.grad is not None for parameter in student.model.parameters())


def test_feature_dropout_is_for_training_and_leaves_the_student_as_it_is(made):
    recipe, _, (_, student) = made(student={"feature_dropout": 0.5})
    x = torch.rand(4, 12)
    assert torch.equal(student.model.eval()(x), student.model(x))
    plain, _, _ = made()
    assert set(plain.student(plain.io_spec()).state_dict()) == set(recipe.student(recipe.io_spec()).state_dict())
    student.model.train()
    assert not torch.equal(student.model(x), student.model(x))


def test_a_published_split_keeps_the_last_epoch(made, npz, arrays):
    file = npz(train_splits=np.array([[0, 1]]))
    data = {"source": [f"npz:{file}"], "split": "published"}
    assert {stage.keeps for stage in made(data=data)[2]} == {"last"}
    assert {stage.keeps for stage in made()[2]} == {"best"}


def test_a_teacher_in_production_says_something_else_of_a_vertex_in_the_whole_hypergraph(made):
    _, data, (teacher, _) = made(data={"setting": "production", "unseen": 0.4})
    assert isinstance(teacher.model, Teacher)
    said, (seen, _, again) = teacher.model.judged(data.test)["logits"], data.test.parts
    first, last = said[: len(seen.places)], said[-len(again.places) :]
    assert np.array_equal(seen.labels, again.labels)
    assert not np.allclose(first, last)


def test_the_io_spec_is_the_datas_and_the_student_is_the_io_specs(made, tiny):
    recipe, _, _ = made()
    io = recipe.io_spec()
    assert (io.inputs[0].shape, io.outputs[0].shape) == (("rows", 12), ("rows", 3))
    assert Recipe(tiny()).student(io)(torch.rand(7, 12)).shape == (7, 3)
