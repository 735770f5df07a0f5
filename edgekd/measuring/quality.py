"""The recipe's metrics, over pipeline predictions: the same code in training, gates and on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from edgekd.bundle.artifact import RunArtifact, open_artifact
from edgekd.bundle.open import Bundle
from edgekd.bundle.sequences import InOrder
from edgekd.contracts import Arrays, Session, StrictModel
from edgekd.errors import InputError
from edgekd.measuring.clock import Clocked, against_clock
from edgekd.recipes.contract import Metrics, Pipeline, SampleMetrics
from edgekd.registry import optional_part
from edgekd.run import HeldOut
from edgekd.storage import read_arrays, sha256_file


def predictions(session: Session, pipeline: Pipeline, raws: Iterable[Arrays]) -> list[dict[str, Any]]:
    """raw -> preprocess -> run -> postprocess, one sample after another, as an app would. State is carried."""
    return [*map(InOrder(session, pipeline).predict, raws)]


def primary_of(
    metrics: Metrics, predictions: Sequence[Arrays], truths: Sequence[Arrays]
) -> Callable[[Iterable[int]], float]:
    """The primary metric of any of the samples, by their numbers."""
    if isinstance(metrics, SampleMetrics):
        found = metrics.evidence(predictions, truths)
        return lambda pick: metrics.figures([found[i] for i in pick])[metrics.primary]

    def computed(pick: Iterable[int]) -> float:
        numbers = list(pick)
        chosen = [truths[i] for i in numbers]
        return metrics.compute([predictions[i] for i in numbers], chosen)[metrics.primary]

    return computed


def bootstrap_loss(
    metrics: Metrics,
    before: Sequence[Arrays],
    after: Sequence[Arrays],
    truths: Sequence[Arrays],
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of the primary metric's relative loss, resampling the held-out samples in pairs."""
    rng = np.random.default_rng(seed)
    was, now = primary_of(metrics, before, truths), primary_of(metrics, after, truths)
    losses = []
    for _ in range(200):
        pick = rng.integers(0, len(truths), len(truths))
        losses.append(relative_loss(metrics, was(pick), now(pick)))
    low, high = np.percentile(losses, [2.5, 97.5])
    return float(low), float(high)


def relative_loss(metrics: Metrics, before: float, after: float) -> float:
    """How much of the primary metric was lost, as a share of what it was; negative is a gain."""
    worse = before - after if metrics.higher_is_better else after - before
    if before == 0:
        return 0.0 if worse == 0 else float(np.copysign(np.inf, worse))
    return float(worse / abs(before))


class Evaluation(StrictModel):
    """The metrics of one artefact on held-out data, with what they were taken on."""

    artifact: str
    target: str
    precision: str
    samples: int
    heldout: str  # sha256 of the held-out file
    metrics: dict[str, float]
    units: dict[str, str]
    networks: dict[str, str] = Field(default_factory=dict)  # that metrics were taken with, by name: sha256
    clock: Clocked | None = None


def evaluate(
    path: str | Path,
    run: str | Path | None = None,
    threads: int | None = None,
    networks: Mapping[str, Path] | None = None,
    *,
    latency: str | None = None,
    sweep: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """The recipe's metrics of a bundle, in its runtime, on the held-out data of the run it was made from.

    Args:
        path: a bundle, or a run (its student in PyTorch).
        run: the run that holds the data, where it no longer lies where it was exported from.
        networks: files of networks that further metrics of the recipe are taken with, by name.
        latency: against a clock, too: milliseconds, or ``measured``; ``sweep``: and at other latencies.

    Raises:
        InputError: the held-out data is missing, or is not what the bundle was gated on; a network is of no use.
    """
    folder = Path(path)
    artifact = open_artifact(str(folder), None, threads)
    pipeline = artifact.pipeline()
    if pipeline is None:
        fix = "edgekd verify runs its vectors, edgekd inspect shows how far it is from the file it was made of"
        raise InputError(f"{folder} is a foreign model", "it has no metrics", fix)
    if isinstance(artifact, RunArtifact):
        recipe = artifact.run.record.recipe
        heldout, sha = artifact.run.heldout(), artifact.run.record.files["heldout.npz"]
    else:
        recipe = str(artifact.bundle.manifest.recipe)
        heldout, sha = heldout_of(artifact.bundle, Path(run) if run else None)
    metrics, session = artifact.metrics(), artifact.load()
    raws, truths = heldout.raws(), heldout.truths()
    found = predictions(session, pipeline, raws)
    more, units = _with_networks(recipe, networks or {}, found, truths, progress or _quiet)
    return Evaluation(
        artifact=artifact.name,
        target=artifact.target,
        precision=artifact.precision,
        samples=len(heldout),
        heldout=sha,
        metrics=metrics.compute(found, truths) | more,
        units={**metrics.units, **units},
        networks={name: sha256_file(file) for name, file in (networks or {}).items()},
        clock=against_clock(session, pipeline, metrics, raws, truths, latency, sweep) if latency else None,
    )


def _quiet(what: str, share: float) -> None:
    pass


def _with_networks(
    recipe: str,
    networks: Mapping[str, Path],
    found: Sequence[Arrays],
    truths: Sequence[Arrays],
    progress: Callable[[str, float], None],
) -> tuple[dict[str, float], Mapping[str, str]]:
    """Metrics and units of the recipe's ``quality`` module, which may need torch."""
    if not networks:
        return {}, {}
    quality = optional_part(recipe, "quality")
    if quality is None:
        raise InputError(f"no metric of {recipe} takes a network", fix="leave --network out")
    for name, file in networks.items():
        if not file.is_file():
            raise InputError(f"{name}={file} is not a file", "a network's weights are one", "check the path")
    return quality.measure(networks, found, truths, progress), quality.UNITS


def heldout_of(bundle: Bundle, run: Path | None = None) -> tuple[HeldOut, str]:
    """The held-out samples of the bundle's run, checked by sha256."""
    provenance = bundle.manifest.provenance
    folder = run or (bundle.path / provenance.run_path if provenance.run_path else None)
    file = folder / "heldout.npz" if folder else None
    if file is None or not file.is_file():
        raise InputError(
            f"the held-out data of {bundle.path} is not at {folder or 'any recorded place'}",
            "a bundle carries its vectors, not its test set",
            f"edgekd eval {bundle.path} --run RUN, where RUN is the run {provenance.run}",
        )
    sha = sha256_file(file)
    if sha != provenance.heldout_sha256:
        raise InputError(
            f"{file} is not the data {bundle.path} was gated on",
            "its sha256 differs: the run was made again",
            "export the run again, or name the right one with --run",
        )
    return HeldOut(read_arrays(file)), sha
