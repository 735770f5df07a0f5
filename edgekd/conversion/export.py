"""``export``: a run becomes one bundle per target, each arrow gated, each precision proven or refused."""

from __future__ import annotations

import platform
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import edgekd
from edgekd import config as configuration
from edgekd.bundle.health import not_installed
from edgekd.bundle.manifest import Candidate, GateRecord
from edgekd.contracts import Built, Graph, IoSpec, Precision, Profile, Source
from edgekd.conversion.calibration import RunCalibration
from edgekd.conversion.gates import Witness, judge, require, witness
from edgekd.conversion.to_onnx import export_onnx
from edgekd.conversion.trial import Canonical, Trial
from edgekd.conversion.write import write_bundle
from edgekd.errors import EdgekdError, Exit, GateError, InputError, nearest
from edgekd.measuring.race import race, time_ratio
from edgekd.nn.folding import fold_batchnorm
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.recipes.contract import Metrics, Pipeline
from edgekd.recipes.weights import load_weights
from edgekd.registry import builder, profile, recipe_part, runtime
from edgekd.run import Run, open_run
from edgekd.storage import refuse_existing, row
from edgekd.training.judge import Judge

Progress = Callable[[str, float], None]
WORTH = 1.03  # a lower precision must be more than 3 % faster to be shipped
# From the most exact to the least: ties in the race go to the one that stands first.
EXACTNESS = ("fp32", "bf16", "fp16", "mixed", "int8", "w8", "palette", "w4")


@dataclass
class Exported:
    """What became of one target: a bundle, or the error that stopped it."""

    target: str
    path: Path | None = None
    error: EdgekdError | None = None

    @property
    def code(self) -> Exit:
        return self.error.code if self.error else Exit.OK


def export(
    run: str | Path,
    targets: Sequence[str],
    precision: str = "auto",
    out: str | Path = "bundles",
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Exported]:
    """Builds a bundle for each target. Each stands alone: one that fails does not stop the others.

    Args:
        run: a complete run folder.
        targets: ``TARGET[/PROFILE]``.
        precision: one of the profile's, or ``auto``: the fastest of them that passes its gates.
        out: where bundles go, each as ``RUN-TARGET[-PROFILE]``.

    Raises:
        InputError: unknown target, profile or precision; existing output; a damaged run.
        GateError: the student or its canonical ONNX is not what was trained.
    """
    tell = progress or (lambda what, share: None)
    opened = open_run(Path(run))
    profiles = [profile(spec) for spec in targets]
    if not profiles:
        raise InputError("no target was named", fix="--target onnxruntime --target openvino")
    asked = _asked(precision, profiles)
    folders = [Path(out) / bundle_name(opened, p) for p in profiles]
    for index, folder in enumerate(folders):
        if folder in folders[:index]:
            raise InputError(f"two targets make the same bundle {folder}", fix="name each target and profile once")
        refuse_existing(folder, overwrite, marker="manifest.json")
    for p in profiles:
        builder(p.target)
    with tempfile.TemporaryDirectory(prefix="edgekd-") as temporary:
        tell("canonical ONNX", 0.0)
        canonical = make_canonical(opened, Path(temporary) / "canonical.onnx")
        results = []
        for index, (p, folder) in enumerate(zip(profiles, folders, strict=True)):
            work = Path(temporary) / f"{index}-{p.target}"
            work.mkdir()

            def step(what: str, share: float, done: int = index, target: str = p.target) -> None:
                tell(f"{target}: {what}", (done + share) / len(profiles))

            try:
                results.append(Exported(p.target, _export_one(canonical, p, asked, folder, work, overwrite, step)))
            except EdgekdError as error:
                results.append(Exported(p.target, error=error))
    return results


def bundle_name(run: Run, profile: Profile) -> str:
    return f"{run.name}-{profile.target}" + ("" if profile.name == "default" else f"-{profile.name}")


def make_canonical(run: Run, path: Path) -> Canonical:
    """Student -> pipeline -> canonical ONNX, gated at each arrow.

    The first arrow compares the student, restored from its file and fed through the pipeline as it is now,
    with the outputs that training recorded: a changed weight or pre-processing constant ends here.
    """
    record = run.record
    settings = configuration.restore(record.recipe, record.config, str(run.path))
    recipe = recipe_part(record.recipe, "recipe").Recipe(settings)
    pipeline: Pipeline = recipe_part(record.recipe, "pipeline").Pipeline(record.io)
    metrics: Metrics = recipe_part(record.recipe, "metrics").METRICS
    student = recipe.student(record.io)
    load_weights(student, run.weights)
    student.eval()
    heldout = run.heldout()
    raws, io = heldout.raws(), record.io
    gates: list[GateRecord] = []

    def gate(arrow: str, before: Witness, after: Witness, where: str) -> None:
        truths, fp32 = heldout.truths(), Precision.FP32
        gates.append(judge(arrow, before, after, precision=fp32, where=where, metrics=metrics, truths=truths))
        require(gates[-1])

    call = Judge(io, pipeline, metrics).caller(student)
    trained = Witness([row(heldout.student, i) for i in range(len(raws))], pipeline, raws)
    restored = witness(call, pipeline, raws)
    gate("training → student and pipeline", trained, restored, "PyTorch")
    folded = fold_batchnorm(student)
    export_onnx(folded, io, path)
    reference = OnnxReference(path, io)
    exported = witness(reference.run, pipeline, raws)
    gate("student → canonical ONNX", restored, exported, reference.name)
    return Canonical(
        run=run,
        source=Source(path, io, folded),
        pipeline=pipeline,
        metrics=metrics,
        heldout=heldout,
        calibration=RunCalibration(run, pipeline),
        student=restored,
        onnx=exported,
        gates=gates,
    )


def _export_one(
    canonical: Canonical,
    profile: Profile,
    asked: Precision | None,
    folder: Path,
    work: Path,
    overwrite: bool,
    tell: Progress,
) -> Path:
    wanted = [asked] if asked else list(profile.precisions)
    trials = []
    for index, precision in enumerate(wanted):
        tell(f"building {precision}", index / (len(wanted) + 1))
        trials.append(_try(canonical, profile, precision, work))
    passed = [t for t in trials if t.error is None]
    if not passed:
        raise trials[0].error if len(trials) == 1 and trials[0].error else _all_failed(profile, trials)
    tell("racing", len(wanted) / (len(wanted) + 1))
    chosen, raced = _choose(canonical, profile, passed)
    return write_bundle(
        canonical,
        profile,
        asked=str(asked or "auto"),
        chosen=chosen,
        candidates=[_candidate(t, chosen) for t in trials],
        raced=raced,
        folder=folder,
        overwrite=overwrite,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgekd_version=edgekd.__version__,
    )


def _try(canonical: Canonical, profile: Profile, precision: Precision, work: Path) -> Trial:
    """Builds one precision, checks its types, and gates typed graph and built graph apart."""
    from edgekd.bundle.placement import precision_shortfall

    out = work / str(precision)
    out.mkdir()
    target, make = runtime(profile.target), builder(profile.target)
    io = canonical.source.io
    trial = Trial(precision, Built(out, out), [])
    try:
        calibration = canonical.calibration if precision == Precision.INT8 else None
        trial.built = make.build(canonical.source, profile, precision, calibration, out)
        graph = _graph(trial, profile, io)
        reference = make.reference(trial.built, io)
        typed = canonical.witness(reference)
        # A typed fp32 graph also stands for bf16, whose types the runtime only gives when it loads.
        typed_precision = Precision.FP32 if precision == Precision.BF16 else precision
        gate = canonical.judge(
            f"canonical ONNX → {profile.target} {precision} graph",
            canonical.onnx,
            typed,
            typed_precision,
            getattr(reference, "name", "reference"),
        )
        trial.gates.append(gate)
        require(gate)
        probe = target.probe()
        if not probe.can_run:
            trial.why = f"not run here: {probe.why}"
            return trial
        trial.session = target.load(graph)
        trial.placement = target.placement(graph)
        share = precision_shortfall(trial.placement, precision)
        if share.found < share.limit:
            raise GateError(
                f"{profile.target}: {precision} was asked and not built",
                f"{share.found:.0%} of the multiply-accumulates are {precision}, at least {share.limit:.0%} must be",
                "edgekd inspect shows it by node; ask for another --precision",
            )
        trial.witness = canonical.witness(trial.session)
        gate = canonical.judge(
            f"{profile.target} {precision} graph → built",
            typed,
            trial.witness,
            precision,
            f"{profile.target} {probe.version}, here",
        )
        trial.gates.append(gate)
        require(gate)
        # Two arrows that each lose a little must not lose too much together.
        gate = canonical.judge(
            f"student → {profile.target} {precision}, whole road",
            canonical.student,
            trial.witness,
            precision,
            f"{profile.target} {probe.version}, here",
        )
        trial.gates.append(gate)
        require(gate)
    except EdgekdError as error:
        trial.error = error
    except ModuleNotFoundError as error:  # this precision needs what is not here; another one may not
        trial.error = not_installed(error)
        if trial.error is None:
            raise
    return trial


def _choose(canonical: Canonical, profile: Profile, passed: list[Trial]) -> tuple[Trial, str]:
    """The fastest where it can be raced, else the first that the profile lists."""
    if len(passed) == 1:
        return passed[0], "single candidate"
    here = not profile.architectures or platform.machine() in profile.architectures
    if not here or any(t.session is None for t in passed):
        for trial in passed[1:]:
            trial.why = "listed later in the profile; not raced"
        return passed[0], "not raced"
    feeds = [canonical.pipeline.preprocess(raw) for raw in canonical.heldout.raws()[:16]]
    results = race({str(t.precision): t.session for t in passed if t.session}, feeds)
    for trial in passed:
        trial.median_ms = results[str(trial.precision)].median_ms
    slower = {t.precision: results[str(t.precision)].slower for t in passed}
    fastest = min(passed, key=lambda t: slower[t.precision].value)
    close = [t for t in passed if slower[t.precision].value <= WORTH * slower[fastest.precision].value]
    chosen = min(close, key=lambda t: EXACTNESS.index(str(t.precision)))
    for trial in passed:
        trial.ratio = time_ratio(results[str(trial.precision)], results[str(chosen.precision)])
        if trial is chosen:
            trial.why = "the fastest here" if trial is fastest else "under 3 % from the fastest here, and more exact"
        elif slower[trial.precision].value < slower[chosen.precision].value:
            trial.why = f"under 3 % faster than {chosen.precision}, which is more exact"
        else:
            trial.why = _why_slower(trial, chosen)
    return chosen, "raced"


def _why_slower(trial: Trial, chosen: Trial) -> str:
    """What the slower graph executes that the shipped one does not, where it should have been the faster one."""
    why = f"slower than {chosen.precision} here"
    exactness = [EXACTNESS.index(str(t.precision)) for t in (trial, chosen)]
    if exactness[0] <= exactness[1] or trial.placement is None or chosen.placement is None:
        return why
    counts = [Counter(node.op for node in t.placement.nodes) for t in (trial, chosen) if t.placement]
    extra = (counts[0] - counts[1]).most_common(3)
    return f"{why}: not fused: " + ", ".join(f"{n} {op}" for op, n in extra) if extra else why


def _candidate(trial: Trial, chosen: Trial) -> Candidate:
    if trial is chosen:
        outcome, why = "shipped", trial.why
    elif trial.error is None:
        outcome, why = "passed its gates, not shipped", trial.why
    elif isinstance(trial.error, GateError):
        outcome, why = "failed", f"{trial.error.what}: {trial.error.why}"
    else:
        outcome, why = "cannot be built or run here", f"{trial.error.what}: {trial.error.why}"
    return Candidate(
        precision=trial.precision,
        outcome=outcome,
        why=why,
        median_ms=trial.median_ms,
        ratio=trial.ratio.value if trial.ratio else None,
        ratio_interval=(trial.ratio.low, trial.ratio.high) if trial.ratio else None,
        gates=tuple(trial.gates),
    )


def _all_failed(profile: Profile, trials: list[Trial]) -> EdgekdError:
    errors = [t.error for t in trials if t.error]
    kind = max(errors, key=lambda e: e.code)
    whys = "; ".join(f"{t.precision}: {t.error.what} ({t.error.why})" for t in trials if t.error)
    return type(kind)(f"{profile.target}: no precision passed", whys, kind.fix)


def _asked(precision: str, profiles: Sequence[Profile]) -> Precision | None:
    if precision == "auto":
        return None
    try:
        asked = Precision(precision)
    except ValueError:
        raise InputError(
            f"there is no precision {precision!r}", fix=nearest(precision, ["auto", *map(str, Precision)])
        ) from None
    for p in profiles:
        if asked not in p.precisions:
            raise InputError(
                f"the profile {p.target}/{p.name} lists no {asked}",
                f"it lists {', '.join(map(str, p.precisions))}",
                "--precision auto, or a profile of your own",
            )
    return asked


def _graph(trial: Trial, profile: Profile, io: IoSpec) -> Graph:
    return Graph(trial.built.entry, io, trial.precision, profile.options)
