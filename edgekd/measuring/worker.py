"""One measurement in one fresh process: ``python -m edgekd.measuring.worker``, a JSON spec on stdin.

The result, or what went wrong, is written as JSON to the file that the spec names.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback
from array import array
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from edgekd.contracts import Arrays, Session, StrictModel
from edgekd.errors import EdgekdError, Exit
from edgekd.measuring.artifact import Artifact, SpanPipeline, import_opener
from edgekd.measuring.inputs import Rotation, rotation
from edgekd.measuring.machine import read_state
from edgekd.measuring.measurement import (
    ArtifactFacts,
    InputsRecord,
    LatencyResult,
    Memory,
    PlacementShares,
    Span,
    Startup,
    WarmUpRecord,
)
from edgekd.measuring.memory import (
    forget_high_water,
    high_water_bytes,
    proportional_bytes,
    resident_bytes,
)
from edgekd.measuring.protocol import CLOCK, Share, WarmUpRule, warm_up
from edgekd.storage import write_text

MEMORY_RUNS = 16  # a runtime's arena has its full size after the first few


class WorkerSpec(StrictModel):
    """What the parent asks for. ``spawned_ns`` is its ``time.monotonic_ns()`` just before this process."""

    mode: Literal["latency", "memory"]
    opener: str
    path: str
    profile: str | None
    threads: int | None
    seed: int
    share: Share
    warm_up: WarmUpRule
    result: str
    spawned_ns: int


class WorkerError(StrictModel):
    """An error as data, for the parent to tell the user. ``trace`` is for ``--debug``."""

    what: str
    why: str
    fix: str
    code: int
    trace: str = ""


class WorkerResult(StrictModel):
    """``error``, or the artefact's facts and the figures of the mode that was asked."""

    artifact: ArtifactFacts | None = None
    latency: LatencyResult | None = None
    memory: Memory | None = None
    placement: PlacementShares | None = None
    error: WorkerError | None = None


def main() -> int:
    entered_ns = time.monotonic_ns()
    spec = WorkerSpec.model_validate_json(sys.stdin.read())
    try:
        if spec.mode == "memory":
            result = measure_memory(spec)
        else:
            result = measure_latency(spec, (entered_ns - spec.spawned_ns) / 1e6)
    except EdgekdError as error:
        result = WorkerResult(error=WorkerError(what=error.what, why=error.why, fix=error.fix, code=int(error.code)))
    except Exception as error:
        result = WorkerResult(
            error=WorkerError(
                what=f"{spec.path} failed while it was measured",
                why=f"{type(error).__name__}: {error}",
                fix="--debug shows where",
                code=int(Exit.BUG),
                trace=traceback.format_exc(),
            )
        )
    write_text(Path(spec.result), result.model_dump_json())
    return int(Exit.OK) if result.error is None else result.error.code


def measure_latency(spec: WorkerSpec, process_ms: float) -> WorkerResult:
    """Startup part by part, warm-up, then the spec's share of runs with every span of each."""
    import_start = CLOCK()
    opener = import_opener(spec.opener)
    open_start = CLOCK()
    artifact = opener(spec.path, profile=spec.profile, threads=spec.threads)
    runtime_start = CLOCK()
    artifact.import_runtime()
    pipeline = artifact.pipeline()
    load_start = CLOCK()
    session = artifact.load()
    loaded = CLOCK()
    stateful = bool(artifact.io.state)
    samples = rotation(artifact.inputs(), spec.seed, in_sequence=stateful)

    run = _Run(session, pipeline, samples, stateful)
    first_ns = run(0)
    startup = Startup(
        process_ms=process_ms,
        open_ms=(runtime_start - open_start) / 1e6,
        import_ms=(open_start - import_start + load_start - runtime_start) / 1e6,
        load_ms=(loaded - load_start) / 1e6,
        first_inference_ms=first_ns / 1e6,
        torch_imported="torch" in sys.modules,
    )
    warmed = warm_up(run, spec.warm_up)

    run.keep()
    before = read_state()
    start = CLOCK()
    elapsed_s, runs = 0.0, 0
    while not spec.share.reached(elapsed_s, runs):
        run(runs)
        runs += 1
        elapsed_s = (CLOCK() - start) / 1e9
    after = read_state()
    return WorkerResult(
        artifact=_facts(artifact),
        latency=LatencyResult(
            startup=startup,
            warm_up=WarmUpRecord(**asdict(warmed)),
            inputs=InputsRecord(originals=samples.originals, jittered=samples.jittered, seed=samples.seed),
            elapsed_s=elapsed_s,
            samples_us=run.samples_us(),
            before=before,
            after=after,
        ),
    )


def measure_memory(spec: WorkerSpec) -> WorkerResult:
    """Resident high-water mark of loading and running, over the baseline after imports and inputs."""
    artifact = import_opener(spec.opener)(spec.path, profile=spec.profile, threads=spec.threads)
    artifact.import_runtime()
    pipeline = artifact.pipeline()
    raws = list(artifact.inputs())
    unknown = {}
    gc.collect()
    not_reset = forget_high_water()
    if not_reset:
        unknown["rss_high_water_bytes"] = not_reset
    baseline = resident_bytes()

    session = artifact.load()
    stateful = bool(artifact.io.state)
    # Real samples only: variants of them would be counted as the model's memory.
    run = _Run(session, pipeline, rotation(raws, spec.seed, least=1, in_sequence=stateful), stateful)
    for index in range(MEMORY_RUNS):
        run(index)
    high_water, pss = high_water_bytes(), proportional_bytes()
    if pss is None:
        unknown["pss_bytes"] = f"{sys.platform} does not tell"

    placement = artifact.placement()
    return WorkerResult(
        artifact=_facts(artifact),
        memory=Memory(
            artifact_bytes=artifact.size_bytes,
            parameters_bytes=artifact.parameters_bytes,
            rss_baseline_bytes=baseline,
            rss_high_water_bytes=high_water,
            rss_increase_bytes=max(0, high_water - baseline),
            pss_bytes=pss,
            runs=MEMORY_RUNS,
            unknown=unknown,
        ),
        placement=PlacementShares(
            source=placement.source,
            precision_by_macs=placement.share_of_macs("precision"),
            device_by_macs=placement.share_of_macs("device"),
        ),
    )


class _Run:
    """Runs sample number i through pipeline and session. Returns nanoseconds end to end; keeps spans if told.

    ``Session.run`` hands out numpy arrays, so it returns only when the device is done: no further
    synchronisation is needed before the clock is read.
    """

    def __init__(self, session: Session, pipeline: SpanPipeline | None, samples: Rotation, stateful: bool) -> None:
        self._session, self._samples, self._stateful = session, samples.samples, stateful
        self._once: Callable[[Arrays], tuple[int, int, int]] = (
            _through_pipeline(session, pipeline) if pipeline else _bare(session)
        )
        self._spans: tuple[Span, ...] = ("pre", "infer", "post", "end-to-end") if pipeline else ("infer",)
        self._kept: dict[Span, array[int]] | None = None

    def __call__(self, index: int) -> int:
        place = index % len(self._samples)
        if self._stateful and place == 0:
            self._session.reset()  # the sequence begins again
        pre, infer, post = self._once(self._samples[place])
        total = pre + infer + post
        if self._kept is not None:
            durations = {"pre": pre, "infer": infer, "post": post, "end-to-end": total}
            for span, kept in self._kept.items():
                kept.append(durations[span])
        return total

    def keep(self) -> None:
        self._kept = {span: array("q") for span in self._spans}

    def samples_us(self) -> dict[Span, tuple[int, ...]]:
        """Whole microseconds."""
        kept = self._kept or {}
        return {span: tuple((ns + 500) // 1000 for ns in durations) for span, durations in kept.items()}


def _through_pipeline(session: Session, pipeline: SpanPipeline) -> Callable[[Arrays], tuple[int, int, int]]:
    def once(raw: Arrays) -> tuple[int, int, int]:
        start = CLOCK()
        feeds = pipeline.preprocess(raw)
        fed = CLOCK()
        outputs = session.run(feeds)
        inferred = CLOCK()
        pipeline.postprocess(outputs, raw)
        return fed - start, inferred - fed, CLOCK() - inferred

    return once


def _bare(session: Session) -> Callable[[Arrays], tuple[int, int, int]]:
    def once(feeds: Arrays) -> tuple[int, int, int]:
        start = CLOCK()
        session.run(feeds)
        return 0, CLOCK() - start, 0

    return once


def _facts(artifact: Artifact) -> ArtifactFacts:
    return ArtifactFacts(
        name=artifact.name,
        target=artifact.target,
        profile=artifact.profile,
        precision=str(artifact.precision),
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        parameters_bytes=artifact.parameters_bytes,
        inputs={tensor.name: tensor.shape for tensor in artifact.io.inputs},
        stateful=bool(artifact.io.state),
        options=_plain(dict(artifact.options)),
        versions=dict(artifact.versions),
    )


def _plain(value: Any) -> Any:
    """Options as JSON holds them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
