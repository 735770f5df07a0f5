"""Held-out predictions of each bundle, drawn by the recipe's pipeline, in the bundle's own runtime.

A recipe's metrics may offer two more methods, which are used where they are: ``per_sample(predictions, truths)
-> (n,)``, each sample's primary metric, and ``curves(predictions, truths) -> {name: (x, y, label of x, label of
y)}``.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bundle.open import Bundle
from edgekd.contracts import Arrays, IoSpec
from edgekd.errors import EdgekdError, InputError
from edgekd.measuring.quality import heldout_of, predictions
from edgekd.recipes.contract import Metrics, Pipeline
from edgekd.registry import recipe_part
from edgekd.reporting.collect import Collected
from edgekd.reporting.formatting import significant
from edgekd.reporting.origin import Data, data_of, origin_of
from edgekd.reporting.page import Html, element, figure, note, section
from edgekd.reporting.plots import Series, chart, key
from edgekd.run import HeldOut
from edgekd.storage import row

TITLE = "Held-out predictions"
SAMPLES = 6
LONGER_SIDE = 360  # px of a drawn picture: sharp on a phone, small in a mail
QUALITY = 84  # of JPEG

Prediction = Arrays


@dataclass
class Row:
    """What one model says about the held-out samples, or why it says nothing here."""

    name: str
    about: str
    predicted: Sequence[Prediction] = field(default_factory=list)
    reason: str = ""


@dataclass
class Group:
    """Models judged on the same samples. ``truths`` are drawn in the second colour."""

    title: str
    about: str
    pipeline: Pipeline
    metrics: Metrics
    raws: Sequence[Arrays]
    truths: Sequence[Arrays]
    rows: list[Row]
    judged: bool = True  # whether ``truths`` are the truth, not another model's predictions


def pictures_section(found: Collected) -> tuple[Html | None, list[str]]:
    """The section, and the reasons for everything that could not be drawn."""
    groups, reasons = gather(found)
    if not groups and not reasons:
        return None, []
    lead = (
        "What each model says about samples that no training and no calibration saw, drawn through the recipe's own "
        "pipeline: the prediction on top, the reference beneath it, thinner and in the second colour. Where the recipe "
        "can tell, the samples are chosen at even steps of the student's error, from the best to the worst."
    )
    parts: list[Html] = []
    for group in groups:
        parts += _group(group)
    missing = [*reasons, *(f"{r.name}: {r.reason}" for g in groups for r in g.rows if r.reason)]
    parts += [note(f"Not drawn: {reason}.") for reason in missing]
    return section(TITLE, lead, parts), missing


def gather(found: Collected) -> tuple[list[Group], list[str]]:
    """Predictions of every complete run (as recorded at the end of training) and of every bundle (made now)."""
    groups: dict[str, Group] = {}
    reasons: list[str] = []
    for run in found.runs:
        if run.record.status != "complete":
            continue
        try:
            heldout = run.heldout()
            group = _judged(run.name, run.record.recipe, run.record.io, heldout, data_of(run))
        except EdgekdError as error:
            reasons.append(f"{run.name}: {error.what}")
            continue
        groups[run.record.files["heldout.npz"]] = group
    for bundle in found.bundles:
        try:
            group = _group_of(bundle, groups)
        except EdgekdError as error:
            reasons.append(f"{bundle.name}: {error.what}" + (f" ({error.why})" if error.why else ""))
            continue
        group.rows.append(_in_runtime(bundle, group))
    return list(groups.values()), reasons


def _group_of(bundle: Bundle, groups: dict[str, Group]) -> Group:
    """The samples of the bundle's run; where they are not here, those that the bundle itself carries."""
    manifest = bundle.manifest
    if manifest.recipe is None:
        raise InputError("it is a foreign model", "no recipe draws it")
    origin = origin_of(bundle)
    sha = origin.heldout_sha256 or ""
    if sha not in groups:
        try:
            heldout = heldout_of(bundle)[0] if origin.run_path else None
        except InputError:
            heldout = None
        if heldout is None:
            groups[bundle.sha256] = _carried(bundle)
            return groups[bundle.sha256]
        groups[sha] = _judged(
            origin.run or bundle.name, manifest.recipe, manifest.graphs["main"].io, heldout, origin.data
        )
    return groups[sha]


def _judged(name: str, recipe: str, io_spec: IoSpec, heldout: HeldOut, data: Data) -> Group:
    pipeline = recipe_part(recipe, "pipeline").Pipeline(io_spec)
    raws = heldout.raws()
    group = Group(
        title=name,
        about=f"reference: the held-out truth; labels: {data.labelled_by.removeprefix('none: ')}",
        pipeline=pipeline,
        metrics=recipe_part(recipe, "metrics").METRICS,
        raws=raws,
        truths=heldout.truths(),
        rows=[],
    )
    if heldout.student:
        group.rows.append(Row(name, "student as trained, PyTorch", _post(pipeline, heldout.student, raws)))
    return group


def _carried(bundle: Bundle) -> Group:
    vectors = bundle.vectors()
    pipeline = bundle.pipeline
    size = len(next(iter(vectors["raw"].values())))
    raws = [row(vectors["raw"], i) for i in range(size)]
    return Group(
        title=bundle.name,
        about="its run is not here, so its own test vectors are shown; reference: the fp32 student",
        pipeline=pipeline,
        metrics=bundle.metrics,
        raws=raws,
        truths=_post(pipeline, vectors["fp32"], raws),
        rows=[],
        judged=False,
    )


def _post(pipeline: Pipeline, outputs: Arrays, raws: Sequence[Arrays]) -> list[Prediction]:
    """Stacked outputs of the model to predictions."""
    return [pipeline.postprocess(row(outputs, i), raw) for i, raw in enumerate(raws)]


def _in_runtime(bundle: Bundle, group: Group) -> Row:
    manifest = bundle.manifest
    about = f"{manifest.target}, {manifest.precision}, on this machine"
    try:
        return Row(bundle.name, about, predictions(bundle.session, group.pipeline, group.raws))
    except EdgekdError as error:
        return Row(bundle.name, about, reason=f"{error.what}" + (f" ({error.fix})" if error.fix else ""))


def errors_of(group: Group, predicted: Sequence[Prediction]) -> NDArray[np.float64] | None:
    """Each sample's primary metric, where the recipe can tell and there is a truth."""
    judge = getattr(group.metrics, "per_sample", None)
    if judge is None or not group.judged:
        return None
    return np.asarray(judge(predicted, group.truths), np.float64)


def chosen(group: Group) -> list[int]:
    """Samples at even steps of the first model's error, from best to worst; else at even steps of their order."""
    size = len(group.raws)
    first = next((r.predicted for r in group.rows if r.predicted), None)
    errors = errors_of(group, first) if first is not None else None
    order = np.arange(size)
    if errors is not None:
        order = np.argsort(-errors if group.metrics.higher_is_better else errors, kind="stable")
    steps = np.unique(np.linspace(0, size - 1, min(SAMPLES, size)).round().astype(int))
    return [int(order[step]) for step in steps]


def _group(group: Group) -> list[Html]:
    parts = [element("h3", group.title, element("span", group.about, class_="side"))]
    picked = chosen(group)
    unit = group.metrics.units.get(group.metrics.primary, "")
    for shown in group.rows:
        if not shown.predicted:
            continue
        errors = errors_of(group, shown.predicted)
        cells = []
        for index in picked:
            drawn = group.pipeline.draw([group.raws[index]], [shown.predicted[index]], [group.truths[index]])
            caption = f"{group.metrics.primary} {significant(float(errors[index]), unit)}" if errors is not None else ""
            picture = element("img", src=data_uri(drawn), alt=f"{shown.name}, sample {index}", loading="lazy")
            cells.append(figure(picture, caption))
        parts.append(note(element("strong", shown.name), f": {shown.about}", _scores(group, shown)))
        parts.append(element("div", cells, class_="pictures"))
    parts.append(element("div", _curves(group), class_="plots"))
    return parts


def _scores(group: Group, shown: Row) -> str:
    if not group.judged:
        return ""
    units, scores = group.metrics.units, group.metrics.compute(shown.predicted, group.truths)
    told = ", ".join(f"{name} {significant(value, units.get(name, ''))}" for name, value in scores.items())
    return f". On all {len(group.truths)} samples: {told}"


def _curves(group: Group) -> list[Html]:
    """The recipe's own curves, one line for each model."""
    make: Any = getattr(group.metrics, "curves", None)
    if make is None or not group.judged:
        return []
    lines: dict[str, list[Series]] = {}
    labels: dict[str, tuple[str, str]] = {}
    for color, shown in enumerate(group.rows):
        if shown.predicted:
            for name, (x, y, x_label, y_label) in make(shown.predicted, group.truths).items():
                dash = "dashed" if color % 2 else "solid"  # curves that coincide are both seen
                lines.setdefault(name, []).append(Series(f"{shown.name}: {shown.about}", x, y, color, dash))
                labels[name] = (x_label, y_label)
    found = []
    for name, series in lines.items():
        top = float(np.nanmax([np.max(line.y) for line in series]))
        drawn = chart(
            series,
            title=f"{group.title}: {name}",
            x_label=labels[name][0],
            y_label=labels[name][1],
            y_limits=(0.0, 1.05 * top if top > 0 else 1.0),
        )
        found.append(figure(drawn, f"{name[:1].upper()}{name[1:]}, {len(group.truths)} samples.", key=key(series)))
    return found


def data_uri(picture: Any) -> str:
    """A PIL picture as a JPEG in an address."""
    drawn = picture.convert("RGB")
    drawn.thumbnail((LONGER_SIDE, LONGER_SIDE))
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
