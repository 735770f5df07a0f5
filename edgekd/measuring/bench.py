"""``bench``: contenders measured in turns, each in fresh processes, and compared by ratio."""

from __future__ import annotations

import math
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from edgekd.bundle.manifest import is_bundle
from edgekd.errors import Exit, InputError, nearest
from edgekd.measuring.artifact import DEFAULT_OPENER
from edgekd.measuring.figures import comparisons, device_kind, measurement, pace_blocks, worker_record
from edgekd.measuring.machine import busy_share, read_facts
from edgekd.measuring.measurement import (
    ArrangementTrial,
    ArtifactFacts,
    Conditions,
    LayerProfile,
    Measurement,
    Memory,
    PlacementShares,
    WorkerRecord,
    load,
    save,
)
from edgekd.measuring.offline import fastest
from edgekd.measuring.plan import Plan, Progress, steps_s
from edgekd.measuring.processes import run_worker
from edgekd.measuring.protocol import Length, LengthRule, Scenario
from edgekd.measuring.regression import Baseline, Regression, against_baseline, against_other
from edgekd.measuring.worker import WorkerError, WorkerSpec

FPS = 30.0  # of a camera, where none is given


@dataclass(frozen=True)
class Contender:
    """A bundle's or run's path, ``BUNDLE/GRAPH`` for a graph of one, and a run's profile (``torch/compile``)."""

    path: str
    profile: str | None = None

    @property
    def label(self) -> str:
        path = Path(self.path)
        name = path.name or self.path
        if not is_bundle(path) and is_bundle(path.parent):
            name = f"{path.parent.name}/{name}"
        return f"{name}/{self.profile}" if self.profile else name


@dataclass(frozen=True)
class Failure:
    """A contender that could not be measured, and why."""

    contender: Contender
    error: WorkerError


@dataclass(frozen=True)
class BenchResult:
    """``measurements`` in the order of the contenders, each saved at the path of the same index.

    ``regression`` is there where a limit was given and both sides were measured.
    """

    measurements: tuple[Measurement, ...]
    paths: tuple[Path, ...]
    failures: tuple[Failure, ...]
    regression: Regression | None = None

    @property
    def code(self) -> int:
        """The worst exit code of all contenders; GATE for a regression."""
        codes = [failure.error.code for failure in self.failures]
        if self.regression is not None and self.regression.outcome == "regressed":
            codes.append(int(Exit.GATE))
        return max(codes, default=int(Exit.OK))


@dataclass
class _Entry:
    """A contender while it is being measured."""

    contender: Contender
    artifact: ArtifactFacts | None = None
    memory: Memory | None = None
    placement: PlacementShares | None = None
    arrangements: tuple[ArrangementTrial, ...] = ()
    profile: LayerProfile | None = None
    records: list[WorkerRecord] = field(default_factory=list)
    error: WorkerError | None = None


def bench(
    contenders: Sequence[Contender | str | Path],
    length: Length | LengthRule | str = Length.STANDARD,
    out: str | Path = "measurements",
    scenario: Scenario | str = Scenario.SINGLE,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    reference: Literal["slowest", "first"] = "slowest",
    opener: str = DEFAULT_OPENER,
    fps: float | None = None,
    layers: bool = False,
    baseline: str | Path | None = None,
    fail_above: float | None = None,
) -> BenchResult:
    """Measures latency or throughput, startup and memory of every contender, and writes one measurement of each.

    Memory comes first, in a process of its own. Then in each round every contender has a fresh process, in an
    order drawn from ``seed``, so that a slow minute of the machine meets all of them; ratios pair the
    processes of one round. Nothing is written before the last round is over. ``offline`` first tries which
    arrangement of sessions and batch is fastest (``edgekd.measuring.offline``).

    Args:
        contenders: at least one; paths or ``Contender``.
        length: how much is measured; ``quick`` is marked not reportable.
        scenario: ``single``, ``offline`` (throughput) or ``paced`` (a camera).
        out: folder for the measurements.
        threads: instead of each profile's own number.
        reference: which contender the others' speed-up is taken against.
        opener: ``package.module:function`` that opens a path (``edgekd.measuring.artifact.Opener``).
        fps: of the camera, with ``paced`` only; 30 where it is None.
        layers: also profile every node, in one more process per contender.
        baseline: an earlier measurement's file, against which the only contender is judged.
        fail_above: the most that time may grow, as a ratio (``edgekd.measuring.regression``), over ``baseline`` or,
            without one, of the second contender over the first.

    Raises:
        InputError: no contender, one twice, an unknown length or scenario, ``out`` cannot be written, ``fps``
            without ``paced``, a limit without two sides, a baseline that is damaged or that other conditions hold of.
        MachineError: no room for the measurements.
    """
    rule, scenario = _rule(length), _scenario(scenario)
    fps = _frames_per_second(fps, scenario)
    entries = [_Entry(c if isinstance(c, Contender) else Contender(str(c))) for c in contenders]
    _check(entries, Path(out))
    earlier = _baseline(baseline, fail_above, len(entries))
    conditions = Conditions(
        scenario=str(scenario),
        length=rule.name,
        workers=rule.workers,
        least_seconds=rule.seconds,
        least_runs=rule.runs,
        stop=rule.stop,
        warm_up=rule.warm_up.name,
        batch=1,
        threads=threads,
        seed=seed,
        contenders=tuple(entry.contender.label for entry in entries),
        fps=fps,
    )
    if earlier is not None:
        earlier.admit_conditions(conditions, read_facts())
    shared = WorkerSpec(
        mode="memory",
        opener=opener,
        path="",
        profile=None,
        threads=threads,
        seed=seed,
        share=rule.share,
        warm_up=rule.warm_up,
        fps=fps,
        result="",
        spawned_ns=0,
    )
    with tempfile.TemporaryDirectory(prefix="edgekd-bench-") as folder:
        spec = shared.model_copy(update={"result": str(Path(folder) / "result.json")})
        plan = Plan(steps_s(len(entries), scenario, rule, layers), progress)
        _prepare(entries, spec, scenario, plan, earlier)
        if layers:
            _profile(entries, spec, plan)
        _measure(entries, spec, rule, plan)
        plan.end()

    live = [entry for entry in entries if entry.error is None]
    if fail_above is not None and earlier is None:
        reference = "first"
    measurements = _condense(live, rule, conditions, reference, seed)
    return BenchResult(
        measurements=tuple(measurements),
        paths=tuple(save(item, Path(out)) for item in measurements),
        failures=tuple(Failure(e.contender, e.error) for e in entries if e.error is not None),
        regression=_regression(measurements, earlier, fail_above, len(entries)),
    )


def round_orders(contenders: int, rounds: int, seed: int) -> list[list[int]]:
    """For each round the order in which contenders take their turn, drawn from the seed."""
    rng = random.Random(seed)
    return [rng.sample(range(contenders), contenders) for _ in range(rounds)]


def _prepare(
    entries: list[_Entry], spec: WorkerSpec, scenario: Scenario, plan: Plan, baseline: Baseline | None
) -> None:
    """Before the rounds: arrangement where it is offline, then facts, memory, placement.

    Raises:
        InputError: a contender is not what ``baseline`` was measured with.
    """
    for entry in entries:
        if scenario is Scenario.OFFLINE:
            plan.begin(f"{entry.contender.label}: which arrangement is fastest")
            result = run_worker(_for(entry, spec, "arrange", spec.seed))
            entry.arrangements, entry.error = result.arrangements, result.error
        if entry.error is not None:
            plan.skip()
            continue
        plan.begin(f"{entry.contender.label}: memory")
        result = run_worker(_for(entry, spec, "memory", spec.seed))
        entry.artifact, entry.memory, entry.placement = result.artifact, result.memory, result.placement
        entry.error = result.error
        if baseline is not None and result.artifact is not None:
            baseline.admit_artifact(result.artifact, spec.threads)


def _measure(entries: list[_Entry], spec: WorkerSpec, rule: LengthRule, plan: Plan) -> None:
    """Fills the entries' records; one that fails is left out from then on."""
    what = "throughput" if any(entry.arrangements for entry in entries) else "latency"
    for round_, order in enumerate(round_orders(len(entries), rule.workers, spec.seed)):
        for position, index in enumerate(order):
            entry = entries[index]
            if entry.error is not None:
                plan.skip()
                continue
            plan.begin(f"{entry.contender.label}: {what}, round {round_ + 1} of {rule.workers}")
            busy = busy_share(rule.settle_s)
            result = run_worker(_for(entry, spec, "latency", spec.seed + round_))
            entry.error = result.error
            if result.latency is not None:
                device = device_kind(entry.placement)
                entry.records.append(worker_record(round_, position, busy, result.latency, device))


def _profile(entries: list[_Entry], spec: WorkerSpec, plan: Plan) -> None:
    """Before the rounds too: where a runtime cannot profile a graph, that is known before minutes are spent."""
    for entry in entries:
        if entry.error is not None:
            plan.skip()
            continue
        plan.begin(f"{entry.contender.label}: layers")
        result = run_worker(_for(entry, spec, "layers", spec.seed))
        entry.profile, entry.error = result.profile, result.error


def _for(
    entry: _Entry, spec: WorkerSpec, mode: Literal["latency", "memory", "arrange", "layers"], seed: int
) -> WorkerSpec:
    return spec.model_copy(
        update={
            "mode": mode,
            "path": entry.contender.path,
            "profile": entry.contender.profile,
            "seed": seed,
            "arrangement": fastest(entry.arrangements) if entry.arrangements else None,
        }
    )


def _condense(
    live: list[_Entry], rule: LengthRule, conditions: Conditions, reference: str, seed: int
) -> list[Measurement]:
    if not live:
        return []
    base = live[0] if reference == "first" else max(live, key=_median_time)
    facts = read_facts()
    found = []
    for entry in live:
        assert entry.artifact is not None
        assert entry.memory is not None
        assert base.artifact is not None
        against = [] if entry is base else comparisons(entry.records, base.artifact, base.records, seed)
        found.append(
            measurement(
                entry.artifact,
                entry.records,
                entry.memory,
                entry.placement,
                conditions,
                rule,
                facts,
                against,
                entry.arrangements,
                entry.profile,
            )
        )
    return found


def _median_time(entry: _Entry) -> float:
    return float(np.median([np.median(block) for block in pace_blocks(entry.records, "infer")]))


def _rule(length: Length | LengthRule | str) -> LengthRule:
    if isinstance(length, LengthRule):
        return length
    try:
        return Length(length).rule
    except ValueError:
        raise InputError(f"there is no length {length!r}", fix=nearest(str(length), map(str, Length))) from None


def _scenario(name: Scenario | str) -> Scenario:
    try:
        return Scenario(name)
    except ValueError:
        raise InputError(f"there is no scenario {name!r}", fix=nearest(str(name), map(str, Scenario))) from None


def _frames_per_second(fps: float | None, scenario: Scenario) -> float | None:
    if scenario is not Scenario.PACED:
        if fps is None:
            return None
        why = f"scenario {scenario} has no camera"
        raise InputError(f"--fps {fps:g} means nothing here", why, "--scenario paced, or leave --fps out")
    if fps is not None and not (fps > 0 and math.isfinite(fps)):
        raise InputError(f"--fps {fps:g} cannot be", "a camera gives more than 0 frames in a second", "--fps 30")
    return fps or FPS


def _baseline(path: str | Path | None, fail_above: float | None, contenders: int) -> Baseline | None:
    """The earlier measurement, once it is certain that there is something to compare and what may not be exceeded."""
    if path is not None and fail_above is None:
        raise InputError("--baseline has no limit", "it is there to be compared with", "--fail-above 1.05")
    if fail_above is not None and not (fail_above > 0 and math.isfinite(fail_above)):
        raise InputError(f"--fail-above {fail_above:g} is no limit", "it is a ratio of times", "--fail-above 1.05")
    if path is not None and contenders != 1:
        why = f"{contenders} contenders were named"
        raise InputError("--baseline judges one contender", why, "bench one at a time, or two without --baseline")
    if path is None and fail_above is not None and contenders != 2:
        fix = "edgekd bench OLD NEW --fail-above 1.05, or --baseline MEASUREMENT.json"
        raise InputError("--fail-above has nothing to compare with", f"{contenders} named, no --baseline", fix)
    if path is None:
        return None
    return Baseline(str(path), load(Path(path)))


def _regression(
    measurements: list[Measurement], baseline: Baseline | None, limit: float | None, contenders: int
) -> Regression | None:
    if limit is None or len(measurements) < contenders:
        return None  # one failed, which the exit code says
    if baseline is not None:
        return against_baseline(measurements[0], baseline, limit)
    return against_other(measurements[1], measurements[0], limit)


def _check(entries: list[_Entry], out: Path) -> None:
    """What would be found out only after minutes of measuring is found out first."""
    if not entries:
        raise InputError("there is nothing to measure", fix="edgekd bench BUNDLE [BUNDLE|RUN ...]")
    seen: set[Contender] = set()
    for entry in entries:
        if entry.contender in seen:
            raise InputError(f"{entry.contender.label} is named twice", "it would race itself")
        seen.add(entry.contender)
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise InputError(f"cannot write {out}", f"{existing} is a file", "name another with --out")
    if not os.access(existing, os.W_OK):
        raise InputError(f"cannot write {out}", f"{existing} is not writable", "name another with --out")
