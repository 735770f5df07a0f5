"""The end of a run: the gate of the first arrow, and what ``export`` needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgekd.bundle.sequences import InOrder, begins
from edgekd.bundle.session import zero_state
from edgekd.contracts import Arrays
from edgekd.errors import GateError
from edgekd.measuring.quality import relative_loss
from edgekd.nn.cost import macs, weight_count
from edgekd.recipes.contract import Datasets, Pipeline, SampleSet, Stage
from edgekd.recipes.weights import save_weights
from edgekd.run import FILES, RunRecord, StageRecord, write_record
from edgekd.storage import sha256_file, write_arrays
from edgekd.training.judge import Judge

# Of each file: so many samples, enough for a 2 % gate on pairs, and so many bytes before compression.
CAP_HELDOUT, BYTES_HELDOUT = 200, 256 << 20
CAP_CALIBRATION, BYTES_CALIBRATION = 128, 128 << 20
FRAMES = 40  # of one run of samples that follow each other, at most: several scenes are seen, each for a while


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
    session, first = judge.session(student.model), datasets.test.sample(0)
    said = session.run(judge.pipeline.preprocess(first.raw))
    cap = _fitting(CAP_HELDOUT, BYTES_HELDOUT, first.raw, first.truth, said)
    samples = [datasets.test.sample(i) for i in _chosen(datasets.test, cap, judge)]
    ordered = InOrder(session, judge.pipeline)
    arrays: dict[str, np.ndarray] = {}
    for part, rows in (
        ("raw", [s.raw for s in samples]),
        ("truth", [s.truth for s in samples]),
        ("student", [ordered.outputs(s.raw) for s in samples]),
    ):
        for name in rows[0]:
            arrays[f"{part}/{name}"] = np.stack([r[name] for r in rows])
    write_arrays(folder / "heldout.npz", arrays)
    fitted = datasets.calibration or datasets.train
    cap = _fitting(CAP_CALIBRATION, BYTES_CALIBRATION, fitted.sample(0).raw)
    chosen = [fitted.sample(i).raw for i in _chosen(fitted, cap, judge)]
    write_arrays(folder / "calibration.npz", {f"raw/{n}": np.stack([r[n] for r in chosen]) for n in chosen[0]})
    save_weights(student.model, folder / "student.safetensors")
    feeds = {**judge.pipeline.preprocess(first.raw), **zero_state(judge.io)}
    example = [torch.from_numpy(feeds[t.name]) for t in judge.io.inputs]
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


def _fitting(most: int, most_bytes: int, *sample: Arrays) -> int:
    """How many samples of this size a file takes; at least two."""
    size = sum(np.asarray(value).nbytes for part in sample for value in part.values())
    return min(most, max(2, most_bytes // max(1, size)))


def _chosen(samples: SampleSet, cap: int, judge: Judge) -> list[int]:
    """At most ``cap`` indices: evenly over the whole set, or whole runs of frames where the student has state."""
    return _runs(samples, cap, judge.pipeline) if judge.io.state else _spread(len(samples), cap)


def _spread(size: int, cap: int) -> list[int]:
    """At most ``cap`` indices, evenly over the whole set."""
    return [int(i) for i in np.unique(np.linspace(0, size - 1, min(size, cap)).round())]


def _runs(samples: SampleSet, cap: int, pipeline: Pipeline) -> list[int]:
    """At most ``cap`` indices in runs of ``FRAMES`` without a gap, from places evenly over the whole set.

    A run begins with a sequence where one begins near enough.
    """
    size, count = len(samples), -(-cap // FRAMES)
    if size <= cap:
        return list(range(size))
    chosen: list[int] = []
    for number in range(count):
        place = max(number * size // count, chosen[-1] + 1 if chosen else 0)
        near = range(place, min(place + FRAMES, size))
        start = next((index for index in near if _begins(samples, index, pipeline)), place)
        chosen += range(start, min(start + FRAMES, size))
    return chosen[:cap]


def _begins(samples: SampleSet, index: int, pipeline: Pipeline) -> bool:
    before = samples.sample(index - 1).raw if index else None
    return begins(pipeline, samples.sample(index).raw, before)
