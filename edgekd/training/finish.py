"""The end of a run: the gate of the first arrow, and what ``export`` needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgekd.errors import GateError
from edgekd.measuring.quality import relative_loss
from edgekd.nn.cost import macs, weight_count
from edgekd.recipes.contract import Datasets, Stage
from edgekd.recipes.weights import save_weights
from edgekd.run import FILES, RunRecord, StageRecord, write_record
from edgekd.storage import sha256_file, write_arrays
from edgekd.training.judge import Judge

CAP_HELDOUT = 200  # samples; enough for a 2 % gate on pairs, small enough to travel
CAP_CALIBRATION = 128


def finish(
    folder: Path,
    record: RunRecord,
    records: list[StageRecord],
    student: Stage,
    datasets: Datasets,
    judge: Judge,
) -> None:
    """Gates teacher → student where a limit is set, and writes what ``export`` needs; ``complete`` comes last."""
    gate(records, judge, record.config["gate"]["teacher_to_student"])
    held = _spread(len(datasets.test), CAP_HELDOUT)
    arrays: dict[str, np.ndarray] = {}
    samples = [datasets.test.sample(i) for i in held]
    call = judge.caller(student.model)
    outputs = [call(judge.pipeline.preprocess(s.raw)) for s in samples]
    for part, rows in (
        ("raw", [s.raw for s in samples]),
        ("truth", [s.truth for s in samples]),
        ("student", outputs),
    ):
        for name in rows[0]:
            arrays[f"{part}/{name}"] = np.stack([r[name] for r in rows])
    write_arrays(folder / "heldout.npz", arrays)
    fitted = datasets.calibration or datasets.train
    chosen = [fitted.sample(i).raw for i in _spread(len(fitted), CAP_CALIBRATION)]
    write_arrays(folder / "calibration.npz", {f"raw/{n}": np.stack([r[n] for r in chosen]) for n in chosen[0]})
    save_weights(student.model, folder / "student.safetensors")
    example = [torch.from_numpy(judge.pipeline.preprocess(samples[0].raw)[t.name]) for t in judge.io.inputs]
    parameters = sum(p.numel() for p in student.model.parameters())
    facts = {
        "weights": weight_count(student.model),
        "parameters": parameters,
        "bytes": 4 * weight_count(student.model),  # fp32; batch counters are training's, not the student's
        "macs": macs(student.model, *example),
    }
    complete = record.model_copy(
        update={
            "status": "complete",
            "stages": tuple(records),
            "student": facts,
            "files": {name: sha256_file(folder / name) for name in FILES},
        }
    )
    write_record(folder, complete)


def gate(records: list[StageRecord], judge: Judge, limit: float | None) -> None:
    """Raises GateError where the student lost more of its best teacher's test score than the config allows."""
    name, higher = judge.metrics.primary, judge.metrics.higher_is_better
    teachers = [r.test[name] for r in records if r.role == "teacher"]
    if limit is None or not teachers:
        return
    best = max(teachers) if higher else min(teachers)
    student = next(r.test[name] for r in records if r.role == "student")
    loss = relative_loss(judge.metrics, best, student)
    if not loss <= limit:
        raise GateError(
            "the arrow teacher → student failed its gate",
            f"{name} went from {best:.4g} to {student:.4g} ({loss:+.1%}, gate.teacher_to_student allows {limit:+.1%})",
            "train longer, or a wider student; the stages are kept, the run is not complete",
        )


def _spread(size: int, cap: int) -> list[int]:
    """At most ``cap`` indices, evenly over the whole set."""
    return [int(i) for i in np.unique(np.linspace(0, size - 1, min(size, cap)).round())]
