# ruff: noqa: F821
# mypy: ignore-errors
# The frame of an app in Python: edgekd embed puts the bundle's facts, its pipeline and its runtime where the marks are.
from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
Array = NDArray[Any]
Arrays = Mapping[str, Array]


class InputError(Exception):
    """What was given cannot be used: what is wrong, why, and what to do."""

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__("\n".join([what, *(f"  {k}: {v}" for k, v in (("why", why), ("fix", fix)) if v)]))


@dataclass(frozen=True)
class ImageSpec:
    """How a picture becomes a tensor: resize, then ``(pixel * scale - mean) / std`` per channel; pixel is 0..255."""

    color: str = "RGB"
    resampler: str = "bilinear"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    # {{ImageSpec.normalized}}


@dataclass(frozen=True)
class RowSpec:
    """How a row of features becomes a tensor's."""

    normalization: str = "none"
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorSpec:
    """One named input or output; an axis of its shape is a size, or a name where it may be any."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    layout: str = ""
    image: ImageSpec | None = None
    rows: RowSpec | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class IoSpec:
    """A graph's inputs and outputs. ``state``: output -> input of the next call; ``held``: input <- GRAPH/OUTPUT."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)

    @property
    def fed(self) -> tuple[TensorSpec, ...]:
        return tuple(t for t in self.inputs if t.name not in {*self.state.values(), *self.held})

    @property
    def given(self) -> tuple[TensorSpec, ...]:
        return tuple(t for t in self.outputs if t.name not in self.state)


# {{bundle}}

# {{pipeline}}

# {{runtime}}

# {{readers}}


# The student: what an app calls.


class Loaded:
    """One graph with its pipeline; state is carried from call to call, from zeros."""

    def __init__(self, name: str, threads: int) -> None:
        file, self.io = GRAPHS[name]
        self.graph = Graph(HERE / file, PRECISION, threads)
        self.pipeline = Pipeline(self.io) if self.io.fed else None
        self.held: dict[str, Array] = {}
        self.reset()

    def reset(self) -> None:
        """A new sequence begins."""
        specs = [t for t in self.io.inputs if t.name in self.io.state.values()]
        self.state = {t.name: np.zeros([int(n) for n in t.shape], t.dtype) for t in specs}

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Outputs by name, state kept back."""
        outputs = self.graph.run({**feeds, **self.held, **self.state})
        self.state = {sink: outputs.pop(source) for source, sink in self.io.state.items()}
        return outputs


class Student:
    """Loads the bundle once; ``predict`` is one raw input to one decoded result.

    Give the frames of a video in their order; ``reset`` begins a new one.
    """

    def __init__(self, threads: int = THREADS) -> None:
        here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = threads or here
        self.main = Loaded("main", self._threads)
        self._before: Arrays | None = None
        self._live: dict[str, Loaded] = {}

    def reset(self) -> None:
        self.main.reset()
        self._before = None

    def predict(self, raw: Arrays) -> dict[str, Any]:
        """One raw input to its decoded result.

        Args:
            {{raw}}
        """
        pipeline = self.main.pipeline
        if hasattr(pipeline, "restarts") and pipeline.restarts(raw, self._before):
            self.main.reset()
        self._before = raw
        return pipeline.postprocess(self.main.run(pipeline.preprocess(raw)), raw)

    # {{live}}
    def live(self, name: str = LIVE) -> Loaded:
        """The graph that runs for every frame, once ``prepare`` has run the ones that it holds the outputs of."""
        if name not in self._live:
            self._live[name] = Loaded(name, self._threads)
        return self._live[name]

    def prepare(self, raw: Arrays, name: str = LIVE) -> None:
        """Runs what need not run for every frame."""
        self.prepare_feeds(self.main.pipeline.preprocess(raw), name)

    def prepare_feeds(self, feeds: Arrays, name: str) -> None:
        given: dict[str, Array] = {}
        live = self.live(name)
        for source in dict.fromkeys(place.partition("/")[0] for place in live.io.held.values()):
            graph = self.live(source)
            outputs = graph.run({t.name: feeds[t.name] for t in graph.io.fed})
            given |= {f"{source}/{output}": value for output, value in outputs.items()}
        live.held = {sink: given[place] for sink, place in live.io.held.items()}

    def frame(self, raw: Arrays, name: str = LIVE) -> dict[str, Any]:
        """As ``predict``, with what was prepared."""
        live = self.live(name)
        return live.pipeline.postprocess(live.run(live.pipeline.preprocess(raw)), raw)

    # {{end of live}}


# Verification: the vectors that the bundle was exported with.


@dataclass(frozen=True)
class Check:
    name: str
    found: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.found <= self.limit


def vectors(part: str) -> list[dict[str, Array]]:
    """The samples of a folder of ``vectors/``, in order."""
    arrays = {p.stem: np.load(p, allow_pickle=False) for p in sorted((HERE / "vectors" / part).glob("*.npy"))}
    return [{name: value[k] for name, value in arrays.items()} for k in range(len(next(iter(arrays.values()))))]


def loaded(folder: Path) -> dict[str, Array]:
    return {p.stem: np.load(p, allow_pickle=False) for p in sorted(folder.glob("*.npy"))}


def recorded_results() -> list[dict[str, Array]]:
    return [loaded(folder) for folder in sorted((HERE / "vectors" / "results").iterdir())]


def varied(part: str) -> list[dict[str, Array]]:
    """Of pictures of other sizes, and of outputs drawn at random: samples that fit the student try little."""
    return [loaded(folder / part) for folder in sorted((HERE / "vectors" / "varied").iterdir())]


def distance(found: Any, recorded: Array) -> float:
    """max|a-b| / max(1, max|b|); of pictures in grey levels over 255, beyond the one that rounding may cost."""
    a, b = np.asarray(found), np.asarray(recorded)
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
        return float("inf")
    if b.dtype.kind in "US" or b.ndim == 0:
        return 0.0 if (a == b).all() else float("inf")
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0)
    if b.dtype == np.uint8:
        return float(max(0.0, gap - 1) / 255)
    return float(gap / max(1.0, np.abs(b.astype(np.float64)).max(initial=0.0))) if np.isfinite(gap) else float("inf")


def largest_gap(found: Array, recorded: Array) -> float:
    same = found.shape == recorded.shape
    return float(np.abs(found.astype(np.float64) - recorded).max()) if same else float("inf")


def shift(found: Array, recorded: Array, spec: TensorSpec) -> float:
    """How far the mean is off, in grey levels: two resamplers' rounding cancels out, another constant does not."""
    if found.shape != recorded.shape:
        return float("inf")
    level = spec.image.scale / float(np.mean(spec.image.std)) if spec.image else 1.0
    return float(abs(np.mean(found.astype(np.float64) - recorded)) / abs(level))


def result_distance(found: Mapping[str, Any], recorded: Arrays, limit: float) -> float:
    if found.keys() != recorded.keys():
        return float("inf")
    if {"boxes", "scores"} <= recorded.keys():
        others = [distance(found[n], v) for n, v in recorded.items() if n not in ("boxes", "scores")]
        return max([boxes_distance(found, recorded, limit), *others])
    return max(distance(found[name], value) for name, value in recorded.items())


def boxes_distance(found: Mapping[str, Any], recorded: Arrays, limit: float) -> float:
    """Each box to its nearest on the other side, whatever their order.

    One whose score is within ``limit`` of the least may be on one side alone: another rounding decides on it.
    """
    ours = np.concatenate([found["boxes"], found["scores"][:, None]], axis=1)
    theirs = np.concatenate([recorded["boxes"], recorded["scores"][:, None]], axis=1)
    if not len(ours) or not len(theirs):
        return 0.0 if len(ours) == len(theirs) else float("inf")
    gaps = np.abs(ours[:, None] - theirs) / np.maximum(1.0, np.abs(theirs).max(axis=0))
    gaps = np.where(ours[:, None, 0] == theirs[:, 0], gaps.max(axis=2), np.inf)
    least = max(ours[-1, -1], theirs[-1, -1]) + limit
    return float(max(gaps.min(axis=1)[ours[:, -1] > least].max(initial=0.0),
                     gaps.min(axis=0)[theirs[:, -1] > least].max(initial=0.0)))  # fmt: skip


def verify(student: Student) -> list[Check]:
    """Everything that this app computes, against what the bundle recorded; see the names of the checks."""
    raws, feeds, outputs, results = vectors("raw"), vectors("feeds"), vectors("outputs"), recorded_results()
    pipeline, samples = student.main.pipeline, range(SAMPLES)
    pairs = [(pipeline.preprocess(raw), feed) for raw, feed in zip(raws, feeds, strict=True)]
    pairs += [(pipeline.preprocess(raw), feed) for raw, feed in zip(varied("raw"), varied("feeds"), strict=True)]
    gap = max(largest_gap(made[name], value) for made, feed in pairs for name, value in feed.items())
    specs = {t.name: t for t in student.main.io.inputs}
    off = max(shift(made[name], value, specs[name]) for made, feed in pairs for name, value in feed.items())
    checks = [Check("pre-processing, largest gap", gap, FEEDS_TOLERANCE)]
    checks += [Check("pre-processing, shift of the mean in grey levels", off, FEEDS_SHIFT)]
    student.reset()
    said = [student.main.run(feeds[k]) for k in samples]
    far = max(distance(said[k][name], value) for k in samples for name, value in outputs[k].items())
    checks += [Check("outputs", far, OUTPUTS_TOLERANCE)]
    told = [*zip(outputs, results, raws, strict=True)]
    told += zip(varied("outputs"), varied("results"), varied("raw"), strict=True)
    pairs = [(pipeline.postprocess(output, raw), result) for output, result, raw in told]
    far = max(distance(decoded[name], value) for decoded, result in pairs for name, value in result.items())
    checks += [Check("post-processing", far, DECODED_TOLERANCE)]
    student.reset()
    limit = max(OUTPUTS_TOLERANCE, DECODED_TOLERANCE)
    far = max(result_distance(student.predict(raws[k]), results[k], limit) for k in samples)
    checks += [Check("result", far, limit)]
    # {{live}}
    for name, tolerance in LIVE_TOLERANCES.items():
        said = []
        for feed in feeds:
            student.prepare_feeds(feed, name)
            said.append(student.live(name).run({t.name: feed[t.name] for t in student.live(name).io.fed}))
        wanted = vectors(f"live/{name}")
        far = max(distance(said[k][output], value) for k in samples for output, value in wanted[k].items())
        checks += [Check(f"outputs of {name}, prepared", far, tolerance)]
    # {{end of live}}
    student.reset()
    return checks


def bench(seconds: float) -> dict[str, float]:
    """Milliseconds of the app's own loop over the vectors: the first result from loading on, then p50 and p90."""
    begun = time.perf_counter()
    student, raws = Student(), vectors("raw")
    student.predict(raws[0])
    first = time.perf_counter() - begun
    times: list[float] = []
    while sum(times) < seconds or len(times) < 10:
        begun = time.perf_counter()
        student.predict(raws[len(times) % SAMPLES])
        times.append(time.perf_counter() - begun)
    p50, p90 = np.percentile(times, [50, 90]) * 1e3
    return {"first_ms": first * 1e3, "p50_ms": float(p50), "p90_ms": float(p90), "calls": len(times)}


# The command line.


def items(given: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(label, raw) items of what the command line gives: NAME=PATH or NAME=VALUE."""
    if unknown := sorted(set(given) - set(READERS)):
        raise InputError(f"{unknown[0]} is no input", f"this student takes {', '.join(READERS)}")
    if missing := [name for name in REQUIRED if name not in given]:
        raise InputError(f"{missing[0]} is missing", f"this student takes {', '.join(READERS)}", f"{missing[0]}=PATH")
    # {{items}}


def plain(value: Any) -> Any:
    """For JSON: of a picture its size alone."""
    array = np.asarray(value)
    return f"{array.shape[1]}x{array.shape[0]} px" if array.dtype == np.uint8 and array.ndim == 3 else array.tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*", metavar="NAME=PATH", help=f"a bare PATH is {next(iter(READERS))}")
    parser.add_argument("--out", type=Path, help="where a picture that comes out is saved")
    parser.add_argument("--verify", action="store_true", help="run the bundle's own vectors")
    parser.add_argument("--bench", type=float, metavar="SECONDS", help="time the app's own loop over the vectors")
    parser.add_argument("--threads", type=int, default=THREADS)
    arguments = parser.parse_args()
    try:
        if arguments.verify:
            checks = verify(Student(arguments.threads))
            for check in checks:
                word = "ok  " if check.passed else "FAIL"
                print(f"{word} {check.name}: {check.found:.3g}, limit {check.limit:.3g}")
            return 0 if all(check.passed for check in checks) else 3
        if arguments.bench is not None:
            print(json.dumps(bench(arguments.bench)))
            return 0
        if not arguments.inputs:
            parser.error("give NAME=PATH, or --verify")
        pairs = [text.partition("=") for text in arguments.inputs]
        given = {name if equals else next(iter(READERS)): value if equals else name for name, equals, value in pairs}
        student = Student(arguments.threads)
        for label, raw in items(given):
            result = student.predict(raw)
            print(json.dumps({"input": label, **{name: plain(value) for name, value in result.items()}}), flush=True)
            if arguments.out:
                save(result, arguments.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def save(result: Mapping[str, Any], path: Path) -> None:
    """The first picture of a result."""
    from PIL import Image

    for value in result.values():
        if np.asarray(value).dtype == np.uint8 and np.ndim(value) == 3:
            Image.fromarray(value).save(path)
            return
    raise InputError(f"nothing to save to {path}", "no picture comes out of this student", "leave --out away")


if __name__ == "__main__":
    sys.exit(main())
