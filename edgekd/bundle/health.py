"""What is installed here and what that makes possible. Imports runtimes to be sure of them."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import psutil

from edgekd.errors import EdgekdError, MachineError
from edgekd.registry import runtime, target_entry, targets


def examine() -> dict[str, Any]:
    """Machine facts, each target's probe, and each extra's packages with the pip line for what is missing."""
    return {
        "machine": {
            "cpu": _cpu(),
            "cores": psutil.cpu_count(),
            "memory_gib": psutil.virtual_memory().total / 2**30,
            "system": platform.platform(terse=True),
            "python": sys.version.split()[0],
        },
        "targets": [_target(name) for name in targets()],
        "extras": _extras(),
    }


def _target(name: str) -> dict[str, Any]:
    probe = runtime(name).probe()
    builds, why, fix = _builds(name)
    return {
        "target": name,
        "runs": probe.can_run,
        "builds": builds,
        "version": probe.version,
        "devices": list(probe.devices),
        "why": probe.why or why,
        "fix": probe.fix or fix,
    }


def _builds(name: str) -> tuple[str, str, str]:
    entry = target_entry(name)
    if not (entry.folder / "build.py").exists():
        return "is a run", "", ""
    missing = [package for package in ("torch", "onnx", "onnxruntime", *_tools(name)) if not _found(package)]
    if missing:
        return "no", "to build: " + ", ".join(missing), 'pip install "edgekd[distill]"'
    try:
        from edgekd.registry import builder

        builder(name).versions()
    except (EdgekdError, ImportError, PackageNotFoundError) as error:
        return "no", str(error), 'pip install "edgekd[distill]"'
    return "yes", "", ""


def _tools(name: str) -> tuple[str, ...]:
    return tuple(target_entry(name).facts.get("build_needs", ()))


def _found(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def pip_line(module: str, wanted_extra: str = "") -> str:
    """What installs ``module``: the wanted or else the smallest extra that brings it, else the package of that name."""
    wanted = module.replace("_", "-").lower()
    extras = {n: own for n, own in _packages_by_extra().items() if wanted in (package.lower() for package in own)}
    if not extras:
        return f"pip install {wanted}"
    extra = wanted_extra if wanted_extra in extras else min(extras, key=lambda name: len(extras[name]))
    return f'pip install "edgekd[{extra}]"'


def not_installed(error: ModuleNotFoundError, wanted_extra: str = "") -> MachineError | None:
    """A package that an extra would have brought along; None for a module of our own, which is our bug."""
    missing = (error.name or "").partition(".")[0]
    if missing in ("", "edgekd", "edgekd_targets"):
        return None
    return MachineError(f"{missing} is not installed", str(error), pip_line(missing, wanted_extra))


def _packages_by_extra() -> dict[str, list[str]]:
    """From the installed package's own metadata, so that this list cannot fall behind it."""
    extras: dict[str, list[str]] = {}
    for line in requires("edgekd") or []:
        match = re.match(r"([A-Za-z0-9_.-]+).*extra\s*==\s*['\"]([a-z-]+)['\"]", line)
        if match and match[1] != "edgekd":
            extras.setdefault(match[2], []).append(match[1])
    return extras


def _extras() -> list[dict[str, Any]]:
    rows = []
    for extra, packages in _packages_by_extra().items():
        installed, missing = [], []
        for package in packages:
            try:
                installed.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                missing.append(package)
        fix = f'pip install "edgekd[{extra}]"' if missing else ""
        rows.append({"extra": extra, "installed": installed, "missing": missing, "fix": fix})
    return rows


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
