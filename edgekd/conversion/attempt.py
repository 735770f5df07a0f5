"""One candidate of one target: every graph of it built, its types read back, and gated arrow by arrow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekd.bundle.health import not_installed
from edgekd.bundle.live import together, way_in_words
from edgekd.bundle.manifest import GateRecord
from edgekd.bundle.placement import lost_float, not_executed, precision_shortfall, quantized
from edgekd.bundle.session import carried
from edgekd.contracts import Builder, Graph, Placement, Precision, Probe, Profile, Runtime, Session
from edgekd.conversion.gates import Witness, require
from edgekd.conversion.kept_float import kept_float
from edgekd.conversion.trial import Canonical, GraphTrial, Trial
from edgekd.errors import EdgekdError, GateError, InputError, MachineError
from edgekd.registry import builder, runtime

LEAST_MIXED = 0.05  # of the MACs in int8: a graph with fewer is one in floating point


def attempt(trial: Trial, canonical: Canonical, profile: Profile, asked: Precision | None, out: Path) -> None:
    """Fills ``trial``, typed graphs and built ones gated apart; what stops it becomes its ``error``."""
    target, make = runtime(profile.target), builder(profile.target)
    try:
        if trial.start.error is not None:
            raise trial.start.error
        _build(trial, profile, make, out)
        typed = _judge_typed(trial, canonical, profile, make)
        probe = target.probe()
        sessions, why = _loaded(trial, profile, target, probe)
        if sessions:
            _check_types(trial, profile, _types(trial, profile, target), asked)
            _judge_built(trial, canonical, profile, target, sessions, typed, f"{profile.target} {probe.version}, here")
            return
        trial.not_executed = not_executed(trial.main.built.engine, why)
        trial.why = f"not run here: {why}"
        if placements := _types_unrun(trial, profile, target, make):
            _check_types(trial, profile, placements, asked)
        _judge_road(trial, canonical, profile, trial.gates[-1].where)
    except EdgekdError as error:
        trial.error = error
    except ModuleNotFoundError as error:  # this precision needs what is not here; another one may not
        trial.error = not_installed(error)
        if trial.error is None:
            raise


def _loaded(trial: Trial, profile: Profile, target: Runtime, probe: Probe) -> tuple[dict[str, Session], str]:
    """Every graph in its runtime; none, and the reason, where this machine is not what it was built for."""
    if not probe.can_run:
        return {}, probe.why
    try:
        return {n: target.load(_loadable(g, trial.precision, profile)) for n, g in trial.graphs.items()}, ""
    except MachineError as error:
        if trial.main.built.engine is None:  # bound to no device: it should have loaded
            raise
        return {}, f"{error.what}: {error.why}"


def _build(trial: Trial, profile: Profile, make: Builder, out: Path) -> None:
    """``main`` into ``out``, every further graph into a folder of its name in it."""
    start, precision = trial.start, trial.precision
    if quantized(precision) and not start.calibrations:
        raise InputError(
            f"{precision} needs calibration samples",
            "the ranges of its numbers come from real inputs",
            "--calibration FILE.npz, or --calibration DIR --preprocess FILE.toml",
        )
    chosen = profile.only(trial.way) if trial.way else profile
    for name, source in start.sources.items():
        folder = out if name == "main" else out / name
        folder.mkdir(exist_ok=True)
        # fp16 may need it, too: to see what overflows
        built = make.build(source, chosen, precision, start.calibrations.get(name), folder)
        trial.graphs[name] = GraphTrial(source.io, built)


def _judge_typed(trial: Trial, canonical: Canonical, profile: Profile, make: Builder) -> Witness:
    """What the typed graph of ``main`` says in a reference evaluator, which the built one is compared with."""
    start, precision = trial.start, trial.precision
    references = {name: make.reference(graph.built, graph.io) for name, graph in trial.graphs.items()}
    where = getattr(references["main"], "name", "reference")
    # A typed fp32 graph also stands for bf16, whose types the runtime only gives when it loads.
    typed_precision = Precision.FP32 if precision == Precision.BF16 else precision
    arrow = f"{start.name} → {profile.target} {precision} graph"
    typed = canonical.witness(carried(references["main"]))
    _gate(trial, canonical.judge(arrow, start.said, typed, typed_precision, where))
    trial.witness = typed
    for way, session in together(references).items():
        said = trial.live[session.name] = canonical.witness(session)
        _gate(trial, canonical.judge(f"{arrow}, {way}", start.said, said, typed_precision, where))
    return typed


def _types(trial: Trial, profile: Profile, target: Runtime) -> dict[str, Placement]:
    """What the runtime says it built, by graph."""
    return {n: target.placement(_loadable(g, trial.precision, profile)) for n, g in trial.graphs.items()}


def _types_unrun(trial: Trial, profile: Profile, target: Runtime, make: Builder) -> dict[str, Placement]:
    """The same of graphs that this machine cannot run, where builder or runtime tell; none where neither does."""
    if hasattr(make, "placement"):
        return {name: make.placement(graph.built, graph.io) for name, graph in trial.graphs.items()}
    try:
        return _types(trial, profile, target)
    except MachineError:
        return {}


def _check_types(trial: Trial, profile: Profile, placements: Mapping[str, Placement], asked: Precision | None) -> None:
    """What was built, graph by graph: the one with the least share in its precision decides.

    Raises:
        GateError: it is another precision than the one that was asked for.
    """
    for name, graph in trial.graphs.items():
        graph.placement = placements[name]
        if lost := lost_float(graph.placement):
            first = ", ".join(f"{node.name} ({node.op}) in {node.precision}" for node in lost[:3])
            raise GateError(
                f"{profile.target}: {len(lost)} nodes that must stay in fp32 are not",
                first + (", ..." if len(lost) > 3 else ""),
                "edgekd inspect shows it by node; ask for another --precision",
            )
    assert trial.main.placement is not None
    if quantized(trial.precision):
        trial.kept_float = kept_float(trial.main.placement, trial.main.built, trial.way)
    shares = {n: precision_shortfall(g.placement, trial.precision) for n, g in trial.graphs.items() if g.placement}
    name, share = min(shares.items(), key=lambda item: item[1].found)
    if asked is None and trial.precision == Precision.INT8 and LEAST_MIXED <= share.found < share.limit:
        trial.precision = Precision.MIXED  # nobody asked for int8: this is called what it is
    elif share.found < share.limit:
        of = "" if len(shares) == 1 else f" of the graph {name}"
        raise GateError(
            f"{profile.target}: {trial.precision} was asked and not built",
            f"{share.found:.0%} of the multiply-accumulates{of} are {trial.precision}, at least {share.limit:.0%} "
            "must be" + _most_of(trial),
            "edgekd inspect shows it by node; ask for another --precision",
        )


def _judge_built(
    trial: Trial,
    canonical: Canonical,
    profile: Profile,
    target: Runtime,
    sessions: Mapping[str, Session],
    typed: Witness,
    where: str,
) -> None:
    precision = trial.precision
    trial.main.session = carried(sessions["main"])
    trial.witness = canonical.witness(trial.main.session)
    built = f"{profile.target} {precision}"
    _gate(trial, canonical.judge(f"{built} graph → built", typed, trial.witness, precision, where))
    for session in together(sessions).values():
        trial.live[session.name] = canonical.witness(session)
    for variant in getattr(target, "variants", lambda graph: [])(_loadable(trial.main, precision, profile)):
        unit = variant.options["device"]
        said = canonical.witness(carried(target.load(variant)))
        _gate(trial, canonical.judge(f"{built} graph → built, {unit}", typed, said, precision, f"{where}, {unit}"))
    _judge_road(trial, canonical, profile, where)


def _judge_road(trial: Trial, canonical: Canonical, profile: Profile, where: str) -> None:
    """Two arrows that each lose a little must not lose too much together."""
    assert trial.witness is not None
    road = f"{canonical.origin} → {profile.target} {trial.precision}, whole road"
    for name, said in trial.live.items():
        way = way_in_words(name, trial.graphs[name].io)
        _gate(trial, canonical.judge(f"{road}, {way}", canonical.first, said, trial.precision, where))
    _gate(trial, canonical.judge(road, canonical.first, trial.witness, trial.precision, where))


def _gate(trial: Trial, record: GateRecord) -> None:
    trial.gates.append(record)
    require(record)


def _loadable(graph: GraphTrial, precision: Precision, profile: Profile) -> Graph:
    return Graph(graph.built.entry, graph.io, precision, profile.options, graph.built.engine)


def _most_of(trial: Trial) -> str:
    """Why the largest of the nodes that stayed in floating point did."""
    if not trial.kept_float:
        return ""
    largest = max(trial.kept_float, key=lambda node: node.share or 0.0)
    return (
        f"; {len(trial.kept_float)} nodes stayed in floating point, {largest.node} ({largest.op}) first: {largest.why}"
    )
