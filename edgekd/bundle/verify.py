"""``verify``: the bundle's own vectors, in this runtime, on this machine. An app engineer's first act."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekd.bundle.distance import distance
from edgekd.bundle.live import Whole
from edgekd.bundle.manifest import Distance, PlacementSummary
from edgekd.bundle.open import Bundle
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.placement import kept_float, lost_float, precision_shortfall, summarize
from edgekd.contracts import Arrays, Session, StrictModel
from edgekd.errors import GateError
from edgekd.storage import row


class Check(StrictModel):
    """One thing that was compared, the distance found, and the most there may be."""

    name: str
    passed: bool
    found: float
    limit: float
    note: str = ""


class Verification(StrictModel):
    bundle: str
    target: str
    precision: str
    samples: int
    checks: tuple[Check, ...]
    distance_to_fp32: Distance
    placement: PlacementSummary

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def verify(path: str | Path, threads: int | None = None) -> Verification:
    """Runs the vectors and reads the precision back.

    Three things must hold: the pipeline turns each raw input into the recorded feeds; the session, and every live
    one, turns the feeds into the recorded outputs within the manifest's tolerance; what this runtime built here of
    each graph is the manifest's precision.

    Raises:
        GateError: one of them does not hold; the message names it and prints both figures.
        InputError: the bundle is damaged.
        MachineError: the runtime is missing or cannot run it here.
    """
    bundle = open_bundle(path, threads)
    result = check(bundle)
    for item in result.checks:
        if not item.passed:
            raise GateError(
                f"{bundle.path}: {item.name} differs on this machine",
                f"{item.found:.3g} found, at most {item.limit:.3g} allowed over {result.samples} vectors"
                + (f"; {item.note}" if item.note else ""),
                "compare `edgekd doctor` here and where it was exported (versions are in the manifest)",
            )
    return result


def check(bundle: Bundle) -> Verification:
    """As ``verify``, and returns failures instead of raising them."""
    vectors, manifest = bundle.vectors(), bundle.manifest
    count = len(next(iter(vectors["feeds"].values())))
    session = bundle.session  # first: a graph that is not the io spec's is told before its shapes are used
    checks = []

    if manifest.recipe is not None:
        gap = 0.0
        for index in range(count):
            feeds = bundle.pipeline.preprocess(row(vectors["raw"], index))
            gap = max(gap, *(_gap(v, vectors["feeds"][k][index]) for k, v in feeds.items()))
        limit = manifest.vectors.feeds_tolerance or 0.0
        checks.append(Check(name="pre-processing", passed=gap <= limit, found=gap, limit=limit))

    found = _said(session, vectors["feeds"], count)
    checks.append(_output("output", found, vectors["built"], manifest.vectors.outputs_tolerance))
    for name in manifest.live:
        said = _said(Whole(name, bundle.live(name)), vectors["feeds"], count)
        tolerance = manifest.vectors.live_tolerances[name]
        checks.append(_output(f"output of {name}, prepared", said, vectors[f"live/{name}"], tolerance))

    placements = {name: bundle.runtime.placement(bundle.graph(name)) for name in manifest.graphs}
    for name, placement in placements.items():
        share = precision_shortfall(placement, manifest.precision)
        checks.append(
            Check(
                name="precision" if name == "main" else f"precision of {name}",
                passed=share.found >= share.limit,
                found=share.found,
                limit=share.limit,
                note=f"share of MACs in {manifest.precision}, least that may be",
            )
        )
        if kept := kept_float(placement):
            lost = len(lost_float(placement))
            note = f"of {len(kept)} nodes that must stay in fp32, those that are not"
            what = "positions" if name == "main" else f"positions of {name}"
            checks.append(Check(name=what, passed=not lost, found=lost, limit=0, note=note))
    worst = max((distance(found[n], vectors["fp32"][n]) for n in found), key=lambda d: d.relative_max)
    return Verification(
        bundle=bundle.name,
        target=manifest.target,
        precision=str(manifest.precision),
        samples=count,
        checks=tuple(checks),
        distance_to_fp32=worst,
        placement=summarize(placements["main"]),
    )


def _said(session: Session, feeds: Arrays, count: int) -> dict[str, np.ndarray]:
    """The vectors are one sequence, where there is state."""
    session.reset()
    outputs = [session.run(row(feeds, index)) for index in range(count)]
    return {name: np.stack([o[name] for o in outputs]) for name in outputs[0]}


def _output(name: str, said: Arrays, recorded: Arrays, limit: float) -> Check:
    found = max(distance(said[output], recorded[output]).relative_max for output in said)
    note = "max|a-b| / max(1, max|b|) against the outputs recorded at export"
    return Check(name=name, passed=bool(found <= limit), found=found, limit=limit, note=note)


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
