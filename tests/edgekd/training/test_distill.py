"""The landmarks recipe with both teachers, dropout and a control, seconds small: taught, killed, resumed."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edgekd.conversion.calibration import RunCalibration
from edgekd.errors import GateError, InputError
from edgekd.recipes.landmarks import pictures
from edgekd.recipes.landmarks.recipe import Recipe
from edgekd.registry import recipe_part
from edgekd.run import Run, open_run, read_record, write_record
from edgekd.storage import read_json, write_json
from edgekd.training import finish as finishing
from edgekd.training.distill import distill

TAUGHT = (
    *("data.train=48", "data.val=8", "data.test=12", "student.input_size=32", "student.width=0.25"),
    *("teacher.width=0.2", "teacher.depth=0.2", "teacher.dropout=0.3", "teacher.epochs=2"),
    *("train.epochs=3", "train.batch_size=16", "train.precision=fp32"),
)
STAGES = ("tough", "tolerant", "student", "control")


@dataclass
class Taught:
    run: Run
    stages: list[Any]
    initial: dict[str, dict[str, torch.Tensor]]  # of every stage's model, before anything was trained

    def folder(self, stage: str) -> Path:
        return self.run.path / "stages" / stage


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A run with both teachers and a control, and the stages that it was walked with."""
    seen, initial = [], {}
    ours = Recipe.stages

    def stages(recipe, data, control):
        seen.extend(ours(recipe, data, control))
        for stage in seen:
            initial[stage.name] = {name: value.clone() for name, value in stage.model.state_dict().items()}
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "stages", stages)
        run = distill("landmarks", tmp_path_factory.mktemp("taught") / "run", settings=TAUGHT, control=True)
    return Taught(run, seen, initial)


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars: tag -> (step, value)."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def same_run(one: Run, other: Run, curves) -> None:
    """Equal in every bit that no clock has a part in."""
    assert one.sha256 == other.sha256
    for name in ("heldout.npz", "calibration.npz", "config.toml"):
        assert one.record.files[name] == other.record.files[name]
    for mine, theirs in zip(one.record.stages, other.record.stages, strict=True):
        clock = {"images_per_second": 0.0, "seconds": 0.0}
        assert mine.model_copy(update=clock) == theirs.model_copy(update=clock)
        folders = [run.path / "stages" / mine.name for run in (one, other)]
        weights = [(f / "best.safetensors").read_bytes() for f in folders]
        assert weights[0] == weights[1]
        assert curves(folders[0]) == curves(folders[1])


# --- killed and resumed


@pytest.mark.parametrize("where", ["tough: epoch 2", "student: epoch 1/", "control: epoch 2"])
def test_a_run_stopped_in_any_stage_resumes_to_the_same_bits(where, taught, curves, stop_at, stopped):
    out = taught.run.path.with_name("stopped-in-" + where.split(":")[0] + where[-2].strip())
    with pytest.raises(stopped):
        distill("landmarks", out, settings=TAUGHT, control=True, progress=stop_at(where))
    assert read_record(out).status == "training"
    told = []
    same_run(distill("landmarks", out, resume=True, progress=lambda what, share: told.append(what)), taught.run, curves)
    first = next(what for what in told if "epoch" in what)
    assert first.startswith(where), "finished epochs were trained again"


def test_a_killed_process_resumes_to_the_same_bits(taught, curves):
    out = taught.run.path.with_name("killed")
    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from edgekd.training.distill import distill\n"
        "distill('landmarks', sys.argv[1], settings=sys.argv[2:], control=True)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", program, str(out), *TAUGHT], env=environment)
    try:
        until = time.monotonic() + 60
        while not (out / "stages" / "student" / "last.ckpt").exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until, "its first epochs took a minute"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (out / "stages" / "student" / "stage.json").exists()
    told = []
    same_run(distill("landmarks", out, resume=True, progress=lambda what, share: told.append(what)), taught.run, curves)
    assert not any(what.startswith("student: epoch 1/") for what in told), "the finished epoch was trained again"


def test_resuming_a_complete_run_changes_nothing(taught):
    files = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in taught.run.path.rglob("*")}
    again = distill("landmarks", taught.run.path, resume=True, progress=lambda what, share: pytest.fail(what))
    assert again.record == taught.run.record
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in taught.run.path.rglob("*")} == files


@pytest.mark.parametrize(
    "options",
    [{"preset": "quick"}, {"settings": ["seed=1"]}, {"data": ["drawn"]}, {"config_file": "x"}, {"overwrite": True}],
)
def test_resume_takes_no_other_options(taught, options):
    with pytest.raises(InputError, match="takes its configuration from the run"):
        distill("landmarks", taught.run.path, resume=True, **options)


def test_resume_refuses_a_control_that_the_run_was_not_begun_with(tiny_run):
    with pytest.raises(InputError, match="trains no control"):
        distill("landmarks", tiny_run, resume=True, control=True)


def test_resume_refuses_another_recipes_run(line, tiny_run):
    with pytest.raises(InputError, match="is a run of landmarks, not of line"):
        distill(line, tiny_run, resume=True)


def test_resume_refuses_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match="is no run to resume"):
        distill("landmarks", tmp_path, resume=True)


def test_resume_refuses_other_data_and_a_config_of_another_version(line, tmp_path, stop_at, stopped, monkeypatch):
    out = tmp_path / "run"
    with pytest.raises(stopped):
        distill(line, out, settings=["train.precision=fp32"], progress=stop_at("student: epoch 2"))
    points = recipe_part(line, "recipe").Points
    with monkeypatch.context() as patch:
        patch.setattr(points, "fingerprint", property(lambda own: "changed" if len(own) == 64 else str(own.seed)))
        with pytest.raises(InputError, match=r"data .* has changed(.|\n)*in train"):
            distill(line, out, resume=True)
    record = read_record(out)
    write_record(out, record.model_copy(update={"config": {**record.config, "hiden": 3}}))
    with pytest.raises(InputError, match=r"run.json: unknown key 'hiden'(.|\n)*hidden"):
        distill(line, out, resume=True)
    write_record(out, record)
    assert distill(line, out, resume=True).record.status == "complete"


# --- teachers


def test_teachers_are_frozen_and_leave_the_students_stage_as_they_entered_it(taught):
    by_name = {stage.name: stage for stage in taught.stages}
    assert by_name["student"].frozen == {name: by_name[name].model for name in ("tough", "tolerant")}
    for name in ("tough", "tolerant"):
        model, saved = by_name[name].model, load_file(taught.folder(name) / "best.safetensors")
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
        for key, value in model.state_dict().items():
            assert torch.equal(value, saved[key]), key
        assert any(not torch.equal(value, taught.initial[name][key]) for key, value in saved.items()), "never trained"


def test_teachers_are_scored_before_the_students_first_step(taught):
    records = {record.name: record for record in taught.run.record.stages}
    scalars = logged(taught.folder("student"))
    for name in ("tough", "tolerant"):
        score = records["student"].teachers[name]
        assert score["nme"] == pytest.approx(records[name].best["nme"], rel=1e-4)
        assert scalars[f"teacher/{name}/nme"] == [(0, pytest.approx(score["nme"], rel=1e-5))]
    assert records["tough"].teachers == records["control"].teachers == {}


def test_every_stages_model_ends_in_fp32_contiguous_and_in_eval_mode(taught):
    for stage in taught.stages:
        assert not stage.model.training
        for name, value in stage.model.state_dict().items():
            assert value.device.type == "cpu"
            assert value.dtype == (torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
            assert value.stride() == torch.empty(value.shape).stride(), name


def test_the_control_is_the_student_that_a_run_without_teachers_trains(taught, curves):
    for key, value in taught.initial["student"].items():
        assert torch.equal(value, taught.initial["control"][key])
    alone = distill("landmarks", taught.run.path.with_name("alone"), settings=[*TAUGHT, "teacher.use=none"])
    assert curves(alone.path / "stages" / "student") == curves(taught.folder("control"))
    control = (taught.folder("control") / "best.safetensors").read_bytes()
    assert alone.weights.read_bytes() == control != taught.run.weights.read_bytes()
    names = {name for _, _, name, _ in curves(taught.folder("control"))}
    assert {n for n in names if n.startswith("train/")} == {"train/main", "train/loss"}


def test_a_control_without_teachers_is_refused_and_the_old_run_is_kept(tiny_run, copy_of):
    old = copy_of(tiny_run)
    with pytest.raises(InputError, match="--control compares with teachers"):
        distill("landmarks", old, settings=[*TAUGHT, "teacher.use=none"], control=True, overwrite=True)
    assert open_run(old).sha256 == open_run(tiny_run).sha256


# --- what is logged and recorded


def test_terms_scores_and_speed_are_logged_to_the_table_and_to_tensorboard(taught, curves):
    rows = curves(taught.folder("student"), timed=True)
    table = {}
    for epoch, step, name, value in rows:
        assert int(step) == 3 * (int(epoch) + 1)
        table.setdefault(name, []).append(float(value))
    terms = ("train/main", "train/tough", "train/tolerant")
    assert set(table) >= {*terms, "train/loss", "val/nme", "val/failure_rate@0.1", "images_per_second", "learning_rate"}
    for epoch in range(3):
        assert table["train/loss"][epoch] == pytest.approx(sum(table[term][epoch] for term in terms), rel=1e-5)
    assert min(table["images_per_second"]) > 0
    scalars = logged(taught.folder("student"))
    for name, values in table.items():
        assert [value for _, value in scalars[name]] == pytest.approx(values, rel=1e-5), name


def test_the_record_tells_each_stages_last_and_best_epoch(taught, curves):
    assert [record.name for record in taught.run.record.stages] == list(STAGES)
    for record in taught.run.record.stages:
        nme = [float(value) for _, _, name, value in curves(taught.folder(record.name)) if name == "val/nme"]
        assert len(nme) == record.epochs == (2 if record.role == "teacher" else 3)
        assert record.best["nme"] == nme[record.best_epoch] == min(nme)
        assert record.last["nme"] == nme[-1]
        assert record.images_per_second > 0
        assert record.precision == "32-true"


def test_the_record_holds_the_datas_fingerprint_and_the_students_size(taught):
    record = taught.run.record
    config = Recipe(recipe_part("landmarks", "config").Config.model_validate(record.config))
    data = config.datasets(taught.run.path.parent / "cache", lambda what, share: None)
    found = {name: getattr(data, name).fingerprint for name in ("train", "val", "test")}
    assert record.data["fingerprint"] == found
    assert len(set(found.values())) == 3
    assert record.student["weights"] == {r.name: r.weights for r in record.stages}["student"]
    floats = [v for k, v in load_file(taught.run.weights).items() if not k.endswith("num_batches_tracked")]
    assert record.student["weights"] == sum(value.numel() for value in floats)
    assert record.seed == 0
    assert record.versions["torch"] == torch.__version__


# --- held-out and calibration samples


def test_held_out_and_calibration_samples_are_capped_and_spread(line, tmp_path, monkeypatch):
    monkeypatch.setattr(finishing, "CAP_HELDOUT", 5)
    monkeypatch.setattr(finishing, "CAP_CALIBRATION", 7)
    run = distill(line, tmp_path / "run", settings=["teacher=none", "train.epochs=1", "train.precision=fp32"])
    points = recipe_part(line, "recipe").Points
    train, test = points(64, 0), points(24, 2)
    assert np.array_equal(run.calibration()["x"], train.x[[0, 10, 21, 32, 42, 52, 63]])
    assert np.array_equal(run.heldout().raw["x"], test.x[[0, 6, 12, 17, 23]])
    assert np.array_equal(run.heldout().truth["y"], test.y[[0, 6, 12, 17, 23]])


def test_small_sets_are_kept_whole_and_share_no_picture(taught):
    held, calibration = taught.run.heldout(), taught.run.calibration()
    assert len(held) == 12
    assert len(calibration["image"]) == 48
    tested, trained = ({hashlib.sha256(i.tobytes()).digest() for i in s["image"]} for s in (held.raw, calibration))
    assert len(tested) == 12
    assert len(trained) == 48
    assert not tested & trained
    assert len(RunCalibration(taught.run, recipe_part("landmarks", "pipeline").Pipeline(taught.run.record.io))) == 48


# --- a callable as teacher


@pytest.fixture
def labelled_folder(tmp_path, monkeypatch):
    """Ten pictures, a detector that finds the whole of each, and a module with a teacher."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for k in range(10):
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{k}.png")
    monkeypatch.setattr(pictures, "find_faces", lambda picture: [np.array([8, 8, 40, 40], np.float32)])
    code = "import numpy as np\ndef diagonal(picture, box):\n    return np.linspace(box[:2], box[2:], 68)\n"
    (tmp_path / "teacher_of_this_test.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield f"images:{tmp_path / 'photos'}"
    sys.modules.pop("teacher_of_this_test", None)


def test_a_callable_labels_once_named_and_again_only_when_named_again(labelled_folder, tmp_path, stop_at, stopped):
    named, out, source = "teacher_of_this_test:diagonal", tmp_path / "runs" / "own", [labelled_folder]
    settings, stop = [*TAUGHT, "teacher.use=none", "loss.hard=l1"], stop_at("student: epoch 2")
    with pytest.raises(stopped):
        distill("landmarks", out, settings=settings, data=source, teacher=named, progress=stop)
    del sys.modules["teacher_of_this_test"]
    with pytest.raises(InputError, match=rf"code is never run(.|\n)*--teacher {named}"):
        distill("landmarks", out, resume=True)
    with pytest.raises(InputError, match="not a run of the teacher dlib68"):
        distill("landmarks", out, resume=True, teacher="dlib68")
    assert "teacher_of_this_test" not in sys.modules, "what a run names was imported"
    run = distill("landmarks", out, resume=True, teacher=named)
    assert run.record.data["labels"]["teacher"] == run.record.config["teacher"]["black_box"] == named
    assert run.record.config["data"]["source"] == source
    points, boxes = run.heldout().truth["landmarks"], run.heldout().raw["box"]
    assert points[0] == pytest.approx(np.linspace(boxes[0][:2], boxes[0][2:], 68), abs=1e-3)


def test_a_callable_written_into_a_run_is_not_imported(tiny_run, copy_of):
    run = copy_of(tiny_run)
    record = read_json(run / "run.json")
    record["status"] = "training"
    record["config"]["teacher"]["black_box"] = "teacher_of_this_test:diagonal"
    write_json(run / "run.json", record)
    with pytest.raises(InputError, match="code is never run because a run folder names it"):
        distill("landmarks", run, resume=True)


def test_a_student_that_loses_more_of_its_best_teacher_than_its_gate_allows_ends_the_road(tiny_run):
    (record,) = open_run(tiny_run).record.stages
    judge = SimpleNamespace(metrics=recipe_part("landmarks", "metrics").METRICS)  # all that the gate asks of it

    def stage(role: str, nme: float) -> Any:
        return record.model_copy(update={"role": role, "test": {"nme": nme}})

    stages = [stage("teacher", 5.0), stage("teacher", 4.0), stage("student", 4.4)]
    finishing.gate(stages, judge, 0.11)
    finishing.gate(stages, judge, None)
    with pytest.raises(GateError, match="teacher → student") as caught:
        finishing.gate(stages, judge, 0.09)
    assert "4 to 4.4 (+10.0%" in caught.value.why


def test_the_gate_of_the_first_arrow_is_asked_before_the_run_is_complete(tiny_config, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(finishing, "gate", lambda records, judge, limit: asked.append(limit))
    out = tmp_path / "run"
    distill("landmarks", out, config_file=tiny_config, settings=["gate.teacher_to_student=0.5"])
    assert asked == [0.5]
