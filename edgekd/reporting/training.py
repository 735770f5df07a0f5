"""How each run was trained: validation metric against the teachers', terms of the loss, gain of distillation."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from edgekd.errors import InputError
from edgekd.reporting.formatting import ABSENT, change, count, significant
from edgekd.reporting.page import Html, badge, element, figure, folded, join, note, section, table
from edgekd.reporting.plots import Level, Series, chart, key, spans_decades
from edgekd.reporting.scale import UNKNOWN, Scale
from edgekd.run import Run, StageRecord
from edgekd.storage import read_json

TITLE = "Training"
Curve = tuple[list[float], list[float]]  # epochs (from 1), values
Stage = tuple[str, str, dict[str, Curve], StageRecord | None]  # name, role, curves by name, record once finished
_ROLE_COLORS = {"student": 0, "control": 1}
_TEACHER_COLORS = (2, 3, 6, 4)
_TOTAL = "train/loss"


def training_section(runs: Sequence[Run], scales: Mapping[str | None, Scale]) -> Html | None:
    if not runs:
        return None
    lead = (
        "The recipe's primary metric on the validation set by epoch, the student beside its control, which had the "
        "same seed and budget and no teacher; level lines are the teachers' scores before the student's first step. "
        "Then the terms of the loss."
    )
    parts = [_gains(runs, scales)]
    for run in runs:
        scale = scales.get(run.record.recipe, UNKNOWN)
        finished = run.record.status == "complete"
        preset = f"{run.record.recipe}, preset {run.record.preset}, seed {run.record.seed}"
        status = None if finished else badge("training is not finished", "mild")
        parts.append(element("h3", run.name, " ", status, element("span", preset, class_="side")))
        parts.append(_plots(run, scale))
    return section(TITLE, lead, parts)


def read_curves(path: Path) -> dict[str, Curve]:
    """``metrics.csv`` of a stage by name, in the order of its rows.

    Raises:
        InputError: not the columns epoch, step, name, value, or no numbers in them.
    """
    curves: dict[str, Curve] = defaultdict(lambda: ([], []))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                epochs, values = curves[str(row["name"])]
                epochs.append(int(row["epoch"]) + 1)
                values.append(float(row["value"]))
    except OSError as error:
        raise InputError(f"cannot read {path}", error.strerror or str(error)) from None
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged", f"it must hold epoch,step,name,value: {error}") from None
    return dict(curves)


def _stages(run: Run) -> list[Stage]:
    """Every stage that has begun, in training order."""
    records = {stage.name: stage for stage in run.record.stages}
    root = run.path / "stages"
    names = list(records)
    if root.is_dir():
        begun = [p for p in root.iterdir() if (p / "metrics.csv").is_file()]
        begun.sort(key=lambda p: (p / "metrics.csv").stat().st_mtime)
        names += [p.name for p in begun if p.name not in records]
    found = []
    for name in names:
        folder = root / name
        curves = read_curves(folder / "metrics.csv") if (folder / "metrics.csv").is_file() else {}
        record = records.get(name) or _finished(folder)
        found.append((name, record.role if record else name, curves, record))
    return found


def _finished(folder: Path) -> StageRecord | None:
    """The record of a stage of a run that is not finished itself."""
    file = folder / "stage.json"
    if not file.is_file():
        return None
    try:
        return StageRecord.model_validate(read_json(file))
    except ValidationError as error:
        raise InputError(f"{file} is damaged", str(error.errors()[0]["msg"])) from None


def _plots(run: Run, scale: Scale) -> Html:
    stages = _stages(run)
    if not any(curves for _, _, curves, _ in stages):
        return note("No stage has recorded an epoch.")
    judged = [_quality(stages, scale)]
    own = [_loss(name, curves, record) for name, role, curves, record in stages if role == "student"]
    others = [_loss(name, curves, record) for name, role, curves, record in stages if role != "student"]
    teachers = _teachers(stages, scale)
    shown = [part for part in [*judged, *own] if part is not None]
    rest = [part for part in [teachers, *others] if part is not None]
    grid = element("div", shown, class_="plots") if shown else None
    if not rest:
        return join(grid)
    names = ", ".join(name for name, role, _, _ in stages if role != "student")
    return join(grid, folded(f"Other stages: {names}", element("div", rest, class_="plots"), unfolded=not shown))


def _quality(stages: Sequence[Stage], scale: Scale) -> Html | None:
    """Student and control on one pair of axes, teachers as levels."""
    metric = f"val/{scale.primary}"
    series, levels = [], []
    for name, role, curves, record in stages:
        if role not in _ROLE_COLORS or metric not in curves:
            continue
        epochs, values = curves[metric]
        series.append(Series(name, epochs, values, color=_ROLE_COLORS[role], dash="solid"))
        for index, (teacher, scores) in enumerate((record.teachers if record else {}).items()):
            if scale.primary in scores and math.isfinite(scores[scale.primary]):
                color = _TEACHER_COLORS[index % len(_TEACHER_COLORS)]
                dash = ("dashed", "dotted")[index % 2]  # teachers that score alike are both seen
                levels.append(Level(f"teacher: {teacher}", scores[scale.primary], color, dash))
    if not series:
        return None
    values = np.concatenate([np.asarray(line.y) for line in series])
    drawn = chart(
        series,
        title=f"Validation {scale.primary} by epoch",
        x_label="epoch",
        y_label=scale.labelled(scale.primary),
        levels=levels,
        y_log=spans_decades([*values, *(level.y for level in levels)]),
        whole_x=True,
    )
    better = "higher" if scale.higher_is_better else "lower"
    return figure(drawn, f"Validation {scale.primary}; {better} is better.", key=key([*series, *levels]))


def _teachers(stages: Sequence[Stage], scale: Scale) -> Html | None:
    metric = f"val/{scale.primary}"
    trained = [(name, curves[metric]) for name, role, curves, _ in stages if role == "teacher" and metric in curves]
    series = [Series(name, *curve, color=_TEACHER_COLORS[i % 4]) for i, (name, curve) in enumerate(trained)]
    if not series:
        return None
    y_log = spans_decades(np.concatenate([np.asarray(line.y) for line in series]))
    drawn = chart(
        series,
        title=f"Validation {scale.primary} of the teachers by epoch",
        x_label="epoch",
        y_label=scale.labelled(scale.primary),
        y_log=y_log,
        whole_x=True,
    )
    return figure(drawn, f"Validation {scale.primary} of the teachers.", key=key(series))


def _loss(name: str, curves: Mapping[str, Curve], record: StageRecord | None) -> Html | None:
    """Each term of a stage's loss, and their sum where there are several."""
    terms = {k.removeprefix("train/"): v for k, v in curves.items() if k.startswith("train/") and k != _TOTAL}
    series = [Series(term, *curve, color=i) for i, (term, curve) in enumerate(terms.items())]
    if _TOTAL in curves and len(series) != 1:
        series.append(Series("sum", *curves[_TOTAL], color=7, dash="dashed"))
    if not series:
        return None
    values = np.concatenate([np.asarray(line.y) for line in series])
    log = bool((values > 0).all()) and spans_decades(values)
    drawn = chart(
        series,
        title=f"Loss of {name} by epoch",
        x_label="epoch",
        y_label="loss" + (" (log)" if log else ""),
        y_log=log,
        whole_x=True,
    )
    about = f"Loss of {name}, mean over each epoch's batches."
    if record is not None:
        about += (
            f" {record.epochs} epochs in {record.seconds:,.0f} s, {record.images_per_second:,.0f} samples/s, "
            f"{record.precision}, {count(record.weights)} parameters; best epoch {record.best_epoch + 1}."
        )
    return figure(drawn, about, key=key(series))


def _gains(runs: Sequence[Run], scales: Mapping[str | None, Scale]) -> Html | None:
    """Test scores of every stage, and student against control; over seeds where runs differ in nothing else."""
    rows: list[list[Html | str]] = []
    gains: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for run in runs:
        scale = scales.get(run.record.recipe, UNKNOWN)
        by_role = {s.role: s for s in run.record.stages if s.role in _ROLE_COLORS}
        if "student" not in by_role or not scale.primary:
            continue
        student, control = by_role["student"], by_role.get("control")
        rows.append([run.name, scale.labelled(scale.primary), str(run.record.seed), *_scores(student, control, scale)])
        if control is not None:
            pair = [scale.loss(_score(control, w, scale), _score(student, w, scale)) for w in ("best", "last")]
            if pair[0] is not None and pair[1] is not None:
                gains[_but_for_seed(run)].append((-pair[0], -pair[1]))
    if not rows:
        return None
    columns = (
        "run",
        "metric",
        "seed",
        "student, best",
        "student, last",
        "control, best",
        "control, last",
        "student, test",
        "gain, best",
        "gain, last",
    )
    told = [
        f"{len(found)} seeds of one configuration: gain of distillation {_mean(found, 0)} at the best epoch, "
        f"{_mean(found, 1)} at the last (mean ± standard deviation). "
        for found in gains.values()
        if len(found) > 1
    ]
    if not told and gains:
        told = ["One seed shows no gain: at least three of one configuration are needed for a claim."]
    return join(table(columns, rows, columns[2:]), note(*told) if told else None)


def _score(stage: StageRecord, which: str, scale: Scale) -> float | None:
    scores: dict[str, float] = getattr(stage, which)
    return scores.get(scale.primary)


def _scores(student: StageRecord, control: StageRecord | None, scale: Scale) -> list[str]:
    shown = []
    for stage in (student, control):
        shown += [significant(_score(stage, w, scale)) if stage else ABSENT for w in ("best", "last")]
    shown.append(significant(_score(student, "test", scale)))
    for which in ("best", "last"):
        loss = scale.loss(_score(control, which, scale), _score(student, which, scale)) if control else None
        shown.append(change(-loss) if loss is not None else ABSENT)
    return shown


def _but_for_seed(run: Run) -> str:
    config = {k: v for k, v in run.record.config.items() if k != "seed"}
    return json.dumps([run.record.recipe, config], sort_keys=True)


def _mean(found: Sequence[tuple[float, float]], index: int) -> str:
    values = [pair[index] for pair in found]
    return f"{change(float(np.mean(values)))} ± {100 * float(np.std(values, ddof=1)):.2f}"
