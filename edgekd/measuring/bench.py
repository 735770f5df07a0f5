"""``bench``: contenders measured in turns, each in fresh processes, and compared by ratio."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from edgekd.errors import Exit, InputError
from edgekd.measuring.artifact import DEFAULT_OPENER
from edgekd.measuring.figures import blocks, comparisons, device_kind, measurement, worker_record
from edgekd.measuring.machine import busy_share, read_facts
from edgekd.measuring.measurement import (
    ArtifactFacts,
    Conditions,
    Measurement,
    Memory,
    PlacementShares,
    WorkerRecord,
    save,
)
from edgekd.measuring.processes import run_worker
from edgekd.measuring.protocol import Length, LengthRule, Scenario
from edgekd.measuring.worker import WorkerError, WorkerSpec

Progress = Callable[[str, float], None]  # what is being done, share of the whole done before it


@dataclass(frozen=True)
class Contender:
    """A bundle's or run's path, and the profile where one path has several (``torch/compile``)."""

    path: str
    profile: str | None = None

    @property
    def label(self) -> str:
        name = Path(self.path).name or self.path
        return f"{name}/{self.profile}" if self.profile else name


@dataclass(frozen=True)
class Failure:
    """A contender that could not be measured, and why."""

    contender: Contender
    error: WorkerError


@dataclass(frozen=True)
class BenchResult:
    """``measurements`` in the order of the contenders, each saved at the path of the same index."""

    measurements: tuple[Measurement, ...]
    paths: tuple[Path, ...]
    failures: tuple[Failure, ...]

    @property
    def code(self) -> int:
        """The worst exit code of all contenders."""
        return max((failure.error.code for failure in self.failures), default=int(Exit.OK))


@dataclass
class _Entry:
    """A contender while it is being measured."""

    contender: Contender
    artifact: ArtifactFacts | None = None
    memory: Memory | None = None
    placement: PlacementShares | None = None
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
) -> BenchResult:
    """Measures latency, startup and memory of every contender, and writes one measurement of each.

    Memory comes first, in a process of its own. Then in each round every contender has a fresh process, in an
    order drawn from ``seed``, so that a slow minute of the machine meets all of them; ratios pair the
    processes of one round. Nothing is written before the last round is over.

    Args:
        contenders: at least one; paths or ``Contender``.
        length: how much is measured; ``quick`` is marked not reportable.
        out: folder for the measurements.
        threads: instead of each profile's own number.
        reference: which contender the others' speed-up is taken against.
        opener: ``package.module:function`` that opens a path (``edgekd.measuring.artifact.Opener``).

    Raises:
        InputError: no contender, one twice, an unknown length or scenario, ``out`` cannot be written.
        MachineError: no room for the measurements.
    """
    rule = _rule(length)
    try:
        scenario = Scenario(scenario)
    except ValueError:
        raise InputError(f"there is no scenario {scenario!r}", fix="there is: single") from None
    entries = [_Entry(c if isinstance(c, Contender) else Contender(str(c))) for c in contenders]
    _check(entries, Path(out))
    shared = WorkerSpec(
        mode="memory",
        opener=opener,
        path="",
        profile=None,
        threads=threads,
        seed=seed,
        share=rule.share,
        warm_up=rule.warm_up,
        result="",
        spawned_ns=0,
    )
    with tempfile.TemporaryDirectory(prefix="edgekd-bench-") as folder:
        spec = shared.model_copy(update={"result": str(Path(folder) / "result.json")})
        _measure(entries, spec, rule, progress or (lambda text, done: None))

    live = [entry for entry in entries if entry.error is None]
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
    )
    measurements = _condense(live, rule, conditions, reference, seed)
    return BenchResult(
        measurements=tuple(measurements),
        paths=tuple(save(item, Path(out)) for item in measurements),
        failures=tuple(Failure(e.contender, e.error) for e in entries if e.error is not None),
    )


def round_orders(contenders: int, rounds: int, seed: int) -> list[list[int]]:
    """For each round the order in which contenders take their turn, drawn from the seed."""
    rng = random.Random(seed)
    return [rng.sample(range(contenders), contenders) for _ in range(rounds)]


def _measure(entries: list[_Entry], spec: WorkerSpec, rule: LengthRule, progress: Progress) -> None:
    """Fills the entries; one that fails is left out from then on."""
    steps, done = len(entries) * (1 + rule.workers), 0
    for entry in entries:
        progress(f"{entry.contender.label}: memory", done / steps)
        result = run_worker(_for(entry, spec, "memory", spec.seed))
        entry.artifact, entry.memory, entry.placement = result.artifact, result.memory, result.placement
        entry.error = result.error
        done += 1
    for round_, order in enumerate(round_orders(len(entries), rule.workers, spec.seed)):
        for position, index in enumerate(order):
            entry = entries[index]
            done += 1
            if entry.error is not None:
                continue
            progress(f"{entry.contender.label}: latency, round {round_ + 1} of {rule.workers}", (done - 1) / steps)
            busy = busy_share(rule.settle_s)
            result = run_worker(_for(entry, spec, "latency", spec.seed + round_))
            entry.error = result.error
            if result.latency is not None:
                device = device_kind(entry.placement)
                entry.records.append(worker_record(round_, position, busy, result.latency, device))
    progress("done", 1.0)


def _for(entry: _Entry, spec: WorkerSpec, mode: Literal["latency", "memory"], seed: int) -> WorkerSpec:
    return spec.model_copy(
        update={
            "mode": mode,
            "path": entry.contender.path,
            "profile": entry.contender.profile,
            "seed": seed,
        }
    )


def _condense(
    live: list[_Entry], rule: LengthRule, conditions: Conditions, reference: str, seed: int
) -> list[Measurement]:
    if not live:
        return []
    base = live[0] if reference == "first" else max(live, key=_median_infer_us)
    facts = read_facts()
    found = []
    for entry in live:
        assert entry.artifact is not None
        assert entry.memory is not None
        assert base.artifact is not None
        against = [] if entry is base else comparisons(entry.records, base.artifact, base.records, seed)
        found.append(
            measurement(entry.artifact, entry.records, entry.memory, entry.placement, conditions, rule, facts, against)
        )
    return found


def _median_infer_us(entry: _Entry) -> float:
    return float(np.median([np.median(block) for block in blocks(entry.records, "infer")]))


def _rule(length: Length | LengthRule | str) -> LengthRule:
    if isinstance(length, LengthRule):
        return length
    try:
        return Length(length).rule
    except ValueError:
        known = ", ".join(str(item) for item in Length)
        raise InputError(f"there is no length {length!r}", fix=f"there are: {known}") from None


def _check(entries: list[_Entry], out: Path) -> None:
    """What would be found out only after minutes of measuring is found out first."""
    if not entries:
        raise InputError("there is nothing to measure", fix="edgekd bench BUNDLE [BUNDLE|RUN ...]")
    seen: set[Contender] = set()
    for entry in entries:
        if entry.contender in seen:
            raise InputError(f"{entry.contender.label} is named twice", "it would race itself")
        seen.add(entry.contender)
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise InputError(f"cannot write {out}", f"{nearest} is a file", "name another with --out")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"cannot write {out}", f"{nearest} is not writable", "name another with --out")
