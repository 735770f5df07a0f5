"""Two processes under gloo, started by torchrun and by edgekd itself, beside one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from edgekd.errors import InputError, MachineError
from edgekd.run import open_run, read_record, write_record
from edgekd.training.distill import distill
from edgekd.training.ranks import Processes
from edgekd.training.resume import resumable

HERE = Path(__file__).parent
THIRD_PARTY = HERE.parents[1] / "third_party"
TINY = ("train.epochs=2", "teacher.epochs=2", "train.batch_size=16", "train.precision=fp32", "train.learning_rate=0.01")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The runs of ``many.py`` by one process (NAME-1) and by two under torchrun (NAME-2)."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "photos").mkdir()
    for k in range(70):
        Image.fromarray(np.full((48, 48, 3), k, np.uint8)).save(folder / "photos" / f"{k:02}.png")
    about = folder / "site" / "many-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: many\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[edgekd.recipes]\nmany = edgekd_many\n")
    paths = [str(folder / "site"), str(THIRD_PARTY), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    script = [str(HERE / "many.py"), str(folder)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for launcher in ([], torchrun):
        command = [sys.executable, *launcher, *script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student.safetensors")


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def test_two_processes_train_what_one_trains_where_batchnorm_is_in_eval_mode(trained):
    one, two = (trained / f"still-{count}" for count in (1, 2))
    assert largest_difference(weights(one), weights(two)) <= 1e-5
    records = [open_run(run).record for run in (one, two)]
    assert [record.processes for record in records] == [1, 2]
    assert records[0].data["fingerprint"] == records[1].data["fingerprint"]
    for mine, theirs in zip(*(record.stages for record in records), strict=True):
        assert mine.best_epoch == theirs.best_epoch
        assert mine.test["r2"] == pytest.approx(theirs.test["r2"], abs=1e-4)


def test_ranks_hold_the_same_bits_where_batchnorm_is_in_training_mode_buffers_included(trained):
    for stage in ("teacher", "student"):
        ranks = [load_file(trained / "moving-2" / "stages" / stage / f"rank{rank}.safetensors") for rank in (0, 1)]
        assert largest_difference(*ranks) == 0
    assert "layers.1.running_var" in ranks[0]
    apart = largest_difference(weights(trained / "moving-1"), weights(trained / "moving-2"))
    assert apart > 1e-4, "each process normalises by its own half of the batch, so they cannot be equal"


def test_running_statistics_are_of_every_ranks_data(trained):
    """Of one process's they would be as far off as half of the data is from the whole."""
    one, two = (weights(trained / f"moving-{count}") for count in (1, 2))
    for name in ("layers.1.running_mean", "layers.1.running_var"):
        torch.testing.assert_close(one[name], two[name], rtol=0.15, atol=0.05)


def test_pictures_are_labelled_once_by_all_ranks(trained):
    asked = [(trained / f"asked-2-{rank}.txt").read_text().split() for rank in (0, 1)]
    assert min(map(len, asked)) > 0
    assert sorted(int(k) for part in asked for k in part) == list(range(70))
    runs = [open_run(trained / f"labelled-{count}" / "run").record for count in (1, 2)]
    assert runs[0].data["fingerprint"] == runs[1].data["fingerprint"]
    assert sorted(p.name[:6] for p in (trained / "labelled-2" / "cache" / "landmarks").iterdir()) == ["images"]


def test_nothing_is_left_beside_the_runs(trained):
    assert not list(trained.rglob(".*"))


@pytest.fixture
def many(install):
    install("[edgekd.recipes]\nmany = edgekd_many\n")


def test_ctrl_c_and_a_killed_rank_end_all_and_what_follows_has_the_same_bits(trained, many, tmp_path):
    """Started by edgekd itself, from a process that is no script."""
    run, together = tmp_path / "run", {"devices": 2, "accelerator": "cpu"}

    def interrupts(what: str, share: float) -> None:
        if what.startswith("teacher: epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill("many", run, settings=TINY, progress=interrupts, **together)
    assert not psutil.Process().children()
    killed = []

    def kills(what: str, share: float) -> None:
        if what.startswith("student: epoch 1") and not killed:
            killed.append(psutil.Process().children()[1])
            killed[0].send_signal(signal.SIGKILL)

    with pytest.raises(MachineError, match="process 1 of the run was killed by SIGKILL"):
        distill("many", run, resume=True, progress=kills, **together)
    assert not psutil.Process().children()
    with pytest.raises(InputError, match=r"begun by 2 processes, not by 1(.|\n)*--devices 2"):
        distill("many", run, resume=True)
    told = []
    distill("many", run, resume=True, progress=lambda what, share: told.append(what), **together)
    assert not any(what.startswith("teacher: epoch 1") for what in told)
    for name in ("student.safetensors", "heldout.npz", "calibration.npz"):
        assert (run / name).read_bytes() == (trained / "still-2" / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("site",)] == ["run"]


def test_another_number_of_processes_does_not_go_on_with_a_run(trained, tmp_path):
    shutil.copytree(trained / "still-1", tmp_path / "run")
    write_record(tmp_path / "run", read_record(tmp_path / "run").model_copy(update={"status": "training"}))
    with pytest.raises(InputError, match="begun by 1 processes, not by 2"):
        resumable(tmp_path / "run", "many", False, None, 2)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"devices": 0}, InputError, "0 devices on 1 nodes"),
        ({"accelerator": "tpu"}, InputError, "--accelerator 'tpu' is unknown"),
        ({"strategy": "fsdp"}, InputError, "--strategy 'fsdp' is unknown"),
    ],
)
def test_processes_that_cannot_be_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        Processes(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_exit_4():
    with pytest.raises(MachineError, match=r"needs as many GPUs(.|\n)*torch finds 0(.|\n)*--accelerator cpu"):
        Processes(accelerator="gpu")


def test_nodes_are_started_from_outside(monkeypatch):
    with pytest.raises(InputError, match=r"started by torchrun or srun(.|\n)*--nnodes 2 --nproc-per-node 3"):
        Processes(devices=3, nodes=2, accelerator="cpu").must_be_launched()
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert not Processes(devices=3, nodes=2, accelerator="cpu").must_be_launched()
    with pytest.raises(InputError, match="6 processes were started for 1"):
        Processes(accelerator="cpu").must_be_launched()


def test_slurm_is_known_by_its_steps_and_not_by_its_batch_script(monkeypatch):
    batch = {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in {**batch, "SLURM_NTASKS_PER_NODE": "1", "SLURM_NODEID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert not Processes().must_be_launched(), "the batch script's own process is alone"
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert not Processes(devices=1, nodes=2, accelerator="cpu").must_be_launched()
    with pytest.raises(InputError, match="2 processes were started for 1"):
        Processes().must_be_launched()
