"""``export``: a run, or a model file, becomes one bundle per target, each arrow gated, each precision proven."""

from __future__ import annotations

import itertools
import platform
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edgekd
from edgekd.bundle.manifest import Candidate
from edgekd.bundle.placement import quantized
from edgekd.contracts import Precision, Profile
from edgekd.conversion.attempt import attempt
from edgekd.conversion.from_file import FileRequest, is_model_file, make_foreign, reads, refusal
from edgekd.conversion.trial import Canonical, Start, Trial
from edgekd.conversion.write import write_bundle
from edgekd.errors import EdgekdError, Exit, GateError, InputError, nearest
from edgekd.measuring.race import race, time_ratio
from edgekd.nn.sensitivity import sensitive_nodes
from edgekd.registry import builder, profile
from edgekd.run import Run, open_run
from edgekd.storage import refuse_existing

Progress = Callable[[str, float], None]
RACE_FEEDS = 16
SENSITIVITY_FEEDS = 4
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
    model: str | Path,
    targets: Sequence[str],
    precision: str = "auto",
    out: str | Path = "bundles",
    *,
    calibration: str | Path | None = None,
    preprocess: str | Path | None = None,
    shapes: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Exported]:
    """Builds a bundle for each target. Each stands alone: one that fails does not stop the others.

    Args:
        model: a complete run folder, or somebody's .onnx or .tflite file, which is judged by numbers alone.
        targets: ``TARGET[/PROFILE]``.
        precision: one of the profile's, or ``auto``: the fastest of them that passes its gates.
        out: where bundles go, each as ``RUN-TARGET[-PROFILE]``.
        calibration: for a file: an .npz with an array per input, (samples, *the input's shape), or a folder of
            pictures. Without it int8 is not built, and gates run on seeded noise; the manifest says so.
        preprocess: for a folder: the TOML that says how pictures are fed (``samples.Preprocess``).
        shapes: for a file: ``NAME=1,3,224,224`` or ``AXIS=1``; what is not named stays as it is.

    Raises:
        InputError: unknown target, profile or precision; existing output; a damaged run or file.
        GateError: the canonical graph is not what was trained, or what the file computes.
    """
    tell = progress or (lambda what, share: None)
    source = _source(Path(model), calibration, preprocess, shapes)
    profiles = [profile(spec) for spec in targets]
    if not profiles:
        raise InputError("no target was named", fix="--target onnxruntime --target openvino")
    asked = _asked(precision, profiles)
    folders = [Path(out) / bundle_name(source.name, p) for p in profiles]
    for index, folder in enumerate(folders):
        if folder in folders[:index]:
            raise InputError(f"two targets make the same bundle {folder}", fix="name each target and profile once")
        refuse_existing(folder, overwrite, marker="manifest.json")
    for p in profiles:
        builder(p.target)
    with tempfile.TemporaryDirectory(prefix="edgekd-") as temporary:
        tell("canonical ONNX", 0.0)
        if isinstance(source, Run):
            from edgekd.conversion import from_run  # needs torch, which a file does not

            canonical: Canonical = from_run.make_canonical(source, Path(temporary) / "canonical")
        else:
            graph = Path(temporary) / f"canonical.{source.format}"
            canonical = make_foreign(source, graph, [p.target for p in profiles])
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


def bundle_name(name: str, profile: Profile) -> str:
    return f"{name}-{profile.target}" + ("" if profile.name == "default" else f"-{profile.name}")


def _source(
    path: Path, calibration: str | Path | None, preprocess: str | Path | None, shapes: Sequence[str]
) -> Run | FileRequest:
    if is_model_file(path) and not path.is_dir():
        given = [Path(p) if p is not None else None for p in (calibration, preprocess)]
        return FileRequest(path, given[0], given[1], tuple(shapes))
    if path.is_file():
        raise InputError(f"{path} is neither a run folder nor a model", "models end in .onnx or .tflite")
    if calibration is not None or preprocess is not None or shapes:
        why = "a run brings its own calibration and shapes"
        raise InputError("--calibration, --preprocess and --shape are for model files", why)
    return open_run(path)


def _export_one(
    canonical: Canonical,
    profile: Profile,
    asked: Precision | None,
    folder: Path,
    work: Path,
    overwrite: bool,
    tell: Progress,
) -> Path:
    if not reads(profile.target, canonical.source.format):
        raise refusal(profile.target, canonical.source.format)
    wanted = [(p, way) for p in ([asked] if asked else profile.precisions) for way in _ways(profile, p)]
    lowered = canonical.lowered(profile.lowerings, work)
    trials: list[Trial] = []

    def tried(start: Start, precision: Precision, way: Mapping[str, Any], done: float) -> Trial:
        trial = Trial(precision, start, way)
        tell(f"building {trial.label}", done / (len(wanted) + 1))
        out = work / str(len(trials))
        out.mkdir()
        attempt(trial, canonical, profile, asked, out)
        trials.append(trial)
        return trial

    for start in [canonical.start] if lowered is None else [lowered, canonical.start]:
        for index, (precision, way) in enumerate(wanted):
            trial = tried(start, precision, way, index)
            kept = _kept_way(trial, canonical) if asked is None else None
            if kept is not None:
                tried(start, precision, kept, index + 0.5)
        if asked or any(t.error is None for t in trials):
            break  # else the plain forms: a lowering that is not exact, or not built, is no reason to ship nothing
    passed = [t for t in trials if t.error is None]
    if not passed:
        raise _all_failed(profile, trials)
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


def _ways(profile: Profile, precision: Precision) -> Sequence[Mapping[str, Any]]:
    """To place int8; for every other precision there is one, which needs no settings."""
    return profile.quantization if quantized(precision) and profile.quantization else ({},)


def _kept_way(trial: Trial, canonical: Canonical) -> dict[str, Any] | None:
    """The same way with the most sensitive nodes in floating point, where its quantized graph is not exact enough."""
    calibration, least = canonical.calibration, canonical.least_db
    too_far = len(trial.gates) == 1 and not trial.gates[0].passed
    if not quantized(trial.precision) or not too_far or calibration is None or least is None:
        return None
    typed = trial.main.built.typed_onnx
    if typed is None:
        return None
    feeds = list(itertools.islice(calibration, SENSITIVITY_FEEDS))
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        kept = sensitive_nodes(canonical.source.model, typed, canonical.source.io, feeds, least, Path(folder))
    name = f"{trial.way.get('name', trial.way['recipe'])}, sensitive nodes kept"
    return {**trial.way, "name": name, "keep_float": [*trial.way.get("keep_float", ()), *kept]} if kept else None


def _choose(canonical: Canonical, profile: Profile, passed: list[Trial]) -> tuple[Trial, str]:
    """The fastest where it can be raced, else the first that the profile lists."""
    if len(passed) == 1:
        return passed[0], "single candidate"
    here = not profile.architectures or platform.machine() in profile.architectures
    if not here or any(t.main.session is None for t in passed):
        for trial in passed[1:]:
            trial.why = "listed later in the profile; not raced"
        return passed[0], "not raced"
    results = race({t.label: t.main.session for t in passed if t.main.session}, canonical.feeds(RACE_FEEDS))
    for trial in passed:
        trial.median_ms = results[trial.label].median_ms
    slower = {t.label: results[t.label].slower for t in passed}
    fastest = min(passed, key=lambda t: slower[t.label].value)
    close = [t for t in passed if slower[t.label].value <= WORTH * slower[fastest.label].value]
    chosen = min(close, key=lambda t: EXACTNESS.index(str(t.precision)))
    for trial in passed:
        trial.ratio = time_ratio(results[trial.label], results[chosen.label])
        if trial is chosen:
            trial.why = "the fastest here" if trial is fastest else "under 3 % from the fastest here, and more exact"
        elif slower[trial.label].value < slower[chosen.label].value:
            trial.why = f"under 3 % faster than {chosen.label}, which is more exact"
        else:
            trial.why = _why_slower(trial, chosen)
    return chosen, "raced"


def _why_slower(trial: Trial, chosen: Trial) -> str:
    """What the slower graph executes that the shipped one does not, where it should have been the faster one."""
    why = f"slower than {chosen.label} here"
    exactness = [EXACTNESS.index(str(t.precision)) for t in (trial, chosen)]
    placements = [t.main.placement for t in (trial, chosen) if t.main.placement]
    if exactness[0] <= exactness[1] or len(placements) < 2:
        return why
    counts = [Counter(node.op for node in placement.nodes) for placement in placements]
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
    placement = trial.main.placement if trial.graphs else None
    return Candidate(
        precision=trial.precision,
        way=str(trial.way.get("name", "")),
        outcome=outcome,
        why=why,
        median_ms=trial.median_ms,
        ratio=trial.ratio.value if trial.ratio else None,
        ratio_interval=(trial.ratio.low, trial.ratio.high) if trial.ratio else None,
        gates=(*trial.start.gates, *trial.gates),
        lowerings=dict(trial.start.lowerings),
        precision_by_macs=placement.share_of_macs("precision") if placement else {},
        kept_float=trial.kept_float,
    )


def _all_failed(profile: Profile, trials: list[Trial]) -> EdgekdError:
    errors = [t.error for t in trials if t.error]
    kind = max(errors, key=lambda e: e.code)
    same = len({error.what for error in errors}) == 1  # what stops one candidate often stops them all
    reasons: dict[str, list[str]] = {}
    for trial in trials:
        if trial.error:
            why = trial.error.why if same else f"{trial.error.what} ({trial.error.why})"
            reasons.setdefault(why, []).append(trial.label)
    whys = "; ".join(why if len(who) == len(trials) else f"{', '.join(who)}: {why}" for why, who in reasons.items())
    return type(kind)(kind.what if same else f"{profile.target}: no precision passed", whys, kind.fix)


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
