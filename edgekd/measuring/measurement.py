"""A measurement: figures, the conditions they were taken under, and whether they may be claimed.

``measurements/<sha256, 12 digits>-<machine id>-<UTC time>.json`` holds one contender of one bench, with every
raw sample, so that each figure can be computed again.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from edgekd.contracts import StrictModel
from edgekd.measuring.machine import MachineFacts, MachineState
from edgekd.schema import read_versioned, validated, with_schema
from edgekd.storage import whole_file

SCHEMA_VERSION = 1

Span = Literal["pre", "infer", "post", "end-to-end"]
SPANS: tuple[Span, ...] = ("pre", "infer", "post", "end-to-end")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


class ArtifactFacts(StrictModel):
    """What was measured. ``inputs`` are the io spec's, name -> shape."""

    name: str
    target: str
    profile: str
    precision: str
    sha256: str
    size_bytes: int
    parameters_bytes: int
    inputs: dict[str, tuple[int | str, ...]]
    stateful: bool
    options: dict[str, Any]
    versions: dict[str, str]


class Startup(StrictModel):
    """From nothing to the first result, in ms, each part apart.

    ``process_ms`` is the interpreter and edgekd's own imports, ``import_ms`` the runtime's packages and the
    pipeline's, ``open_ms`` reading and checking the artefact, ``load_ms`` making the session.
    """

    process_ms: float
    open_ms: float
    import_ms: float
    load_ms: float
    first_inference_ms: float
    torch_imported: bool

    @property
    def device_ms(self) -> float:
        """Import + load + first inference: what a program that is already running waits for."""
        return self.import_ms + self.load_ms + self.first_inference_ms

    @property
    def total_ms(self) -> float:
        return self.process_ms + self.open_ms + self.device_ms


class WarmUpRecord(StrictModel):
    rule: str
    runs: int
    seconds: float
    settled: bool
    medians_ns: tuple[float, ...]


class InputsRecord(StrictModel):
    """``originals`` real samples and ``jittered`` variants of them, in the order that ``seed`` gives."""

    originals: int
    jittered: int
    seed: int


class LatencyResult(StrictModel):
    """What one worker process found. ``samples_us`` are its raw samples by span, in the order taken."""

    startup: Startup
    warm_up: WarmUpRecord
    inputs: InputsRecord
    elapsed_s: float
    samples_us: dict[Span, tuple[int, ...]]
    before: MachineState
    after: MachineState


class WorkerRecord(StrictModel):
    """One worker process of the bench: which round, the how manieth in it, and whether it was disturbed."""

    round: int
    position: int
    busy_before: float
    variation: float | None
    contention: tuple[str, ...]
    result: LatencyResult


class Memory(StrictModel):
    """In a process of its own. ``rss_increase_bytes``: high-water mark minus the baseline after imports."""

    artifact_bytes: int
    parameters_bytes: int
    rss_baseline_bytes: int
    rss_high_water_bytes: int
    rss_increase_bytes: int
    pss_bytes: int | None
    runs: int
    unknown: dict[str, str] = Field(default_factory=dict)


class PlacementShares(StrictModel):
    """Shares of multiply-accumulates, as read back from the runtime."""

    source: str
    precision_by_macs: dict[str, float]
    device_by_macs: dict[str, float]


class Headline(StrictModel):
    """The p90: median of the workers' own where each ran often enough for one, else of all runs together."""

    span: Span
    p90_ms: float | None
    low_ms: float | None
    high_ms: float | None
    how: str


class SpanFigures(StrictModel):
    """Over all runs of all workers. A percentile that the count does not support is None."""

    runs: int
    mean_ms: float
    min_ms: float
    max_ms: float
    percentiles_ms: dict[str, float | None]


class FramesPerSecond(StrictModel):
    """1000 / mean of ``span`` in ms."""

    value: float
    span: Span


class Comparison(StrictModel):
    """How many times faster this contender is than ``reference``, measured in turns with it."""

    reference: str
    reference_sha256: str
    span: Span
    speedup: float
    low: float
    high: float
    confidence: float
    rounds: int


class Conditions(StrictModel):
    """What was asked of the bench."""

    scenario: str
    length: str
    workers: int
    least_seconds: float
    least_runs: int
    stop: str
    warm_up: str
    batch: int
    threads: int | None
    seed: int
    contenders: tuple[str, ...]


class Verdict(StrictModel):
    """``label`` is the gravest thing to say; ``reasons`` are all of them. Only ``valid`` may be claimed."""

    label: Literal["valid", "not reproduced", "contended", "not settled", "not reportable"]
    reasons: tuple[str, ...]

    @property
    def claimable(self) -> bool:
        return self.label == "valid"


class Measurement(StrictModel):
    schema_version: int = SCHEMA_VERSION
    edgekd_version: str
    created: str  # UTC, ISO 8601, with microseconds
    artifact: ArtifactFacts
    conditions: Conditions
    machine: MachineFacts
    machine_id: str
    lock_command: str | None
    workers: tuple[WorkerRecord, ...]
    startup: Startup  # medians over the workers
    spans: dict[Span, SpanFigures]
    headline: Headline
    reproduced: bool
    fps: FramesPerSecond
    memory: Memory
    placement: PlacementShares | None
    comparisons: tuple[Comparison, ...]
    verdict: Verdict

    @model_validator(mode="after")
    def _spans_are_there(self) -> Measurement:
        if missing := {self.headline.span, self.fps.span} - set(self.spans):
            raise ValueError(f"spans has no {min(missing)}")
        return self

    @property
    def file_name(self) -> str:
        stamp = self.created.replace("-", "").replace(":", "").replace(".", "").replace("+0000", "Z")
        return f"{self.artifact.sha256[:12]}-{self.machine_id}-{stamp}.json"

    @property
    def runs(self) -> int:
        return self.spans[self.headline.span].runs

    @property
    def title(self) -> str:
        """The conditions in one line, to stand beside every figure."""
        parts = [
            f"scenario {self.conditions.scenario}",
            f"batch {self.conditions.batch}",
            f"threads {self.threads}" if self.threads else "the runtime's default threads",
            f"length {self.conditions.length}: {self.runs:,} runs over {len(self.workers)} processes",
            f"{self.conditions.warm_up} warm-up",
        ]
        return ", ".join(parts)

    @property
    def threads(self) -> int | None:
        return self.conditions.threads or self.artifact.options.get("threads")


def utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def save(measurement: Measurement, folder: Path) -> Path:
    """Writes it whole or not at all, under a name of its own.

    Raises:
        InputError: ``folder`` cannot be written.
        MachineError: no room for it.
    """
    path = folder / measurement.file_name
    with whole_file(path) as temporary:
        data = with_schema("measurement", SCHEMA_VERSION, measurement.model_dump(mode="json"))
        text = json.dumps(data, separators=(",", ":"))
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def load(path: Path) -> Measurement:
    """Raises InputError for what is no measurement, is damaged, or has a newer schema."""
    data = read_versioned(path, "measurement", SCHEMA_VERSION, "edgekd bench makes one")
    return validated(Measurement, data, path, "measure again")
