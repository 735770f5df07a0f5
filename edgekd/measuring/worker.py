"""One measurement in one fresh process: ``python -m edgekd.measuring.worker``, a JSON spec on stdin.

The result, or what went wrong, is written as JSON to the file that the spec names.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from edgekd.bundle.session import device_bytes
from edgekd.bundle.threads import thread_count
from edgekd.contracts import Session, StrictModel
from edgekd.errors import EdgekdError, Exit
from edgekd.measuring.artifact import Artifact, import_opener
from edgekd.measuring.inputs import Rotation, rotation
from edgekd.measuring.layers import layer_profile
from edgekd.measuring.machine import MachineState, read_state
from edgekd.measuring.measurement import (
    Arrangement,
    ArrangementTrial,
    ArtifactFacts,
    InputsRecord,
    LatencyResult,
    LayerProfile,
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
from edgekd.measuring.nvml import process_bytes
from edgekd.measuring.offline import Crew, arrangements, batch_axis, offline_run
from edgekd.measuring.paced import highest_rate, pace, paced_run
from edgekd.measuring.protocol import CLOCK, Share, WarmUp, WarmUpRule, warm_up
from edgekd.measuring.runs import Run, microseconds
from edgekd.storage import write_text

MEMORY_RUNS = 16  # a runtime's arena has its full size after the first few


class WorkerSpec(StrictModel):
    """What the parent asks for. ``spawned_ns`` is its ``time.monotonic_ns()`` just before this process.

    ``fps`` makes latency ``paced``, ``arrangement`` makes it ``offline``; memory is that of the arrangement too.
    """

    mode: Literal["latency", "memory", "arrange", "layers"]
    opener: str
    path: str
    profile: str | None
    threads: int | None
    seed: int
    share: Share
    warm_up: WarmUpRule
    fps: float | None = None
    arrangement: Arrangement | None = None
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
    arrangements: tuple[ArrangementTrial, ...] = ()
    profile: LayerProfile | None = None
    error: WorkerError | None = None


def main() -> int:
    entered_ns = time.monotonic_ns()
    spec = WorkerSpec.model_validate_json(sys.stdin.read())
    try:
        if spec.mode == "latency":
            result = measure_latency(spec, (entered_ns - spec.spawned_ns) / 1e6)
        else:
            result = {"memory": measure_memory, "arrange": arrange, "layers": profile_layers}[spec.mode](spec)
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
    """Startup part by part, warm-up, then the spec's share of runs in its scenario."""
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

    run = Run(session, pipeline, samples, stateful)
    first_ns = run(0)
    startup = Startup(
        process_ms=process_ms,
        open_ms=(runtime_start - open_start) / 1e6,
        import_ms=(open_start - import_start + load_start - runtime_start) / 1e6,
        load_ms=(loaded - load_start) / 1e6,
        first_inference_ms=first_ns / 1e6,
        torch_imported="torch" in sys.modules,
    )
    if spec.arrangement is not None:
        del run, session  # the arrangement has sessions of its own
        measured = _offline(_crew(spec, spec.arrangement, artifact, samples), spec)
    elif spec.fps is not None:
        measured = _paced(run, spec, spec.fps)
    else:
        measured = _single(run, spec)
    return WorkerResult(
        artifact=_facts(artifact),
        latency=LatencyResult(
            startup=startup,
            inputs=InputsRecord(originals=samples.originals, jittered=samples.jittered, seed=samples.seed),
            **measured,
        ),
    )


def _single(run: Run, spec: WorkerSpec) -> dict[str, Any]:
    warmed = warm_up(run, spec.warm_up)
    run.keep()
    before = read_state()
    start = CLOCK()
    elapsed_s, runs = 0.0, 0
    while not spec.share.reached(elapsed_s, runs):
        run(runs)
        runs += 1
        elapsed_s = (CLOCK() - start) / 1e9
    return _measured(warmed, before, elapsed_s, samples_us=run.samples_us())


def _paced(run: Run, spec: WorkerSpec, fps: float) -> dict[str, Any]:
    """At the camera's rate first, then the search for the highest one."""
    warmed = warm_up(run, spec.warm_up)
    run.keep()
    before = read_state()
    found = pace(run, fps, spec.share)
    measured = _measured(warmed, before, found.elapsed_s, samples_us=run.samples_us())
    measured["samples_us"]["from-arrival"] = microseconds(found.from_arrival_ns)
    service_ns = warmed.medians_ns[-1] if warmed.medians_ns else warmed.seconds * 1e9 / warmed.runs
    highest, trials = highest_rate(lambda rate: pace(run, rate, spec.share.trial).trial, service_ns)
    return {**measured, "paced": paced_run(found, highest, trials)}


def _offline(crew: Crew, spec: WorkerSpec) -> dict[str, Any]:
    warmed = warm_up(crew.together, spec.warm_up)
    before = read_state()
    found = crew.measure(spec.share)
    samples_us: dict[Span, tuple[int, ...]] = {"infer": microseconds(found.durations_ns)}
    return {
        **_measured(warmed, before, found.done_ns[-1] / 1e9, samples_us),
        "offline": offline_run(found),
    }


def _measured(
    warmed: WarmUp, before: MachineState, elapsed_s: float, samples_us: dict[Span, tuple[int, ...]]
) -> dict[str, Any]:
    """What every scenario's result has; the machine's state is read here, right after the last run."""
    return {
        "warm_up": WarmUpRecord(**asdict(warmed)),
        "elapsed_s": elapsed_s,
        "samples_us": samples_us,
        "before": before,
        "after": read_state(),
    }


def arrange(spec: WorkerSpec) -> WorkerResult:
    """Tries every arrangement of sessions, threads and batch for a part of a worker's share."""
    artifact = import_opener(spec.opener)(spec.path, profile=spec.profile, threads=spec.threads)
    artifact.import_runtime()
    samples = rotation(artifact.inputs(), spec.seed, in_sequence=bool(artifact.io.state))
    tried = []
    for arrangement in arrangements(thread_count(artifact.options), batch_axis(artifact.io)):
        crew = _crew(spec, arrangement, artifact, samples)
        warm_up(crew.together, spec.warm_up)
        rate = crew.measure(spec.share.trial).samples_per_second
        tried.append(ArrangementTrial(arrangement=arrangement, samples_per_second=rate))
    return WorkerResult(artifact=_facts(artifact), arrangements=tuple(tried))


def _crew(spec: WorkerSpec, arrangement: Arrangement, artifact: Artifact, samples: Rotation) -> Crew:
    pipeline = artifact.pipeline()
    feeds = [pipeline.preprocess(raw) for raw in samples.samples] if pipeline else samples.samples
    sessions = _sessions(spec, arrangement)
    return Crew(sessions, feeds, arrangement.batch, bool(artifact.io.state))


def _sessions(spec: WorkerSpec, arrangement: Arrangement) -> list[Session]:
    opener = import_opener(spec.opener)
    return [
        opener(spec.path, profile=spec.profile, threads=arrangement.threads).load() for _ in range(arrangement.sessions)
    ]


def profile_layers(spec: WorkerSpec) -> WorkerResult:
    """Every node's mean time, with the runtime's own profiler, in the order of time."""
    artifact = import_opener(spec.opener)(spec.path, profile=spec.profile, threads=spec.threads)
    artifact.import_runtime()
    stateful = bool(artifact.io.state)
    samples = rotation(artifact.inputs(), spec.seed, in_sequence=stateful).samples
    pipeline = artifact.pipeline()
    feeds = [pipeline.preprocess(raw) for raw in samples] if pipeline else samples
    return WorkerResult(
        artifact=_facts(artifact), profile=layer_profile(artifact.layers(feeds), artifact.placement(), len(feeds))
    )


def measure_memory(spec: WorkerSpec) -> WorkerResult:
    """What loading and running takes, over the baseline after imports and inputs; and what the driver counts."""
    artifact = import_opener(spec.opener)(spec.path, profile=spec.profile, threads=spec.threads)
    artifact.import_runtime()
    pipeline = artifact.pipeline()
    raws = list(artifact.inputs())
    unknown = {}
    gc.collect()
    not_reset = forget_high_water()
    if not_reset:
        unknown["rss_high_water_bytes"] = not_reset
    on_devices = process_bytes()
    baseline = resident_bytes()

    # Real samples only: variants of them would be counted as the model's memory.
    stateful = bool(artifact.io.state)
    samples = rotation(raws, spec.seed, least=1, in_sequence=stateful)
    if spec.arrangement is None:
        sessions: Sequence[Session] = [artifact.load()]
        run = Run(sessions[0], pipeline, samples, stateful)
        for index in range(MEMORY_RUNS):
            run(index)
    else:
        crew = _crew(spec, spec.arrangement, artifact, samples)
        sessions = crew.sessions
        for index in range(MEMORY_RUNS):
            crew.together(index)
    high_water, pss, on_devices_after = high_water_bytes(), proportional_bytes(), process_bytes()
    if pss is None:
        unknown["pss_bytes"] = f"{sys.platform} does not tell"
    nvml_increase = None
    if isinstance(on_devices_after, str):
        unknown["nvml_increase_bytes"] = on_devices_after
    else:
        nvml_increase = on_devices_after - (on_devices if isinstance(on_devices, int) else 0)
    counted = device_bytes(*sessions)
    if counted is None:
        unknown["device_bytes"] = f"{artifact.target} keeps no count of device memory apart from the process's own"

    placement = artifact.placement()
    return WorkerResult(
        artifact=_facts(artifact),
        memory=Memory(
            artifact_bytes=artifact.size_bytes,
            graphs_bytes=dict(artifact.graphs_bytes) if len(artifact.graphs_bytes) > 1 else {},
            parameters_bytes=artifact.parameters_bytes,
            rss_baseline_bytes=baseline,
            rss_high_water_bytes=high_water,
            rss_increase_bytes=max(0, high_water - baseline),
            pss_bytes=pss,
            device_bytes=counted,
            nvml_increase_bytes=nvml_increase,
            runs=MEMORY_RUNS,
            unknown=unknown,
        ),
        placement=PlacementShares(
            source=placement.source,
            precision_by_macs=placement.share_of_macs("precision"),
            device_by_macs=placement.share_of_macs("device"),
        ),
    )


def _facts(artifact: Artifact) -> ArtifactFacts:
    return ArtifactFacts(
        name=artifact.name,
        graph=artifact.graph_name,
        target=artifact.target,
        profile=artifact.profile,
        precision=str(artifact.precision),
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        parameters_bytes=artifact.parameters_bytes,
        inputs={tensor.name: tensor.shape for tensor in artifact.io.fed},
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
