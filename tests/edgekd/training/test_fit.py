import ast
import dataclasses
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edgekd.errors import GateError, InputError
from edgekd.registry import recipe_part
from edgekd.run import open_run, read_record
from edgekd.training import fit
from edgekd.training.distill import distill

ROOT = Path(__file__).parents[3]
FAST = ("train.precision=fp32",)


def test_the_best_epochs_weights_are_exported_and_not_the_last_ones(line, tmp_path, curves):
    settings = [*FAST, "teacher=none", "train.epochs=7", "train.learning_rate=0.15"]
    run = distill(line, tmp_path / "run", settings=settings)
    folder, record = run.path / "stages" / "student", run.record.stages[0]
    scores = [float(value) for _, _, name, value in curves(folder) if name == "val/r2"]
    assert record.best_epoch == scores.index(max(scores)) < 6, "the test needs a run whose last epoch is not its best"
    assert record.best["r2"] == max(scores)
    assert record.last["r2"] == scores[-1]
    exported = load_file(run.weights)
    last = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    assert not torch.equal(exported["layers.0.weight"], last["model.layers.0.weight"])
    student = recipe_part(line, "recipe").Line(8)
    student.load_state_dict(exported)
    points = recipe_part(line, "recipe").Points(16, 1)
    with torch.no_grad():
        found = [{"y": y} for y in student(torch.tensor(points.x), torch.tensor(points.gain))]
    score = recipe_part(line, "metrics").METRICS.compute(found, [points.sample(i).truth for i in range(16)])
    assert score["r2"] == pytest.approx(max(scores), abs=1e-6)


def test_where_less_is_better_the_least_is_the_best(line, tmp_path, curves, monkeypatch):
    metrics = recipe_part(line, "metrics").METRICS
    monkeypatch.setattr(metrics, "higher_is_better", False)
    run = distill(line, tmp_path / "run", settings=[*FAST, "teacher=none"])
    scores = [float(value) for _, _, name, value in curves(run.path / "stages" / "student") if name == "val/r2"]
    assert run.record.stages[0].best["r2"] == min(scores) < max(scores)


def test_a_loss_that_is_no_number_stops_the_run_and_names_stage_and_epoch(line, tmp_path):
    with pytest.raises(GateError, match=r"teacher diverged: the loss is (nan|inf)(.|\n)*epoch \d+, batch \d+"):
        distill(line, tmp_path / "run", settings=[*FAST, "train.learning_rate=1e20"])
    assert read_record(tmp_path / "run").status == "training"
    assert not (tmp_path / "run" / "student.safetensors").exists()
    with pytest.raises(InputError, match="is not finished"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("clip", [None, 1e-9])
def test_a_gradient_is_no_longer_than_a_stage_allows(clip, line, tmp_path, monkeypatch):
    recipe = recipe_part(line, "recipe").Recipe
    made, fresh = recipe.stages, {}

    def stages(self, data, control):
        found = [
            dataclasses.replace(s, clip=clip, schedule=None, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
            for s in made(self, data, control)
        ]
        fresh.update({name: value.clone() for name, value in found[0].model.state_dict().items()})
        return found

    monkeypatch.setattr(recipe, "stages", stages)
    run = distill(line, tmp_path / "run", settings=[*FAST, "teacher=none", "train.epochs=1"])
    moved = max(float((value - fresh[name]).abs().max()) for name, value in load_file(run.weights).items())
    assert moved < 1e-6 if clip else moved > 1e-3


def test_the_choice_of_bf16_is_kept_when_a_stage_is_resumed(line, tmp_path, monkeypatch, stop_at, stopped):
    monkeypatch.setattr(fit, "faster_precision", lambda stage, batch: "bf16-mixed")
    with pytest.raises(stopped):
        distill(line, tmp_path / "run", settings=["teacher=none"], progress=stop_at("student: epoch 2"))
    monkeypatch.setattr(fit, "faster_precision", lambda stage, batch: pytest.fail("decided anew"))
    run = distill(line, tmp_path / "run", resume=True)
    assert run.record.stages[0].precision == "bf16-mixed"


@pytest.mark.parametrize(("asked", "used"), [("fp32", "32-true"), ("bf16", "bf16-mixed")])
def test_the_config_forces_the_precision(line, tmp_path, monkeypatch, asked, used):
    monkeypatch.setattr(fit, "faster_precision", lambda stage, batch: pytest.fail("measured"))
    settings = ["teacher=none", "train.epochs=1", f"train.precision={asked}"]
    run = distill(line, tmp_path / "run", settings=settings)
    assert run.record.stages[0].precision == used
    assert {value.dtype for value in load_file(run.weights).values()} == {torch.float32}


def test_bf16_gives_other_weights_than_fp32(line, tmp_path):
    settings = ["teacher=none", "train.epochs=1"]
    runs = [
        distill(line, tmp_path / precision, settings=[*settings, f"train.precision={precision}"])
        for precision in ("fp32", "bf16")
    ]
    assert runs[0].sha256 != runs[1].sha256


def test_ctrl_c_reaches_the_caller_and_works_again_afterwards(line, tmp_path, stop_at):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        distill(line, tmp_path / "run", settings=FAST, progress=stop_at("student: epoch 2", KeyboardInterrupt))
    assert signal.getsignal(signal.SIGINT) is before
    assert distill(line, tmp_path / "run", resume=True).record.status == "complete"


def test_a_run_moved_before_it_is_resumed_ends_with_the_same_weights(line, tmp_path, stop_at, stopped):
    settings = [*FAST, "teacher=none", "train.epochs=7", "train.learning_rate=0.15"]
    straight = distill(line, tmp_path / "straight", settings=settings)
    with pytest.raises(stopped):
        distill(line, tmp_path / "begun", settings=settings, progress=stop_at("student: epoch 6"))
    assert (tmp_path / "begun" / "stages" / "student" / "last.ckpt").is_file()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "begun").rename(tmp_path / "elsewhere" / "moved")
    resumed = distill(line, tmp_path / "elsewhere" / "moved", resume=True)
    assert resumed.sha256 == straight.sha256
    assert resumed.record.stages[0].best_epoch == straight.record.stages[0].best_epoch < 4, "best before it moved"


def test_checkpoints_and_weights_hold_no_objects(line, tmp_path):
    run = distill(line, tmp_path / "run", settings=[*FAST, "train.epochs=1"])
    for name in ("teacher", "student"):
        found = torch.load(run.path / "stages" / name / "last.ckpt", weights_only=True)
        assert len(found["history"]) == 1


def test_nothing_in_the_tree_loads_a_pickle():
    calls = 0
    patterns = (
        "edgekd/**/*.py",
        "targets/**/*.py",
        "examples/**/*.py",
        "benchmarks/*.py",
    )  # not what a benchmark installs
    for file in [p for pattern in patterns for p in ROOT.glob(pattern)]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            for name in (module, *names):
                assert name.partition(".")[0] not in ("pickle", "joblib", "dill", "cloudpickle"), file
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in ("torch.load", "trainer.fit"):
                assert keywords.get("weights_only") == "True", f"{file}:{node.lineno}"
                calls += 1
            if called == "np.load":
                assert keywords.get("allow_pickle", "False") == "False", f"{file}:{node.lineno}"
            assert not called.endswith("load_from_checkpoint"), file
    assert calls >= 2, "the calls that this test is about have other names now"
