from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.measuring.machine import clock_probe, lock_command, read_facts, read_state

CPUINFO = "processor\t: 0\nmodel name\t: Test CPU 9000\nflags\t\t: fpu avx2 hypervisor\n"
CPU = "sys/devices/system/cpu"


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def root(tmp_path):
    """Part of a Linux root: frequency control, thermal counters, a control group with a quota."""
    write(tmp_path, "proc/cpuinfo", CPUINFO)
    write(tmp_path, "proc/self/cgroup", "0::/slice/job\n")
    write(tmp_path, "sys/fs/cgroup/slice/cpu.max", "150000 100000\n")
    write(tmp_path, "sys/fs/cgroup/slice/job/cpu.max", "max 100000\n")
    write(tmp_path, "sys/fs/cgroup/slice/job/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 4\n")
    write(tmp_path, f"{CPU}/cpu0/cpufreq/scaling_governor", "powersave\n")
    write(tmp_path, f"{CPU}/intel_pstate/no_turbo", "0\n")
    write(tmp_path, f"{CPU}/cpu0/thermal_throttle/core_throttle_count", "3\n")
    write(tmp_path, f"{CPU}/cpu1/thermal_throttle/package_throttle_count", "2\n")
    write(tmp_path, "sys/class/dmi/id/product_name", "Board 4\n")
    return tmp_path


def test_facts_are_read_from_proc_and_sys(root):
    facts = read_facts(root)
    assert (facts.cpu_model, facts.product) == ("Test CPU 9000", "Board 4")
    assert (facts.governor, facts.turbo, facts.virtualization) == ("powersave", True, "virtual machine")
    assert facts.cpu_quota == 1.5  # of the group above, the tighter one
    assert not set(facts.unknown) & {"cpu_model", "product", "governor", "turbo", "virtualization"}


def test_state_sums_the_throttle_counters(root):
    state = read_state(root)
    assert (state.throttled_count, state.quota_throttled_count) == (5, 4)


def test_quota_of_a_version_1_control_group(root):
    write(root, "proc/self/cgroup", "4:cpu,cpuacct:/docker\n0::/\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "50000\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n")
    assert read_facts(root).cpu_quota == 0.5


def test_what_cannot_be_read_is_none_with_a_reason(tmp_path):
    facts, state = read_facts(tmp_path), read_state(tmp_path)
    for name in ("product", "governor", "turbo", "virtualization"):
        assert getattr(facts, name) is None
        assert facts.unknown[name]
    for name in ("throttled_count", "quota_throttled_count"):
        assert getattr(state, name) is None
        assert state.unknown[name]


def test_every_none_on_this_machine_has_its_reason():
    for reading in (read_facts(), read_state()):
        missing = {name for name, value in reading if value is None} - {"cpu_quota"}  # None = no quota
        assert missing <= set(reading.unknown)


def test_machine_id_is_stable_and_follows_the_hardware_alone(root):
    facts = read_facts(root)
    assert len(facts.id) == 12
    assert facts.id == read_facts(root).id
    updated = facts.model_copy(update={"kernel": "99", "python": "4", "governor": "performance"})
    assert updated.id == facts.id
    assert facts.model_copy(update={"cpu_model": "Other"}).id != facts.id
    assert facts.model_copy(update={"cores_usable": 1000}).id != facts.id


def test_lock_command_is_told_and_never_run(root):
    command = lock_command(read_facts(root), root)
    assert command is not None
    assert "cpupower frequency-set --governor performance" in command
    assert "intel_pstate/no_turbo" in command
    assert (root / CPU / "intel_pstate/no_turbo").read_text() == "0\n"


def test_a_locked_machine_needs_no_command(root):
    write(root, f"{CPU}/cpu0/cpufreq/scaling_governor", "performance\n")
    write(root, f"{CPU}/intel_pstate/no_turbo", "1\n")
    assert lock_command(read_facts(root), root) is None


def test_clock_probe_takes_real_time():
    assert clock_probe() > 1000
