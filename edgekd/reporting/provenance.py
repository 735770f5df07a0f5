"""Where everything came from, under which licences, and on which machines it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekd.bundle.open import Bundle
from edgekd.measuring.measurement import Measurement
from edgekd.reporting.collect import Collected
from edgekd.reporting.formatting import count, megabytes
from edgekd.reporting.origin import Origin, data_of, origin_of, student_of
from edgekd.reporting.page import Child, Html, element, facts, folded, section, table
from edgekd.run import Run

ORIGINS, MACHINES = "Licences and provenance", "Machines"


def origins_section(found: Collected) -> Html | None:
    if not found.runs and not found.bundles:
        return None
    lead = "What the models were made from, with the licences of data and labels, and what makes them the same again."
    return section(
        ORIGINS, lead, _licences(found), [_run(run) for run in found.runs], [_bundle(b) for b in found.bundles]
    )


def machines_section(found: Collected) -> Html | None:
    """The machines of the measurements, each once, with what could not be read there and why."""
    machines: dict[str, Measurement] = {m.machine_id: m for m in found.measurements}
    if not machines:
        return None
    parts: list[Html] = []
    for machine_id, measurement in machines.items():
        machine = measurement.machine
        values: dict[str, Any] = machine.model_dump(exclude={"unknown", "ram_bytes"})
        pairs: list[tuple[str, Child]] = [("id", machine_id)]
        for name, value in values.items():
            unread = machine.unknown.get(name)
            if value is not None or unread:
                pairs.append((name.replace("_", " "), f"not known: {unread}" if value is None else str(value)))
        pairs.append(("memory", f"{machine.ram_bytes / 2**30:.1f} GiB"))
        if measurement.lock_command:
            pairs.append(("to hold the clock still", element("code", measurement.lock_command)))
        parts += [element("h3", machine.title), facts(pairs)]
    return section(MACHINES, "As read when measuring; edgekd changes no clock, governor or affinity.", parts)


def _licences(found: Collected) -> Html | None:
    """What, licence, used by."""
    used: dict[tuple[str, str], list[str]] = {}
    for bundle in found.bundles:
        for what, licence in bundle.manifest.licences.items():
            used.setdefault((what, licence), []).append(bundle.name)
    for run in found.runs:
        for source in data_of(run).sources:
            pair = str(source.get("source")), str(source.get("licence", "unknown"))
            used.setdefault(pair, []).append(run.name)
    rows = [[what, licence, ", ".join(dict.fromkeys(names))] for (what, licence), names in used.items()]
    return table(("data or labels", "licence", "in"), rows) if rows else None


def _run(run: Run) -> Html:
    record = run.record
    data = data_of(run)
    pairs: list[tuple[str, Child]] = [
        ("recipe", f"{record.recipe}, preset {record.preset}, seed {record.seed}"),
        ("data", f"{data.named}; labels: {data.labelled_by}"),
        ("samples", ", ".join(f"{name} {number}" for name, number in data.split.items()) or "not recorded"),
    ]
    if record.student:
        student = student_of(run)
        sizes = f"{count(student.weights)} weights, {megabytes(student.bytes)} MB, {count(student.macs)} MACs"
        pairs += [("student", sizes), ("weights' sha256", element("code", run.sha256))]
    pairs.append(("fingerprints of data", _named(data.fingerprint)))
    pairs.append(("versions", _named(record.versions)))
    return folded(f"run {run.name}", facts(pairs))


def _bundle(bundle: Bundle) -> Html:
    m = bundle.manifest
    origin = origin_of(bundle)
    calibration = m.calibration
    pairs: list[tuple[str, Child]] = [
        ("made", f"{m.created} by edgekd {m.edgekd_version}"),
        *_source(origin),
        ("held-out data's sha256", element("code", str(origin.heldout_sha256))),
        ("bundle's sha256", element("code", bundle.sha256)),
        (
            "calibration",
            f"{calibration.samples} samples, sha256 {calibration.sha256}" if calibration else "none",
        ),
        ("test vectors", _named(m.vectors.model_dump())),
        ("runtime options", _named(m.runtime) or "the runtime's own"),
        ("versions", _named(m.versions)),
        ("files", ", ".join(f"{name} {megabytes(f.bytes)} MB" for name, f in m.files.items())),
    ]
    return folded(f"bundle {bundle.name}", facts(pairs))


def _source(origin: Origin) -> list[tuple[str, Child]]:
    """The run or the model file that it was made from."""
    if origin.model is not None:
        return [
            ("from", f"{origin.model}, judged on {origin.judged_on}; reference: {origin.reference}"),
            ("model's sha256", element("code", str(origin.model_sha256))),
        ]
    return [
        ("from", f"run {origin.run}, preset {origin.preset}, seed {origin.seed}"),
        ("student's sha256", element("code", str(origin.student_sha256))),
    ]


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
