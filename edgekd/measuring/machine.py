"""What the machine is and what state it is in. Reads only: no clock, governor or affinity is ever changed.

A fact that cannot be read is None, and ``unknown`` says why.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field

from edgekd.contracts import StrictModel
from edgekd.measuring.protocol import CLOCK

ROOT = Path("/")
PROBE_BYTES = 1 << 18  # hashed once per clock probe: about 0.2 ms, short enough to slip between interruptions
PROBE_TIMES = 40


class MachineFacts(StrictModel):
    """What does not change between two measurements. ``product`` is the board or computer."""

    cpu_model: str | None
    product: str | None
    architecture: str
    cores_physical: int | None
    cores_logical: int
    cores_usable: int  # that this process may be scheduled on
    cpu_quota: float | None  # cores that a control group grants; None = no limit
    ram_bytes: int
    os: str
    kernel: str
    python: str
    virtualization: str | None
    governor: str | None
    turbo: bool | None
    unknown: dict[str, str] = Field(default_factory=dict)

    @property
    def id(self) -> str:
        """12 hex digits of the hardware, free of host and user names; updates of the software keep it."""
        gibibytes = round(self.ram_bytes / 2**30)
        parts = (
            self.cpu_model,
            self.product,
            self.architecture,
            self.cores_physical,
            self.cores_logical,
            self.cores_usable,
            self.cpu_quota,
            gibibytes,
            self.virtualization,
        )
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """One line for a table's caption."""
        parts = [self.cpu_model or self.architecture]
        if self.product:
            parts.append(self.product)
        parts.append(f"{self.cores_usable} of {self.cores_logical} logical cores")
        if self.cpu_quota is not None:
            parts.append(f"quota {self.cpu_quota:g} cores")
        parts.append(f"{self.ram_bytes / 2**30:.0f} GiB")
        if self.virtualization not in (None, "none seen"):
            parts.append(str(self.virtualization))
        parts.append(f"{self.os} {self.kernel}")
        return ", ".join(parts)


class MachineState(StrictModel):
    """Counters and readings at one moment; two of them judge what lay between.

    ``probe_ns`` is the shortest of many timings of one fixed piece of integer work: where no clock can be
    read, it follows the clock. Times are seconds since boot, summed over cores.
    """

    monotonic_s: float
    load_average: float | None  # runnable processes over the last minute
    total_s: float
    idle_s: float
    steal_s: float | None
    own_s: float  # processor time of this process
    clock_mhz: float | None
    probe_ns: int
    throttled_count: int | None  # thermal, all cores
    quota_throttled_count: int | None  # periods in which the control group's quota ran out
    on_battery: bool | None
    unknown: dict[str, str] = Field(default_factory=dict)


def read_facts(root: Path = ROOT) -> MachineFacts:
    """``root`` is where /proc and /sys are looked for."""
    unknown: dict[str, str] = {}
    cpuinfo = _read(root / "proc/cpuinfo") or ""
    model = _cpuinfo(cpuinfo, "model name") or _cpuinfo(cpuinfo, "Hardware") or _cpu_model_elsewhere()
    if not model:
        unknown["cpu_model"] = f"{platform.system()} does not name it"
    product = _read(root / "sys/class/dmi/id/product_name") or _read(root / "proc/device-tree/model")
    if not product:
        unknown["product"] = "neither DMI nor a device tree names it"

    cpu = root / "sys/devices/system/cpu"
    governor = _read(cpu / "cpu0/cpufreq/scaling_governor")
    if governor is None:
        unknown["governor"] = _no_frequency_control()
    turbo = _turbo(cpu)
    if turbo is None:
        unknown["turbo"] = _no_frequency_control()
    physical = psutil.cpu_count(logical=False)
    if physical is None:
        unknown["cores_physical"] = "the system does not tell"
    virtualization = _virtualization(root, cpuinfo)
    if virtualization is None:
        unknown["virtualization"] = f"not looked for on {platform.system()}"

    logical = psutil.cpu_count() or os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return MachineFacts(
        cpu_model=model or None,
        product=product or None,
        architecture=platform.machine(),
        cores_physical=physical,
        cores_logical=logical,
        cores_usable=usable,
        cpu_quota=_cpu_quota(root),
        ram_bytes=psutil.virtual_memory().total,
        os=platform.system(),
        kernel=platform.release(),
        python=platform.python_version(),
        virtualization=virtualization,
        governor=governor,
        turbo=turbo,
        unknown=unknown,
    )


def read_state(root: Path = ROOT) -> MachineState:
    """Takes about 10 ms, nearly all of it the clock probe."""
    unknown: dict[str, str] = {}
    times = psutil.cpu_times()
    steal = getattr(times, "steal", None)
    if steal is None:
        unknown["steal_s"] = f"{platform.system()} does not count it"
    probe = clock_probe()
    # Right after the probe the core that ran it is awake; the idle ones say nothing about the clock.
    clocks = psutil.cpu_freq(percpu=True) if hasattr(psutil, "cpu_freq") else None
    if not clocks:
        unknown["clock_mhz"] = _no_frequency_control()
    throttled = _throttle_count(root)
    if throttled is None:
        unknown["throttled_count"] = "the processor shows no throttle counters"
    quota_throttled = _quota_throttled(root)
    if quota_throttled is None:
        unknown["quota_throttled_count"] = "no control group's cpu.stat"
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is None:
        unknown["on_battery"] = "no battery seen"
    try:
        load: float | None = psutil.getloadavg()[0]
    except OSError as error:
        load, unknown["load_average"] = None, str(error)

    return MachineState(
        monotonic_s=CLOCK() / 1e9,
        load_average=load,
        total_s=_total_s(times),
        idle_s=_idle_s(times),
        steal_s=steal,
        own_s=time.process_time(),
        clock_mhz=max(clock.current for clock in clocks) if clocks else None,
        probe_ns=probe,
        throttled_count=throttled,
        quota_throttled_count=quota_throttled,
        on_battery=None if battery is None else not battery.power_plugged,
        unknown=unknown,
    )


def busy_share(seconds: float) -> float:
    """Share of all cores' time that anyone uses while this process sleeps for ``seconds``."""
    before = psutil.cpu_times()
    time.sleep(seconds)
    after = psutil.cpu_times()
    total = _total_s(after) - _total_s(before)
    return max(0.0, 1 - (_idle_s(after) - _idle_s(before)) / total) if total > 0 else 0.0


def clock_probe() -> int:
    """Nanoseconds of one fixed piece of integer work, the shortest of many: a reading of the clock."""
    data = bytes(PROBE_BYTES)
    shortest = sys.maxsize
    for _ in range(PROBE_TIMES):
        start = CLOCK()
        hashlib.sha256(data).digest()
        shortest = min(shortest, CLOCK() - start)
    return shortest


def lock_command(facts: MachineFacts, root: Path = ROOT) -> str | None:
    """What a user could run to hold the clock still; None where nothing can be held. edgekd never runs it."""
    commands = []
    if facts.governor not in (None, "performance"):
        commands.append("sudo cpupower frequency-set --governor performance")
    if facts.turbo:
        cpu = root / "sys/devices/system/cpu"
        if (cpu / "intel_pstate/no_turbo").exists():
            commands.append("echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo")
        else:
            commands.append("echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost")
    return " && ".join(commands) or None


def _total_s(times: Any) -> float:
    # Linux counts guest time inside user time too.
    return float(sum(value for name, value in times._asdict().items() if not name.startswith("guest")))


def _idle_s(times: Any) -> float:
    return float(times.idle + getattr(times, "iowait", 0.0))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().strip("\0")
    except OSError:
        return None


def _cpuinfo(text: str, key: str) -> str:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _cpu_model_elsewhere() -> str:
    if sys.platform != "darwin":
        return platform.processor()
    asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or platform.processor()


def _no_frequency_control() -> str:
    if platform.system() == "Linux":
        return "the kernel shows no frequency control here, as in most virtual machines"
    return f"{platform.system()} does not tell"


def _turbo(cpu: Path) -> bool | None:
    no_turbo = _read(cpu / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == "0"
    boost = _read(cpu / "cpufreq/boost")
    return None if boost is None else boost == "1"


def _virtualization(root: Path, cpuinfo: str) -> str | None:
    if not cpuinfo:
        return None
    seen = []
    if "hypervisor" in _cpuinfo(cpuinfo, "flags").split():
        vendor = _read(root / "sys/class/dmi/id/sys_vendor")
        seen.append(f"virtual machine ({vendor})" if vendor else "virtual machine")
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        seen.append("container")
    return ", ".join(seen) or "none seen"


def _control_group(root: Path, controller: str, file: str) -> list[str]:
    """Contents of ``file`` in this process's control group and those above it, nearest first; v2, then v1."""
    found = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            base = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            base = root / "sys/fs/cgroup" / controllers
        else:
            continue
        folder = base / path.lstrip("/")
        while True:
            text = _read(folder / file)
            if text is not None:
                found.append(text)
            if folder == base or base not in folder.parents:
                break
            folder = folder.parent
    return found


def _cpu_quota(root: Path) -> float | None:
    """Cores granted by the tightest control group."""
    limits = []
    for text in _control_group(root, "cpu", "cpu.max"):
        quota, period = text.split()
        if quota != "max":
            limits.append(int(quota) / int(period))
    quotas = _control_group(root, "cpu", "cpu.cfs_quota_us")
    periods = _control_group(root, "cpu", "cpu.cfs_period_us")
    limits += [int(q) / int(p) for q, p in zip(quotas, periods, strict=False) if int(q) > 0]
    return min(limits) if limits else None


def _quota_throttled(root: Path) -> int | None:
    counts = [
        int(line.split()[1])
        for text in _control_group(root, "cpu", "cpu.stat")
        for line in text.splitlines()
        if line.startswith("nr_throttled ")
    ]
    return sum(counts) if counts else None


def _throttle_count(root: Path) -> int | None:
    """Thermal events of all cores and packages (x86), or of a Raspberry Pi's firmware since boot."""
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
    if files:
        return sum(int(_read(file) or 0) for file in files)
    firmware = _read(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    return int(firmware, 16) if firmware else None
