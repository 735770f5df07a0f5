"""Whether something became slower: against an earlier measurement, or against a bundle measured in turns with it.

Time is compared by one statistic: the ratio of median inference times (``paced``: of the time from a frame's
arrival; ``offline``: of the time per sample), with its 95 % bootstrap interval. It is a regression when the whole
interval lies above the limit, that is when noise alone does not explain it; where only a part does, the answer is
"inconclusive", which stops nobody and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgekd.contracts import StrictModel
from edgekd.errors import InputError
from edgekd.measuring.figures import pace_blocks
from edgekd.measuring.machine import MachineFacts
from edgekd.measuring.measurement import ArtifactFacts, Conditions, Measurement, Span
from edgekd.measuring.statistics import Ratio, Samples, paired_ratio, unpaired_ratio

Outcome = Literal["passed", "inconclusive", "regressed"]


class Regression(StrictModel):
    """``ratio`` is now's time over the baseline's: above 1 it became slower."""

    outcome: Outcome
    statistic: str
    baseline: str
    baseline_ms: float
    now: str
    now_ms: float
    ratio: float
    low: float
    high: float
    confidence: float
    limit: float
    taken: Literal["in turns", "at another time"]
    conditions: str
    differs: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Both figures, their ratio with its interval, and the limit."""
        return (
            f"{self.statistic}: {self.now} {self.now_ms:.3f} ms, {self.baseline} {self.baseline_ms:.3f} ms "
            f"({self.taken}): ratio {self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}], limit {self.limit:g}"
        )


@dataclass(frozen=True)
class Baseline:
    """An earlier measurement, and where it was read from."""

    name: str
    measurement: Measurement

    def admit_conditions(self, conditions: Conditions, machine: MachineFacts) -> None:
        """Raises InputError that names what makes a new measurement incomparable, before it is taken."""
        before = self.measurement.conditions
        rows: list[tuple[str, object, object]] = []
        if self.measurement.machine_id != machine.id:
            then, now = self.measurement.machine.title, machine.title
            rows.append(("machine", then, now if now != then else f"{now} of another id"))
        for name in ("scenario", "fps", "length", "workers", "least_seconds", "warm_up"):
            rows.append((name.replace("_", " "), getattr(before, name), getattr(conditions, name)))
        self._refuse(rows)

    def admit_artifact(self, now: ArtifactFacts, threads: int | None) -> None:
        """The same for what is known once the artefact is open. Another build, or another version, is no obstacle:
        that is what regressions come from."""
        before = self.measurement.artifact
        rows: list[tuple[str, object, object]] = [
            ("threads", self.measurement.threads, threads or now.options.get("threads"))
        ]
        for name in ("target", "profile", "precision", "inputs", "stateful"):
            rows.append((name, getattr(before, name), getattr(now, name)))
        self._refuse(rows)

    def _refuse(self, rows: list[tuple[str, object, object]]) -> None:
        differs = [f"{name}: {_told(before)} then, {_told(now)} now" for name, before, now in rows if before != now]
        if differs:
            fix = (
                "measure the baseline anew under these conditions, or name the old bundle instead: edgekd bench OLD NEW"
            )
            raise InputError(f"{self.name} is no baseline for this", "; ".join(differs), fix)


def against_baseline(now: Measurement, baseline: Baseline, limit: float) -> Regression:
    """``now`` against a file; what differs without forbidding it (versions, an offline arrangement) is told."""
    before = baseline.measurement
    differs = []
    if now.offline and before.offline and now.offline.arrangement != before.offline.arrangement:
        differs.append(f"arrangement: {before.offline.arrangement} then, {now.offline.arrangement} now")
    old, new = before.artifact.versions, now.artifact.versions
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            differs.append(f"{name}: {old.get(name, 'none')} then, {new.get(name, 'none')} now")
    return _judged(now, before, baseline.name, limit, unpaired_ratio, "at another time", tuple(differs))


def against_other(now: Measurement, other: Measurement, limit: float) -> Regression:
    """``now`` against a contender of the same bench."""
    return _judged(now, other, other.artifact.name, limit, paired_ratio, "in turns")


def outcome(ratio: Ratio, limit: float) -> Outcome:
    if ratio.low > limit:
        return "regressed"
    return "inconclusive" if ratio.value > limit else "passed"


def _judged(
    now: Measurement,
    before: Measurement,
    name: str,
    limit: float,
    compare: Callable[[list[Samples], list[Samples], int], Ratio],
    taken: Literal["in turns", "at another time"],
    differs: tuple[str, ...] = (),
) -> Regression:
    span: Span = "from-arrival" if now.paced else "infer"
    sides = [pace_blocks(item.workers, span) for item in (now, before)]
    unit = 1e9 if now.offline else 1e3  # slices are nanoseconds for a thousand samples, spans microseconds
    medians = [float(np.median([np.median(block) for block in blocks])) / unit for blocks in sides]
    if not all(medians):
        raise InputError(f"{now.artifact.name} takes less than a microsecond", "raw samples cannot tell how long")
    ratio = compare(sides[0], sides[1], now.conditions.seed)
    return Regression(
        outcome=outcome(ratio, limit),
        statistic="median time per sample, offline" if now.offline else f"median {span}",
        baseline=name,
        baseline_ms=medians[1],
        now=now.artifact.name,
        now_ms=medians[0],
        ratio=ratio.value,
        low=ratio.low,
        high=ratio.high,
        confidence=ratio.confidence,
        limit=limit,
        taken=taken,
        conditions=f"{now.title}, on {now.machine.title}",
        differs=differs,
    )


def _told(value: object) -> object:
    return "none" if value is None else value
