import json
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.errors import InputError
from edgekd.recipes.contract import Datasets
from edgekd.recipes.tryon.config import Config
from edgekd.recipes.tryon.fakes import StudentSet, draw_fakes
from edgekd.recipes.tryon.recipe import Recipe
from edgekd.recipes.weights import load_weights, save_weights

STAGE = {"epochs": 1, "decay": 1, "batch_size": 2, "learning_rate": 1e-3}
SMALL = {
    "height": 96,
    "width": 64,
    "data": {"source": ["wardrobe:6"], "val": 2, "test": 4},
    "student": {"width": 0.25, "generator": 0.25, "pyramid": 16, "head": 8},
    "teacher": {"width": 0.125},
    "train": {
        "precision": "fp32",
        "fakes": 1,
        **dict.fromkeys(("teacher_warp", "teacher", "student_warp", "student"), STAGE),
    },
}
ALL = ["teacher-warp", "teacher", "student-warp", "student", "control-warp", "control"]
WARPING = {"l1", "perceptual", "edge", "curvature", "roughness"}
RENDERING = {"tryon", "tryon_perceptual", "rendered", "rendered_perceptual", "mask"}
SKIN = {"skin", "skin_perceptual"}
DISTILLED = {"features", "flows", "_teacher_better"}


def config(**sections):
    merged = {**SMALL}
    for name, values in sections.items():
        merged[name] = {**SMALL.get(name, {}), **values} if isinstance(values, dict) else values
    return Config.model_validate(merged)


def quiet(what, share):
    pass


def begun(stage, folder):
    """As training begins it."""
    for teacher in stage.frozen.values():
        teacher.eval().requires_grad_(False)
    if stage.prepare:
        stage.prepare(folder, quiet)
    stage.model.train()
    return stage


@pytest.fixture
def recipe(tmp_path):
    made = Recipe(config())
    made._cache = tmp_path
    return made


def batch_of(stage, data):
    return (stage.samples or data.train).batch([(0, 0), (0, 1)])


def test_the_stages_their_roles_and_their_terms(recipe, wardrobe, tmp_path):
    stages = recipe.stages(wardrobe, control=True)
    assert [stage.name for stage in stages] == ALL
    assert [stage.role for stage in stages] == [
        *("preparation", "teacher", "preparation", "student", "preparation", "control")
    ]
    terms = [set(begun(stage, tmp_path).step(batch_of(stage, wardrobe))) for stage in stages]
    assert terms == [
        WARPING - {"perceptual"},
        WARPING | RENDERING,
        WARPING | DISTILLED,
        WARPING | RENDERING | SKIN | DISTILLED,
        WARPING,
        WARPING | RENDERING | SKIN,
    ]


@pytest.mark.parametrize("name", ALL)
def test_a_step_of_any_stage_lowers_its_loss_and_moves_its_own_model_alone(recipe, wardrobe, tmp_path, name):
    stages = {stage.name: stage for stage in recipe.stages(wardrobe, control=True)}
    for stage in stages.values():
        begun(stage, tmp_path)
        if stage.name == name:
            break
    batch = batch_of(stage, wardrobe)
    teacher = {key: value.clone() for key, value in stages["teacher"].model.state_dict().items()}
    optimizer = stage.optimizer(stage.model.parameters())
    losses = []
    for _ in range(4):
        terms = stage.step(batch)
        loss = sum(value for term, value in terms.items() if not term.startswith("_"))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert min(losses[1:]) < losses[0]
    if name.startswith(("student", "control")):
        after = stages["teacher"].model.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in teacher.items())


def test_a_second_half_goes_on_from_the_first_ones_weights(recipe, wardrobe, tmp_path):
    stages = {stage.name: stage for stage in recipe.stages(wardrobe, control=True)}
    for first, second in (("teacher-warp", "teacher"), ("student-warp", "student"), ("control-warp", "control")):
        half, whole = stages[first].model, stages[second].model.warping
        for parameter in half.parameters():
            torch.nn.init.constant_(parameter, 0.25)
        begun(stages[second], tmp_path)
        assert all(torch.equal(a, b) for a, b in zip(half.parameters(), whole.parameters(), strict=True))


def test_student_and_control_begin_with_the_same_weights(recipe, wardrobe):
    stages = {stage.name: stage.model.state_dict() for stage in recipe.stages(wardrobe, control=True)}
    for student, control in (("student-warp", "control-warp"), ("student", "control")):
        assert all(torch.equal(stages[student][name], stages[control][name]) for name in stages[student])


def test_end_to_end_the_warping_half_learns_at_a_fifth_of_the_rate_and_all_decays_to_zero(recipe, wardrobe):
    student = recipe.stages(wardrobe, control=False)[-1]
    optimizer = student.optimizer(student.model.parameters())
    rates = {len(group["params"]): group["lr"] for group in optimizer.param_groups}
    own = sum(1 for _ in student.model.warping.parameters())
    assert rates[own] == pytest.approx(0.2 * STAGE["learning_rate"])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == sum(1 for _ in student.model.parameters())
    schedule = student.schedule(optimizer, 10)
    seen = []
    for _ in range(10):
        seen.append(optimizer.param_groups[0]["lr"] / STAGE["learning_rate"])
        optimizer.step()
        schedule.step()
    assert seen[:6] == [1.0] * 6
    assert seen[6:] == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert optimizer.param_groups[0]["lr"] == 0


def test_kept_pictures_are_the_teachers_in_eight_bits_and_epochs_go_round_them(recipe, wardrobe, tmp_path):
    teacher = recipe.stages(wardrobe, control=False)[1].model.eval()
    kept = StudentSet(wardrobe.train, 2)
    kept.keep(teacher, tmp_path, quiet)
    batch = kept.batch([(1, 3), (5, 3)])
    fake, edge = draw_fakes(teacher, wardrobe.train.batch([(1, 3)]))
    assert float((batch["fake"][0] - fake[0]).abs().max()) <= 0.5 / 127.5 + 1e-6
    assert float((batch["fake_edge"][0] - edge[0]).abs().max()) <= 0.5 / 255 + 1e-6
    assert torch.equal(batch["fake"][0], batch["fake"][1])
    assert batch["epoch"].tolist() == [1, 5]


def test_kept_pictures_are_drawn_once_for_a_teacher_and_again_for_another(recipe, wardrobe, tmp_path):
    teacher = recipe.stages(wardrobe, control=False)[1].model
    told = []
    for _ in range(2):
        StudentSet(wardrobe.train, 1).keep(teacher, tmp_path, lambda what, share: told.append(share))
    first = len(told)
    assert first > 0
    torch.nn.init.constant_(teacher.generator.last[1].weight, 0.1)
    StudentSet(wardrobe.train, 1).keep(teacher, tmp_path, lambda what, share: told.append(share))
    assert len(told) == 2 * first
    assert len(list(tmp_path.glob("fakes-*"))) == 2


def test_a_teacher_that_was_trained_before_is_loaded_and_not_trained(recipe, wardrobe, tmp_path):
    teacher = recipe.stages(wardrobe, control=False)[1].model
    torch.nn.init.constant_(teacher.generator.last[1].weight, 0.1)
    save_weights(teacher, tmp_path / "teacher.safetensors")
    again = Recipe(config(teacher={"weights": str(tmp_path / "teacher.safetensors")}))
    stages = again.stages(wardrobe, control=False)
    assert [stage.name for stage in stages] == ["student-warp", "student"]
    loaded = stages[-1].frozen["teacher"].state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in teacher.state_dict().items())


def test_the_two_graphs_take_and_give_what_their_io_specs_say(recipe):
    io = recipe.io_spec()
    student = recipe.student(io).eval()
    graphs = recipe.graphs(student, io)
    assert list(graphs) == ["garment", "frame"]
    given = {tensor.name: torch.rand(tensor.shape) for tensor in io.inputs}
    (garment, first), (frame, second) = graphs.values()
    with torch.no_grad():
        held = garment(*(given[tensor.name] for tensor in first.inputs))
        assert [tuple(value.shape) for value in held] == [tensor.shape for tensor in first.outputs]
        filled = dict(zip((tensor.name for tensor in first.outputs), held, strict=True))
        assert {f"garment/{name}" for name in filled} == set(second.held.values())
        feeds = [
            given[t.name] if t.name in given else filled[second.held[t.name].partition("/")[2]] for t in second.inputs
        ]
        whole = student(*(given[tensor.name] for tensor in io.inputs))
        assert all(torch.equal(a, b) for a, b in zip(frame(*feeds), whole, strict=True))
    assert second.outputs == io.outputs
    assert [tensor.name for tensor in second.fed] == ["person"]


def test_the_run_says_which_perceptual_distance_and_which_teacher_it_had(tmp_path, wardrobe):
    recipe = Recipe(config(data={"cache": str(tmp_path)}))
    assert "garment encoder" in recipe.datasets(tmp_path, quiet).provenance["perceptual"]["network"]
    teacher = recipe.stages(wardrobe, control=False)[1].model
    save_weights(teacher, tmp_path / "t.safetensors")
    again = Recipe(config(data={"cache": str(tmp_path)}, teacher={"weights": str(tmp_path / "t.safetensors")}))
    assert len(again.datasets(tmp_path, quiet).provenance["teacher"]["sha256"]) == 64


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_presets_are_whole(preset):
    from edgekd import config as configuration

    found = configuration.resolve("tryon", preset, None, [])
    if preset == "paper":
        assert found.student == Config().student
        assert found.teacher.width == 1
        assert (found.height, found.width) == (256, 192)
        batches = [
            getattr(found.train, name).batch_size for name in ("teacher_warp", "teacher", "student_warp", "student")
        ]
        assert batches == [18, 14, 8, 6]
        assert found.train == Config().train


def test_four_stages_and_the_control_are_one_command_that_is_gone_on_with(tmp_path):
    """Killed in the student's warping stage; the stages before it are not trained again."""
    from edgekd import config as configuration
    from edgekd.training.distill import distill

    file = tmp_path / "tiny.toml"
    once = {name: {**STAGE, "decay": 0} for name in ("teacher_warp", "teacher", "student_warp", "student")}
    data = {"source": ["wardrobe:4"], "val": 1, "test": 2, "cache": str(tmp_path / "cache")}
    file.write_text(configuration.dump(config(data=data, train=once)), encoding="utf-8")

    def stop(what, share):
        if what.startswith("student-warp"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill("tryon", tmp_path / "run", config_file=file, control=True, progress=stop)
    told = []
    run = distill("tryon", tmp_path / "run", resume=True, progress=lambda what, share: told.append(what))
    assert not any(what.startswith("teacher") for what in told)
    assert [stage.name for stage in run.record.stages] == ALL
    student = next(stage for stage in run.record.stages if stage.role == "student")
    assert set(student.teachers) == {"teacher"}
    assert all(np.isfinite(stage.test["ssim"]) for stage in run.record.stages)
    own = Recipe(config()).student(run.record.io)
    load_weights(own, run.weights)
    assert json.loads((run.path / "run.json").read_text())["data"]["perceptual"]


def test_the_true_warp_teaches_the_teacher_alone_where_it_is_asked_for(tmp_path):
    asked = Recipe(config(loss={"true_warp": 2.0}))
    data = asked.datasets(tmp_path, quiet)
    found = {stage.name: stage for stage in asked.stages(data, control=False)}
    terms = {name: set(begun(stage, tmp_path).step(batch_of(stage, data))) for name, stage in found.items()}
    assert [name for name, own in terms.items() if "true_warp" in own] == ["teacher-warp", "teacher"]


def test_people_of_a_published_set_have_no_true_warp():
    asked = Recipe(config(loss={"true_warp": 2.0}, data={"source": ["viton:somewhere"]}))
    with pytest.raises(InputError, match="knows no true warp"):
        asked.datasets(Path("unused"), quiet)


def test_a_stage_says_how_long_a_gradient_may_be():
    made = Recipe(config(train={"teacher_warp": {**STAGE, "clip": 3.0}}))
    data = Datasets(None, None, None)
    assert [stage.clip for stage in made.stages(data, control=False)] == [3.0, None, None, None]


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_a_warping_half_that_learns_no_more_stays_as_it_is(name, tmp_path):
    asked = Recipe(config(train={"warp_rate": 0.0}))
    data = asked.datasets(tmp_path, quiet)
    stage = begun({s.name: s for s in asked.stages(data, control=False)}[name], tmp_path)
    terms = stage.step(batch_of(stage, data))
    assert not WARPING & set(terms)
    optimizer = stage.optimizer(stage.model.parameters())
    before = {key: value.clone() for key, value in stage.model.state_dict().items()}
    sum(terms.values()).backward()
    optimizer.step()
    moved = {key for key, value in stage.model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert all(key.startswith("generator") for key in moved)


def test_some_of_a_stages_settings_leave_the_others_as_published():
    from edgekd import config as configuration

    found = configuration.resolve("tryon", settings=["train.student.epochs=3", "train.teacher_warp.decay=1"])
    assert (found.train.student.epochs, found.train.student.batch_size) == (3, 6)
    assert (found.train.teacher_warp.decay, found.train.teacher_warp.batch_size) == (1, 18)
