"""PyTorch, the reference: runs the student of a run folder, eager or compiled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekd.bundle.threads import thread_count
from edgekd.contracts import Array, Arrays, Graph, NodePlacement, Placement, Probe, check_feeds
from edgekd.errors import InputError, MachineError

if TYPE_CHECKING:
    from edgekd.run import Run

FIX = 'pip install "edgekd[distill]"'


def probe() -> Probe:
    try:
        import torch
    except ImportError as error:
        return Probe(False, why=f"torch does not import: {error}", fix=FIX)
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    return Probe(True, torch.__version__, devices=tuple(devices))


class TorchSession:
    def __init__(self, graph: Graph) -> None:
        try:
            import torch
        except ImportError as error:
            raise MachineError("torch is not installed", str(error), FIX) from None
        from edgekd.run import open_run

        options = dict(graph.options)
        mode = options.get("mode", "eager")
        unknown = set(options) - {"device", "mode", "threads"}
        if unknown or mode not in ("eager", "compile"):
            raise InputError(f"the torch target cannot use {options}", fix="mode is eager or compile; threads")
        if str(options.get("device", "cpu")).lower() != "cpu":
            raise MachineError(f"the torch target runs on the CPU, not on {options['device']}")
        torch.set_num_threads(thread_count(options))
        run = open_run(graph.path)
        self._torch, self.io = torch, graph.io
        self.module = load_student(run)
        self.compiled = mode == "compile"
        self._call = torch.compile(self.module) if self.compiled else self.module

    def run(self, feeds: Arrays) -> dict[str, Array]:
        ready = check_feeds(self.io, feeds)
        with self._torch.inference_mode():
            outputs = self._call(*(self._torch.from_numpy(_writeable(ready[t.name])) for t in self.io.inputs))
        values = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        return {t.name: v.numpy() for t, v in zip(self.io.outputs, values, strict=True)}

    def reset(self) -> None:
        pass  # a graph's state is carried by edgekd.bundle.session


def _writeable(value: Array) -> Array:
    """PyTorch warns of memory that it could not write to, though it never does here."""
    return value if value.flags.writeable else value.copy()


def load_student(run: Run) -> Any:
    """The run's student with its weights, in eval mode."""
    from edgekd.config import restore
    from edgekd.recipes.weights import load_weights
    from edgekd.registry import recipe_part

    settings = restore(run.record.recipe, run.record.config, str(run.path))
    student = recipe_part(run.record.recipe, "recipe").Recipe(settings).student(run.record.io)
    load_weights(student, run.weights)
    return student.eval()


def load(graph: Graph) -> TorchSession:
    return TorchSession(graph)


def placement(graph: Graph) -> Placement:
    """One node per leaf module; MACs by forward hooks are the recipe's business, so none are attributed."""
    session = TorchSession(graph)
    nodes = tuple(
        NodePlacement(name, type(leaf).__name__, "fp32", "cpu", macs=None)
        for name, leaf in session.module.named_modules()
        if not list(leaf.children())
    )
    return Placement(nodes, "torch modules")


def profile_layers(graph: Graph, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
    """Eager: by leaf module; what is done outside of them is in no row. Compiled, where they are fused: by kernel."""
    session = TorchSession(graph)
    for feed in feeds:
        session.run(feed)
    if session.compiled:
        return _profile_kernels(session, feeds)
    times: dict[str, float] = {}
    began: dict[str, int] = {}
    kinds: dict[str, str] = {}
    for name, leaf in session.module.named_modules():
        if list(leaf.children()):
            continue
        kinds[name], times[name] = type(leaf).__name__, 0.0

        def before(*_: Any, name: str = name) -> None:
            began[name] = time.perf_counter_ns()

        def after(*_: Any, name: str = name) -> None:
            times[name] += (time.perf_counter_ns() - began[name]) / 1e6 / len(feeds)

        leaf.register_forward_pre_hook(before)
        leaf.register_forward_hook(after)
    for feed in feeds:
        session.run(feed)
    rows = [(name, kinds[name], ms) for name, ms in times.items() if ms > 0]
    return sorted(rows, key=lambda row: -row[2])


def _profile_kernels(session: TorchSession, feeds: Sequence[Arrays]) -> list[tuple[str, str, float]]:
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for feed in feeds:
            session.run(feed)
    rows = [(e.key, e.key, e.self_cpu_time_total / 1e3 / len(feeds)) for e in profiler.key_averages()]
    return sorted(rows, key=lambda row: -row[2])
