"""From raw samples of several worker processes to figures with a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

import edgekd
from edgekd.measuring.machine import MachineFacts, lock_command
from edgekd.measuring.measurement import (
    QUANTILES,
    ArrangementTrial,
    ArtifactFacts,
    Comparison,
    Conditions,
    FramesPerSecond,
    Headline,
    LatencyResult,
    LayerProfile,
    Measurement,
    Memory,
    OfflineFigures,
    PacedFigures,
    PlacementShares,
    Span,
    SpanFigures,
    Startup,
    Verdict,
    WorkerRecord,
    utc_now,
)
from edgekd.measuring.offline import fastest, slices_ns
from edgekd.measuring.paced import period_ns
from edgekd.measuring.protocol import LengthRule
from edgekd.measuring.statistics import (
    REPRODUCED_WITHIN,
    Samples,
    coefficient_of_variation,
    paired_ratio,
    percentile,
    spread,
)
from edgekd.measuring.validity import contention, fallback


def headline_span(spans: Iterable[Span]) -> Span:
    """From a frame's arrival where there is a camera; else end to end where there is a pipeline, or inference alone."""
    return "from-arrival" if "from-arrival" in spans else service_span(spans)


def service_span(spans: Iterable[Span]) -> Span:
    """What a sample takes once it is looked at."""
    return "end-to-end" if "end-to-end" in spans else "infer"


def worker_record(
    round_: int, position: int, busy_before: float, result: LatencyResult, device: str = "cpu"
) -> WorkerRecord:
    # The time from a frame's arrival may vary by the phase of the clock alone, a call's beside others by theirs.
    samples = slices_ns(result.offline) if result.offline else result.samples_us[service_span(result.samples_us)]
    variation = coefficient_of_variation(samples)
    return WorkerRecord(
        round=round_,
        position=position,
        busy_before=busy_before,
        variation=variation,
        contention=tuple(contention(result.before, result.after, busy_before, variation, device)),
        result=result,
    )


def device_kind(placement: PlacementShares | None) -> str:
    """``gpu`` or ``cpu``: which limit of variation holds."""
    shares = placement.device_by_macs if placement else {}
    main = max(shares, key=lambda device: shares[device], default="cpu").lower()
    return "gpu" if any(word in main for word in ("gpu", "cuda", "tensorrt")) else "cpu"


def measurement(
    artifact: ArtifactFacts,
    records: Sequence[WorkerRecord],
    memory: Memory,
    placement: PlacementShares | None,
    conditions: Conditions,
    rule: LengthRule,
    facts: MachineFacts,
    comparisons: Sequence[Comparison],
    arrangements: Sequence[ArrangementTrial] = (),
    profile: LayerProfile | None = None,
) -> Measurement:
    """All that is known of one contender, condensed; ``records`` has one entry per worker process."""
    by_span = {span: blocks(records, span) for span in records[0].result.samples_us}
    spans = {span: span_figures(runs) for span, runs in by_span.items()}
    span = headline_span(spans)
    headline, reproduced = headline_figure(span, by_span[span])
    paced = paced_figures(records, conditions.fps) if conditions.fps else None
    offline = None
    if arrangements:
        offline, reproduced = offline_figures(records, arrangements)
    return Measurement(
        edgekd_version=edgekd.__version__,
        created=utc_now(),
        artifact=artifact,
        conditions=conditions,
        machine=facts,
        machine_id=facts.id,
        lock_command=lock_command(facts),
        workers=tuple(records),
        startup=_median_startup([record.result.startup for record in records]),
        spans=spans,
        headline=headline,
        reproduced=reproduced,
        fps=FramesPerSecond(value=_rate(records, spans[span], offline), span=span),
        memory=memory,
        placement=placement,
        comparisons=tuple(comparisons),
        verdict=verdict(records, rule, reproduced, placement),
        paced=paced,
        offline=offline,
        profile=profile,
    )


def blocks(records: Sequence[WorkerRecord], span: Span) -> list[Samples]:
    """Microseconds of ``span``, one block per worker process."""
    return [np.asarray(record.result.samples_us[span], dtype=np.int64) for record in records]


def pace_blocks(records: Sequence[WorkerRecord], span: Span) -> list[Samples]:
    """What two contenders are compared by: durations of ``span``, offline the time per sample; a block per process."""
    offline = [record.result.offline for record in records if record.result.offline is not None]
    return [slices_ns(run) for run in offline] if offline else blocks(records, span)


def span_figures(runs: Sequence[Samples]) -> SpanFigures:
    pooled = np.concatenate(runs)
    return SpanFigures(
        runs=len(pooled),
        mean_ms=float(pooled.mean()) / 1e3,
        min_ms=float(pooled.min()) / 1e3,
        max_ms=float(pooled.max()) / 1e3,
        percentiles_ms={name: _ms(percentile(pooled, q)) for name, q in QUANTILES.items()},
    )


def headline_figure(span: Span, runs: Sequence[Samples]) -> tuple[Headline, bool]:
    """The p90, and whether the processes reproduce one another.

    Where single processes ran too rarely for a p90 of their own, all runs give one together, and the
    processes are compared by their medians.
    """
    own = [percentile(block, QUANTILES["p90"]) for block in runs]
    supported = [value for value in own if value is not None]
    if len(supported) == len(runs):
        found = spread(supported)
        headline = Headline(
            span=span,
            p90_ms=found.median / 1e3,
            low_ms=found.low / 1e3,
            high_ms=found.high / 1e3,
            how=f"median of {len(runs)} processes' p90, with the least and the greatest",
        )
        return headline, found.reproduced
    pooled = percentile(np.concatenate(runs), QUANTILES["p90"])
    medians = [percentile(block, QUANTILES["p50"]) for block in runs]
    known = [value for value in medians if value is not None]
    how = "all processes' runs together" if pooled is not None else "too few runs for a p90"
    headline = Headline(span=span, p90_ms=_ms(pooled), low_ms=None, high_ms=None, how=how)
    return headline, len(known) == len(runs) and spread(known).reproduced


def paced_figures(records: Sequence[WorkerRecord], fps: float) -> PacedFigures:
    runs = [record.result.paced for record in records if record.result.paced is not None]
    frames = sum(run.frames for run in runs)
    dropped = frames - sum(len(run.processed) for run in runs)
    deadline_us = period_ns(fps) / 1e3
    late = sum(us > deadline_us for record in records for us in record.result.samples_us["from-arrival"])
    highest = [run.highest_fps for run in runs if run.highest_fps is not None]
    found = spread(highest) if len(highest) == len(runs) else None
    return PacedFigures(
        deadline_ms=deadline_us / 1e3,
        frames=frames,
        late=late,
        dropped=dropped,
        missed_share=(late + dropped) / frames,
        dropped_share=dropped / frames,
        highest_fps=found.median if found else None,
        highest_low=found.low if found else None,
        highest_high=found.high if found else None,
    )


def offline_figures(records: Sequence[WorkerRecord], tried: Sequence[ArrangementTrial]) -> tuple[OfflineFigures, bool]:
    """The throughput, and whether the processes reproduce one another."""
    found = spread([record.result.offline.samples_per_second for record in records if record.result.offline])
    figures = OfflineFigures(
        arrangement=fastest(tried),
        tried=tuple(tried),
        samples_per_second=found.median,
        low=found.low,
        high=found.high,
    )
    return figures, found.reproduced


def _rate(records: Sequence[WorkerRecord], figures: SpanFigures, offline: OfflineFigures | None) -> float:
    if offline is not None:
        return offline.samples_per_second
    if any(record.result.paced for record in records):
        seconds = sum(record.result.elapsed_s for record in records)
        return sum(len(r.result.paced.processed) for r in records if r.result.paced) / seconds
    return 1000 / max(figures.mean_ms, 1e-3)


def verdict(
    records: Sequence[WorkerRecord],
    rule: LengthRule,
    reproduced: bool,
    placement: PlacementShares | None,
) -> Verdict:
    """The gravest label, and every reason there is."""
    reportable = [] if rule.reportable else [f"length {rule.name} is for a look, not for a claim"]
    restless = sum(not record.result.warm_up.settled for record in records)
    settled = (
        [f"{restless} of {len(records)} processes had not settled after {rule.warm_up.cap_s:g} s of warm-up"]
        if restless
        else []
    )
    contended = [f"process {r.round + 1}: {reason}" for r in records for reason in r.contention]
    contended += fallback(placement.device_by_macs) if placement else []
    repeated = [] if reproduced else [f"the processes differ by more than {REPRODUCED_WITHIN:.0%}"]
    reasons = (*reportable, *settled, *contended, *repeated)
    if reportable:
        return Verdict(label="not reportable", reasons=reasons)
    if settled:
        return Verdict(label="not settled", reasons=reasons)
    if contended:
        return Verdict(label="contended", reasons=reasons)
    return Verdict(label="valid" if reproduced else "not reproduced", reasons=reasons)


def comparisons(
    records: Sequence[WorkerRecord],
    reference: ArtifactFacts,
    reference_records: Sequence[WorkerRecord],
    seed: int,
) -> list[Comparison]:
    """How many times faster than the reference, round by round, for each span that both have.

    Offline it is the throughput that is compared, in slices of each process's calls.
    """
    found = []
    for span in ("infer", "end-to-end"):
        sides = [r for r in (records, reference_records) if span in r[0].result.samples_us]
        if len(sides) < 2:
            continue
        own, other = pace_blocks(records, span), pace_blocks(reference_records, span)
        if any(np.median(block) == 0 for block in (*own, *other)):
            continue  # under a microsecond: raw samples cannot tell how long
        ratio = paired_ratio(other, own, seed)
        found.append(
            Comparison(
                reference=reference.name,
                reference_sha256=reference.sha256,
                span=span,
                speedup=ratio.value,
                low=ratio.low,
                high=ratio.high,
                confidence=ratio.confidence,
                rounds=ratio.blocks,
            )
        )
    return found


def _median_startup(all_: Sequence[Startup]) -> Startup:
    def middle(field: str) -> float:
        return float(np.median([getattr(startup, field) for startup in all_]))

    return Startup(
        process_ms=middle("process_ms"),
        open_ms=middle("open_ms"),
        import_ms=middle("import_ms"),
        load_ms=middle("load_ms"),
        first_inference_ms=middle("first_inference_ms"),
        torch_imported=any(startup.torch_imported for startup in all_),
    )


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1e3
