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

# 2: scenarios paced and offline, device memory, layers; 3: bundles of several graphs. What is new has a default.
SCHEMA_VERSION = 3

# from-arrival: from a camera's clock to the result, the wait for the frame before it included.
Span = Literal["pre", "infer", "post", "end-to-end", "from-arrival"]
SPANS: tuple[Span, ...] = ("pre", "infer", "post", "end-to-end", "from-arrival")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


class ArtifactFacts(StrictModel):
    """What was measured. ``inputs`` are what is fed on every call, name -> shape.

    ``graph`` is ``main``, or the graph of a bundle that held what another one gave before the first call.
    """

    name: str
    graph: str = "main"
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


class Trial(StrictModel):
    """One rate of the search for the highest: how many frames were due, late and never looked at."""

    fps: float
    frames: int
    late: int
    dropped: int

    @property
    def missed_share(self) -> float:
        return (self.late + self.dropped) / self.frames


class PacedRun(StrictModel):
    """One worker's frames. ``processed`` are the numbers of those that were looked at, in order; the others of
    ``frames`` were replaced in the queue by a newer one. ``highest_fps``: None where no rate that was tried holds."""

    frames: int
    processed: tuple[int, ...]
    trials: tuple[Trial, ...]
    highest_fps: float | None


class Arrangement(StrictModel):
    """How a throughput is reached: sessions side by side, threads in each, samples in one call."""

    sessions: int
    threads: int
    batch: int

    def __str__(self) -> str:
        sessions = f"{self.sessions} session" + "s" * (self.sessions > 1)
        threads = f"{self.threads} thread" + "s" * (self.threads > 1)
        return f"{sessions} of {threads}, batch {self.batch}"


class ArrangementTrial(StrictModel):
    arrangement: Arrangement
    samples_per_second: float


class OfflineRun(StrictModel):
    """One worker's throughput. ``done_us``: when each call returned, from the start, in order."""

    samples: int
    samples_per_second: float
    done_us: tuple[int, ...]


class LatencyResult(StrictModel):
    """What one worker process found. ``samples_us`` are its raw samples by span, in the order taken."""

    startup: Startup
    warm_up: WarmUpRecord
    inputs: InputsRecord
    elapsed_s: float
    samples_us: dict[Span, tuple[int, ...]]
    before: MachineState
    after: MachineState
    paced: PacedRun | None = None
    offline: OfflineRun | None = None


class WorkerRecord(StrictModel):
    """One worker process of the bench: which round, the how manieth in it, and whether it was disturbed."""

    round: int
    position: int
    busy_before: float
    variation: float | None
    contention: tuple[str, ...]
    result: LatencyResult


class Memory(StrictModel):
    """In a process of its own. ``rss_increase_bytes``: high-water mark minus the baseline after imports.

    ``artifact_bytes`` are the files of all graphs that were loaded, ``graphs_bytes`` those of each where there are
    several. ``device_bytes`` is the runtime's own count of its device's memory, ``nvml_increase_bytes`` what the driver
    counts for the process more than before loading. ``unknown`` says why a figure is None.
    """

    artifact_bytes: int
    graphs_bytes: dict[str, int] = Field(default_factory=dict)
    parameters_bytes: int
    rss_baseline_bytes: int
    rss_high_water_bytes: int
    rss_increase_bytes: int
    pss_bytes: int | None
    device_bytes: int | None = None
    nvml_increase_bytes: int | None = None
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
    """1000 / mean of ``span`` in ms; paced: frames that were looked at in a second; offline: samples in a second."""

    value: float
    span: Span


class PacedFigures(StrictModel):
    """Over all frames of all workers, at ``conditions.fps``. The deadline is one period of the clock.

    ``missed_share`` counts late frames and dropped ones. ``highest_fps``: the median of the workers' own, with the
    least and the greatest; None where a worker found no rate that holds.
    """

    deadline_ms: float
    frames: int
    late: int
    dropped: int
    missed_share: float
    dropped_share: float
    highest_fps: float | None
    highest_low: float | None
    highest_high: float | None


class OfflineFigures(StrictModel):
    """``samples_per_second``: the median of the workers' own, with the least and the greatest."""

    arrangement: Arrangement
    tried: tuple[ArrangementTrial, ...]
    samples_per_second: float
    low: float
    high: float


class LayerTime(StrictModel):
    """``precision`` is empty where the runtime's placement does not know the node."""

    node: str
    op: str
    kernel: str
    precision: str
    ms: float


class LayerProfile(StrictModel):
    """Mean time per call of every node, slowest first, in a process of its own with the runtime's profiler on,
    which slows it: shares say more than milliseconds. ``calls`` were counted, as many before them were not."""

    calls: int
    layers: tuple[LayerTime, ...]

    @property
    def total_ms(self) -> float:
        return sum(layer.ms for layer in self.layers)


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
    fps: float | None = None  # of the camera, paced only


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
    paced: PacedFigures | None = None
    offline: OfflineFigures | None = None
    profile: LayerProfile | None = None

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
        rate = f" at {self.conditions.fps:g} frames/s" if self.conditions.fps else ""
        parts = [
            f"scenario {self.conditions.scenario}{rate}",
            str(self.offline.arrangement) if self.offline else f"batch {self.conditions.batch}",
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
