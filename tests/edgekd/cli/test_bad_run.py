"""Runs that are half written, changed, of another recipe or made to harm: refused in words, and left as they are."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest


@pytest.fixture(params=["export", "eval", "bench"])
def use(request, edgekd, tmp_path):
    """Each verb that takes a run; nothing is written for one that is refused."""

    def call(run: object):
        out = tmp_path / "out"
        more = {
            "export": ["--target", "onnxruntime", "--out", out],
            "eval": [],
            "bench": ["--length", "quick", "--out", out],
        }
        ended = edgekd(request.param, run, *more[request.param])
        assert not out.exists()
        return ended

    return call


@pytest.fixture
def begun(copy_of, edit_json, tiny_run):
    """``tiny_run`` as if it had been killed after its last epoch, before the stage's record was written."""
    run = copy_of(tiny_run)
    edit_json(run / "run.json", lambda r: r | {"status": "training", "stages": [], "files": {}, "student": {}})
    for name in ("student.safetensors", "heldout.npz", "calibration.npz", "stages/student/stage.json"):
        (run / name).unlink()
    return run


def test_half_written_run_is_told_how_to_go_on(use, begun, snapshot):
    before = snapshot(begun)
    ended = use(begun)
    assert ended.code == 2
    assert "is not finished" in ended.err
    assert f"edgekd distill landmarks --out {begun} --resume" in ended.err
    assert snapshot(begun) == before


def test_half_written_run_is_finished_by_resume(edgekd, begun, tiny_run):
    from edgekd.run import open_run

    assert edgekd("distill", "landmarks", "--out", begun, "--resume").code == 0
    assert open_run(begun).sha256 == open_run(tiny_run).sha256


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda r: r | {"schema_version": 99}, ("run schema 99", "reads up to", "pip install --upgrade edgekd")),
        (lambda r: r | {"schema_version": "1"}, ("run.json is damaged", "schema_version")),
        (lambda r: [r], ("run.json is damaged",)),
        (lambda r: r | {"status": "done"}, ("run.json is damaged", "status")),
        (lambda r: {k: v for k, v in r.items() if k != "io"}, ("run.json is damaged", "io")),
        (lambda r: r | {"files": {}}, ("has changed",)),
        (lambda r: r | {"recipe": "shoes"}, ("no recipe 'shoes'",)),
    ],
)
@pytest.mark.parametrize("verb", ["export", "eval"])
def test_run_record_that_cannot_be_read_is_refused(edgekd, copy_of, edit_json, tiny_run, tmp_path, verb, change, parts):
    run = copy_of(tiny_run)
    edit_json(run / "run.json", change)
    more = ["--target", "onnxruntime", "--out", tmp_path / "b"] if verb == "export" else []
    edgekd(verb, run, *more).says(2, *parts)


def test_record_cut_off_in_the_middle_is_refused_by_every_verb(edgekd, copy_of, tiny_run, tmp_path):
    run = copy_of(tiny_run)
    text = (run / "run.json").read_text(encoding="utf-8")
    (run / "run.json").write_text(text[: len(text) // 2], encoding="utf-8")
    for verb in (
        ["export", run, "--target", "onnxruntime"],
        ["eval", run],
        ["distill", "landmarks", "--out", run, "--resume"],
        ["report", run, "--out", tmp_path / "r.html"],
    ):
        edgekd(*verb).says(2, "run.json is damaged", "not valid JSON")
    assert not (tmp_path / "r.html").exists()


def test_config_in_a_run_that_this_recipe_does_not_know_is_refused(edgekd, copy_of, edit_json, tiny_run):
    run = copy_of(tiny_run)
    edit_json(run / "run.json", lambda r: r | {"config": r["config"] | {"studnet": {}}})
    edgekd("eval", run).says(2, "unknown key 'studnet'", 'did you mean "student"?')


@pytest.mark.parametrize("name", ["student.safetensors", "heldout.npz", "calibration.npz", "config.toml"])
def test_file_of_a_run_that_is_missing_or_changed_is_named(edgekd, copy_of, tiny_run, name):
    run = copy_of(tiny_run)
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    edgekd("eval", run).says(2, f"{name} has changed", "sha256")
    (run / name).unlink()
    edgekd("eval", run).says(2, f"{name} is missing")


def _rewrite_weights(path, change):
    from safetensors.torch import load_file, save_file

    state = load_file(path)
    save_file(change(state), path)


def _one_nan(state):
    name = next(k for k, v in state.items() if v.is_floating_point())
    state[name].view(-1)[0] = float("nan")
    return state


def test_nan_weights_are_refused_by_name(edgekd, copy_of, forge, tiny_run, tmp_path):
    run = copy_of(tiny_run)
    _rewrite_weights(run / "student.safetensors", _one_nan)
    forge(run, "student.safetensors")
    edgekd("eval", run).says(2, "has NaN or infinity in")
    edgekd("export", run, "--target", "onnxruntime", "--out", tmp_path / "b").says(2, "has NaN or infinity in")
    assert not (tmp_path / "b").exists()


def test_weights_of_another_width_are_refused(edgekd, copy_of, forge, tiny_run, tmp_path):
    from edgekd.recipes.landmarks.models import mobilenet_v2
    from edgekd.recipes.weights import save_weights

    run = copy_of(tiny_run)
    save_weights(mobilenet_v2(68, 0.35), run / "student.safetensors")
    forge(run, "student.safetensors")
    edgekd("eval", run).says(2, "holds another model's weights", "tensors differ")
    edgekd("export", run, "--target", "openvino", "--out", tmp_path / "b").says(2, "another model's weights")


def test_weights_that_break_off_are_refused(edgekd, copy_of, forge, tiny_run):
    run = copy_of(tiny_run)
    content = (run / "student.safetensors").read_bytes()
    (run / "student.safetensors").write_bytes(content[: len(content) // 2])
    forge(run, "student.safetensors")
    edgekd("eval", run).says(2, "cannot read the weights")


class _Bomb:
    """Unpickled, it makes the file it was given."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("verb", ["eval", "export"])
def test_pickle_in_heldout_data_is_refused_and_never_run(edgekd, copy_of, forge, tiny_run, tmp_path, verb):
    run, trap = copy_of(tiny_run), tmp_path / "trap"
    held = dict(np.load(run / "heldout.npz"))
    held["raw/image"] = np.array([_Bomb(trap)] * len(held["raw/box"]), dtype=object)
    np.savez(run / "heldout.npz", **held)
    forge(run, "heldout.npz")
    more = ["--target", "onnxruntime", "--out", tmp_path / "b"] if verb == "export" else []
    edgekd(verb, run, *more).says(2, "heldout.npz", "objects, not arrays")
    assert not trap.exists()


def test_pickle_in_calibration_data_is_refused_and_never_run(edgekd, copy_of, forge, tiny_run, tmp_path):
    run, trap = copy_of(tiny_run), tmp_path / "trap"
    np.savez(run / "calibration.npz", **{"raw/image": np.array([_Bomb(trap)] * 3, dtype=object)})
    forge(run, "calibration.npz")
    out = tmp_path / "b"
    ended = edgekd("export", run, "--target", "onnxruntime", "--precision", "int8", "--out", out)
    ended.says(2, "calibration.npz", "objects, not arrays")
    assert not trap.exists()
    assert not out.exists()


def test_heldout_data_without_samples_is_refused(edgekd, copy_of, forge, tiny_run):
    run = copy_of(tiny_run)
    np.savez(run / "heldout.npz", x=np.zeros(3))
    forge(run, "heldout.npz")
    edgekd("eval", run).says(2, "held-out data is incomplete")


def test_resume_refuses_a_run_of_another_recipe(edgekd, begun, edit_json, snapshot):
    edit_json(begun / "run.json", lambda r: r | {"recipe": "shoes"})
    before = snapshot(begun)
    edgekd("distill", "landmarks", "--out", begun, "--resume").says(2, "a run of shoes, not of landmarks", "--resume")
    assert snapshot(begun) == before


def test_resume_refuses_what_is_no_run_and_other_options(edgekd, begun, snapshot, tmp_path):
    edgekd("distill", "landmarks", "--out", tmp_path / "none", "--resume").says(2, "is no run to resume")
    before = snapshot(begun)
    for more in (["--set", "seed=1"], ["--preset", "quick"], ["--data", "drawn"], ["--overwrite"]):
        edgekd("distill", "landmarks", "--out", begun, "--resume", *more).says(2, "configuration from the run")
    edgekd("distill", "landmarks", "--out", begun, "--resume", "--control").says(2, "without --control")
    edgekd("distill", "landmarks", "--out", begun, "--resume", "--teacher", "dlib68").says(2, "dlib68")
    assert snapshot(begun) == before


def test_resume_refuses_other_data_than_it_was_begun_with(edgekd, begun, edit_json, snapshot):
    def other(record):
        record["data"]["fingerprint"]["train"] = "0" * 64
        return record

    edit_json(begun / "run.json", other)
    before = snapshot(begun)
    edgekd("distill", "landmarks", "--out", begun, "--resume").says(2, "has changed since", "train")
    assert snapshot(begun) == before


def _pickle(path, trap):
    import torch

    torch.save({"state_dict": {"x": _Bomb(trap)}}, path)


def _cut(path, trap):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _other_width(path, trap):
    import torch

    from edgekd.recipes.landmarks.models import mobilenet_v2

    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"] = {f"model.{k}": v for k, v in mobilenet_v2(68, 0.35).state_dict().items()}
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ("damage", "part"),
    [(_pickle, "is no checkpoint"), (_cut, "is no checkpoint"), (_other_width, "is another model's")],
)
def test_resume_refuses_a_checkpoint_that_is_none_of_its_own(edgekd, begun, snapshot, tmp_path, damage, part):
    trap = tmp_path / "trap"
    damage(begun / "stages" / "student" / "last.ckpt", trap)
    weights = begun / "stages" / "student" / "best.safetensors"
    before = weights.read_bytes()
    edgekd("distill", "landmarks", "--out", begun, "--resume").says(2, "last.ckpt", part, "the stage begins again")
    assert not trap.exists()
    assert weights.read_bytes() == before
    if damage is _cut:  # once is enough: the remedy that the message names must work
        shutil.rmtree(begun / "stages" / "student")
        assert edgekd("distill", "landmarks", "--out", begun, "--resume").code == 0


def test_resume_refuses_a_damaged_stage_record(edgekd, begun):
    (begun / "stages" / "student" / "stage.json").write_text('{"name": 3}', encoding="utf-8")
    edgekd("distill", "landmarks", "--out", begun, "--resume").says(2, "stage.json is damaged")


@pytest.mark.parametrize("status", ["training", "complete"])
def test_code_that_only_a_run_names_is_never_imported(
    edgekd, copy_of, edit_json, tiny_run, tmp_path, monkeypatch, status
):
    trap = tmp_path / "trap"
    (tmp_path / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nlabel = None\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    run = copy_of(tiny_run)

    def poison(record):
        record["config"]["teacher"]["black_box"] = "evil:label"
        record["config"]["data"]["source"] = [f"images:{tmp_path}"]
        return record | {"status": status}

    edit_json(run / "run.json", poison)
    ended = edgekd("distill", "landmarks", "--out", run, "--resume")
    if status == "training":
        ended.says(2, "evil:label", "code is never run because a run folder names it")
    edgekd("eval", run, "--threads", 1)
    assert not trap.exists()
    assert "evil" not in sys.modules
