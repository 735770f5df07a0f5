"""Whether a figure may be claimed: what happened to the machine while it was taken."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.measuring.machine import MachineState

BUSY_BEFORE = 0.10  # share of all cores in use before a worker starts
BUSY_MEANWHILE = 0.10  # share of all cores used by others while it measures
STEAL = 0.01  # share of the time that the host kept for others
CLOCK_DRIFT = 0.05  # between before and after
VARIATION = {"cpu": 0.10, "gpu": 0.025}  # coefficient of variation of the latencies
# The system counts processor time in ticks of 10 ms, so a share over a shorter window says nothing.
SHORTEST_WINDOW_S = 1.0


def foreign_share(before: MachineState, after: MachineState) -> float | None:
    """Share of all cores' time that other processes used; None over less than a second."""
    total = after.total_s - before.total_s
    if after.monotonic_s - before.monotonic_s < SHORTEST_WINDOW_S or total <= 0:
        return None
    busy = total - (after.idle_s - before.idle_s) - (after.own_s - before.own_s)
    stolen = (after.steal_s or 0.0) - (before.steal_s or 0.0)  # judged by itself
    return max(0.0, (busy - stolen) / total)


def steal_share(before: MachineState, after: MachineState) -> float | None:
    """Share of all cores' time that the hypervisor gave to other guests."""
    total = after.total_s - before.total_s
    if before.steal_s is None or after.steal_s is None or total <= 0:
        return None
    if after.monotonic_s - before.monotonic_s < SHORTEST_WINDOW_S:
        return None
    return (after.steal_s - before.steal_s) / total


def contention(
    before: MachineState,
    after: MachineState,
    busy_before: float,
    variation: float | None,
    device: str = "cpu",
) -> list[str]:
    """Each reason why what one worker measured between two states is contended; none if it is clean."""
    reasons = []
    if busy_before > BUSY_BEFORE:
        reasons.append(f"load before the start: {busy_before:.0%} of all cores (limit {BUSY_BEFORE:.0%})")
    foreign = foreign_share(before, after)
    if foreign is not None and foreign > BUSY_MEANWHILE:
        reasons.append(f"others used {foreign:.0%} of all cores meanwhile (limit {BUSY_MEANWHILE:.0%})")
    steal = steal_share(before, after)
    if steal is not None and steal > STEAL:
        reasons.append(f"steal {steal:.1%} (limit {STEAL:.0%})")
    if _grew(before.throttled_count, after.throttled_count):
        reasons.append("throttled by heat")
    if _grew(before.quota_throttled_count, after.quota_throttled_count):
        reasons.append("throttled by the control group's quota")
    drift = max(
        abs(after.probe_ns / before.probe_ns - 1),
        abs(after.clock_mhz / before.clock_mhz - 1) if before.clock_mhz and after.clock_mhz else 0.0,
    )
    if drift > CLOCK_DRIFT:
        reasons.append(f"clock drift {drift:.0%} (limit {CLOCK_DRIFT:.0%})")
    limit = VARIATION[device]
    if variation is not None and variation > limit:
        reasons.append(f"variation {variation:.1%} (limit {limit:.1%})")
    if before.on_battery or after.on_battery:
        reasons.append("on battery")
    return reasons


def fallback(device_by_macs: Mapping[str, float]) -> list[str]:
    """The reason why placement taints a figure: part of the work ran on another device than most of it."""
    main = max(device_by_macs, key=lambda device: device_by_macs[device], default=None)
    return [
        f"{share:.1%} of MACs fell back to {device}"
        for device, share in device_by_macs.items()
        if device != main and share > 0
    ]


def _grew(before: int | None, after: int | None) -> bool:
    return before is not None and after is not None and after > before
