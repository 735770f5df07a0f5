"""What a report is made of: the runs, bundles and measurements that lie below the given paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekd.bundle.manifest import read_manifest
from edgekd.bundle.open import Bundle
from edgekd.bundle.open import open as open_bundle
from edgekd.errors import InputError
from edgekd.measuring.measurement import Measurement
from edgekd.measuring.measurement import load as load_measurement
from edgekd.run import Run, is_run, open_run, read_record
from edgekd.storage import read_json

DEFAULT_PATHS = ("runs", "bundles", "measurements")
DEEPEST = 3  # folders below a given one
_FIX = "edgekd distill makes runs, edgekd export bundles, edgekd bench measurements"


@dataclass
class Collected:
    """Everything found, each once, in the order of paths; measurements from the oldest to the newest.

    ``skipped`` are the JSON files right in the given folders that are something else.
    """

    runs: list[Run] = field(default_factory=list)
    bundles: list[Bundle] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def run_of(self, bundle: Bundle) -> Run | None:
        """The run that a bundle was made from, if it is here."""
        wanted = bundle.manifest.provenance.student_sha256
        return next((run for run in self.runs if run.record.files and run.sha256 == wanted), None)

    def latest(self, sha256: str, target: str) -> Measurement | None:
        """The newest measurement of an artefact's latency, that is of ``main`` in scenario ``single``."""
        known = (sha256, target, "main")
        artefact = [m for m in self.measurements if (m.artifact.sha256, m.artifact.target, m.artifact.graph) == known]
        found = [m for m in artefact if m.conditions.scenario == "single"]
        return found[-1] if found else None


def collect(paths: Sequence[Path] | None = None) -> Collected:
    """Opens and checks everything.

    Args:
        paths: runs, bundles, measurement files, or folders of them; None means those of ``DEFAULT_PATHS`` that
            exist in the current directory.

    Raises:
        InputError: a path that is missing or holds nothing, a damaged run, bundle or measurement (named), or
            nothing found at all.
    """
    if paths is None:
        existing = [Path(name) for name in DEFAULT_PATHS if Path(name).is_dir()]
    else:
        existing = [Path(path) for path in paths]
        for path in existing:
            if not path.exists():
                raise InputError(f"there is no {path}", fix=_FIX)
    found, seen = Collected(), set[Path]()
    for path in existing:
        items = list(_below(path, 0, found.skipped))
        if paths is not None and not items:
            raise InputError(f"{path} holds no run, no bundle and no measurement", fix=_FIX)
        for item in items:
            if item.resolve() not in seen:
                seen.add(item.resolve())
                _add(found, item)
    if not seen:
        raise InputError(
            "there is nothing to report",
            f"no {', '.join(DEFAULT_PATHS)} here ({Path.cwd()})" if not existing else "the folders are empty",
            _FIX + "; or name their paths",
        )
    found.measurements.sort(key=lambda m: m.created)
    return found


def _below(path: Path, depth: int, skipped: list[str]) -> Iterator[Path]:
    """The runs, bundles and measurement files at or below ``path``; nothing inside of a run or bundle."""
    if path.is_file():
        if depth == 0 or _is_measurement(path):
            yield path
        elif path.suffix == ".json" and depth == 1:
            skipped.append(str(path))
    elif is_run(path) or (path / "manifest.json").is_file():
        yield path
    elif depth <= DEEPEST:
        for inner in sorted(path.iterdir()):
            if not inner.name.startswith("."):  # what is being written has a name with a dot
                yield from _below(inner, depth + 1, skipped)


def _is_measurement(path: Path) -> bool:
    """Whether a JSON file in a folder says it is one; damaged ones are opened, so that they are named."""
    if path.suffix != ".json":
        return False
    try:
        data = read_json(path)
    except InputError:
        return True
    return isinstance(data, dict) and {"schema_version", "artifact", "spans"} <= data.keys()


def _add(found: Collected, path: Path) -> None:
    if path.suffix == ".zip" and path.is_file():
        read_manifest(path)  # says that it must be unpacked
    elif path.is_file():
        found.measurements.append(load_measurement(path))
    elif is_run(path):
        record = read_record(path)
        # Training that still goes on is no damage: its curves are what one wants to see.
        found.runs.append(Run(path, record) if record.status == "training" else open_run(path))
    else:
        found.bundles.append(open_bundle(path))
