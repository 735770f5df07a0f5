"""``report``: everything that runs, bundles and measurements prove, on one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edgekd
from edgekd.reporting import latency, layers, pictures, proof, provenance, road, scenarios, scoreboard, training
from edgekd.reporting.collect import Collected, collect
from edgekd.reporting.evidence import assessments
from edgekd.reporting.page import Html, note, page
from edgekd.reporting.plots import require_matplotlib
from edgekd.reporting.scale import scales
from edgekd.storage import refuse_existing, write_text


def report(paths: Sequence[str | Path] | None, out: str | Path, overwrite: bool = False) -> dict[str, Any]:
    """Writes the page: whole or not at all, with no reference to anything outside of it.

    Args:
        paths: runs, bundles, measurement files, or folders of them; None for ``runs``, ``bundles`` and
            ``measurements`` in the current directory, as far as they exist.
        out: the HTML file.

    Returns:
        how many ``runs``, ``bundles`` and ``measurements`` are in it, ``claims`` by status, ``not_drawn`` (the
        reasons for pictures that are missing), ``skipped`` (JSON files that are no measurement), ``bytes``.

    Raises:
        InputError: nothing found, something damaged (named), or ``out`` exists.
        MachineError: matplotlib is not installed.
    """
    target = Path(out)
    refuse_existing(target, overwrite)
    require_matplotlib()
    found = collect(None if paths is None else [Path(p) for p in paths])
    assessed = assessments(found)
    by_recipe = scales(found)
    drawn, missing = pictures.pictures_section(found)
    parts: list[tuple[str, Html | None]] = [
        (road.TITLE, road.road_section(found, by_recipe)),
        (scoreboard.TITLE, scoreboard.claims_section(assessed)),
        (pictures.TITLE, drawn),
        *zip((proof.GATES, proof.RACE, proof.PLACEMENT), proof.bundle_sections(found, by_recipe), strict=False),
        (latency.TITLE, latency.latency_section(found.measurements)),
        (scenarios.PACED, scenarios.paced_section(found.measurements)),
        (scenarios.OFFLINE, scenarios.offline_section(found.measurements)),
        (layers.TITLE, layers.layers_section(found.measurements)),
        (training.TITLE, training.training_section(found.runs, by_recipe)),
        (provenance.ORIGINS, provenance.origins_section(found)),
        (provenance.MACHINES, provenance.machines_section(found)),
    ]
    shown = [(title, part) for title, part in parts if part is not None]
    sections = [part for _, part in shown]
    if found.skipped:
        sections.append(note(f"Not read, because they are no measurements: {', '.join(found.skipped)}."))
    text = page(_title(found), _subtitle(found), sections, [title for title, _ in shown])
    write_text(target, text)
    return {
        "out": str(target),
        "runs": len(found.runs),
        "bundles": len(found.bundles),
        "measurements": len(found.measurements),
        "claims": scoreboard.tally(assessed),
        "not_drawn": missing,
        "skipped": found.skipped,
        "bytes": len(text.encode()),
    }


def _title(found: Collected) -> str:
    recipes = {run.record.recipe for run in found.runs} | {
        b.manifest.recipe for b in found.bundles if b.manifest.recipe
    }
    return "edgekd report" + (f": {', '.join(sorted(recipes))}" if recipes else "")


def _subtitle(found: Collected) -> str:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    counts = ((len(found.runs), "run"), (len(found.bundles), "bundle"), (len(found.measurements), "measurement"))
    told = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in counts)
    return f"{told}; edgekd {edgekd.__version__}, {now}"
