"""What a recipe is. The words here name the shape that every student system has.

A recipe is a folder of ``edgekd/recipes`` (or a package behind the entry point ``edgekd.recipes``):

    recipe.toml   static facts: name, title, paper, inputs; read by ``edgekd list`` without importing anything
    config.py     ``Config``: a ``RecipeConfig``, torch-free, every key documented
    data.py  models.py  losses.py
    recipe.py     ``Recipe``: this contract (needs torch)
    metrics.py    ``METRICS``: numpy only
    pipeline.py   ``Pipeline``: numpy and Pillow only; the same code in training, gates and on the device
    presets/*.toml  claims.toml
    app/KIND/     pre- and post-processing in another language, for ``edgekd embed``; an app in Python takes pipeline.py

``config``, ``metrics`` and ``pipeline`` may be another package's, named in ``recipe.toml`` under ``[parts]``; presets
and claims may be missing. ``edgekd.recipes.simple`` has ready ones, and a ``Recipe`` to subclass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from edgekd.contracts import Arrays, IoSpec, StrictModel

if TYPE_CHECKING:
    import torch
    from torch import nn

Progress = Callable[[str, float], None]  # what is being done, and the share of it that is done
Key = tuple[int, int]  # (epoch, index): all that a sample's augmentation may depend on, besides the seed
Batch = dict[str, "torch.Tensor"]


class TrainSettings(StrictModel):
    """What training itself reads of a recipe's ``train`` section; recipes add their own keys to it."""

    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto measures both on this machine")
    workers: int = Field(0, ge=0, description="data-loading processes")


class GateSettings(StrictModel):
    """The gate of the first arrow; the later ones have limits of their own (``edgekd.conversion.gates``)."""

    teacher_to_student: float | None = Field(
        None, gt=0, description="most of its best teacher's primary metric that the student may lose, as a share"
    )


class RecipeConfig(StrictModel):
    """What every recipe's ``Config`` has: the rest is the recipe's own.

    Two more keys have a flag where a recipe has them: ``data.source``, a list of strings, is set by
    ``--data``, and ``teacher.black_box``, a string, by ``--teacher``: a teacher that is not trained here
    (``edgekd.recipes.teachers``). A ``package.module:callable`` in the latter is never taken from a run. A key
    that may be None has None as its default: TOML has no other way.
    """

    seed: int = Field(0, ge=0, lt=2**63)
    train: TrainSettings = TrainSettings()
    gate: GateSettings = GateSettings()


@dataclass(frozen=True)
class Sample:
    """One held-out sample: what a user would hand over, and the truth beside it.

    The arrays of a set's samples have one shape by name: a run keeps them stacked.
    """

    raw: Arrays
    truth: Arrays


class SampleSet(Protocol):
    """Samples that can be trained on (``batch``) and judged on through the pipeline (``sample``)."""

    def __len__(self) -> int: ...

    def batch(self, keys: Sequence[Key]) -> Batch:
        """Model inputs by io-spec name, and targets, for these (epoch, index) keys; stacked, on the CPU.

        The result depends on the keys and the set's seed alone, never on call order.
        """

    def sample(self, index: int) -> Sample:
        """Sample ``index`` unaugmented, as the pipeline takes it."""

    @property
    def fingerprint(self) -> str:
        """sha256 over pictures and labels."""


@dataclass(frozen=True)
class Datasets:
    """``train`` fits, ``val`` selects, ``test`` gates. They share no label.

    Nor any sample, but for a transductive recipe: its ``train`` holds the others' vertices too, without their labels,
    and ``calibration`` is the part of it that the gates may be calibrated on. Where there is nothing to select with
    (published splits), ``val`` only shows the fit, and the stages keep their last epoch.
    """

    train: SampleSet
    val: SampleSet
    test: SampleSet
    provenance: Mapping[str, Any] = field(default_factory=dict)  # sources, licences, counts: into the manifest
    calibration: SampleSet | None = None  # None: ``train``


@runtime_checkable
class SetTeacher(Protocol):
    """A module that is no function of the io spec's inputs alone: it is asked about a set as a whole.

    A hypergraph network looks a vertex's neighbours up, so a row of features is not enough for it.
    """

    def judged(self, samples: SampleSet) -> dict[str, Any]:
        """(n, ...) arrays of its outputs by io-spec name, in evaluation, for each sample of the set in order."""


@dataclass
class Stage:
    """One thing to be trained: a teacher, the student, its control.

    Attributes:
        name: also the folder below ``stages/`` in the run.
        model: the module that is trained and judged; takes the io spec's inputs in order, gives its outputs,
            or is a ``SetTeacher``.
        step: (batch) -> {term: scalar tensor}; the loss is their sum. A term that starts with ``_`` is logged
            and not summed.
        optimizer: parameters -> optimizer.
        schedule: (optimizer, steps in all) -> scheduler stepped each batch, or None.
        frozen: modules that ``step`` consults and nothing trains (teachers); kept in eval, without gradient.
        epochs, batch_size: of this stage.
        starts_from: provenance of the weights it starts from (source, sha256, license); empty = fresh ones.
        role: what the stage is for. A ``preparation`` is the first half of another stage, which goes on with its
            weights (in ``prepare``): its scores are of a model that nobody uses, so no gate or claim looks at them.
        samples: what it is fitted on; None: the data's ``train``. A step may look at more than its batch (a whole
            hypergraph); with ``batch_size`` of the whole set an epoch is one step.
        prepare: (folder of the stage, progress), called once before the first step and again when resumed, with
            the frozen modules trained: what is computed once (soft targets, in a file that is mapped).
        keeps: weights of the best epoch on ``val``, or of the last.
        average: decay of the weights' moving average, of the number of steps taken; the average is judged and kept,
            and the weights themselves only go on being trained. None: there is none.
        clip: greatest norm of a step's gradient; a longer one is shortened to it. None: as it comes.
    """

    name: str
    role: str  # "teacher", "student", "control" or "preparation"
    model: nn.Module
    step: Callable[[Batch], dict[str, torch.Tensor]]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    schedule: Callable[[torch.optim.Optimizer, int], Any] | None
    epochs: int
    batch_size: int
    frozen: Mapping[str, nn.Module] = field(default_factory=dict)
    starts_from: Mapping[str, Any] = field(default_factory=dict)
    samples: SampleSet | None = None
    prepare: Callable[[Path, Progress], None] | None = None
    keeps: Literal["best", "last"] = "best"
    average: Callable[[int], float] | None = None
    clip: float | None = None


class Metrics(Protocol):
    """``metrics.METRICS``. Runs over pipeline predictions everywhere: training, gates, device."""

    primary: str  # key of ``compute``'s result that gates look at
    higher_is_better: bool
    units: Mapping[str, str]

    def compute(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]: ...


@runtime_checkable
class SampleMetrics(Protocol):
    """Metrics that work out once what each sample contributes: a gate asks hundreds of times with some left out."""

    def evidence(self, predictions: Sequence[Arrays], truths: Sequence[Arrays]) -> Sequence[Any]:
        """One item per sample."""

    def figures(self, evidence: Sequence[Any]) -> dict[str, float]:
        """Of the items' samples: the primary metric as ``compute`` has it."""


class Schedule(Protocol):
    """Which samples a student sees that takes its time; what more there is to it is its metrics' own."""

    @property
    def seen(self) -> Sequence[Sequence[int]]:
        """Numbers of samples, one sequence of them after another; before each, state is cleared."""


@runtime_checkable
class TimedMetrics(Protocol):
    """Metrics that depend on when a prediction comes: the world moves on while the student works."""

    primary: str

    def step_ms(self, truths: Sequence[Arrays]) -> float:
        """The time from one sample to the next."""

    def schedule(self, truths: Sequence[Arrays], latencies_ms: Sequence[float]) -> Any:
        """The ``Schedule`` of a student that takes so long; of several latencies one is drawn for each sample."""

    def streamed(self, schedule: Any, seen: Sequence[Arrays], truths: Sequence[Arrays]) -> dict[str, float]:
        """The figures, ``seen`` being the predictions of the schedule's samples in order."""


class Pipeline(Protocol):
    """``pipeline.Pipeline``: built from an io spec alone.

    That may be the spec of any graph of the recipe: ``preprocess`` makes what ``io.fed`` names and no more, and
    ``postprocess`` needs no more than ``io.given``. State, and what is held, are nothing to a pipeline.
    """

    def __init__(self, io: IoSpec) -> None: ...

    def read(self, inputs: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Command-line inputs (name -> path) to (label, raw) items: one picture, a folder, a video's frames, rows.

        Items of one picture follow each other and share their first array.
        """

    def preprocess(self, raw: Arrays) -> dict[str, Any]:
        """Raw input to feeds by io-spec name, with a batch axis of 1."""

    def postprocess(self, outputs: Arrays, raw: Arrays) -> dict[str, Any]:
        """Outputs (batch 1) to a prediction in the raw input's own coordinates."""

    def draw(
        self,
        raws: Sequence[Arrays],
        predictions: Sequence[Arrays],
        references: Sequence[Arrays] | None = None,
    ) -> Any:
        """A PIL picture that shows at a glance whether the predictions for one picture's items are right.

        ``references`` (the teacher's, the truth) are drawn beside them, in a second colour.
        """


@runtime_checkable
class Sequences(Protocol):
    """A pipeline whose samples follow each other: frames of a video, for a student with state.

    The samples of its recipe's sets are in the order of time, sequence by sequence. Without it, all samples that are
    given together are one sequence.
    """

    def restarts(self, raw: Arrays, before: Arrays | None) -> bool:
        """Whether a new sequence begins with ``raw``, or there is a gap before it: state is then cleared.

        ``before`` is the sample before it; None: there was none.
        """


@runtime_checkable
class Forecasts(Sequences, Protocol):
    """Such a pipeline whose predictions are of the sample *after* the one that was seen.

    ``predict`` draws each on that later picture; ``draw`` then gets no prediction for the first one of a sequence.
    """

    forecasts: bool


class Recipe(Protocol):
    """``recipe.Recipe``: one student system."""

    def __init__(self, config: Any) -> None:
        """``config`` is the recipe's own ``Config``, validated."""

    def datasets(self, cache: Path, progress: Progress) -> Datasets:
        """``cache`` is a folder for what is slow to make; ``progress`` takes what is done and the share of it."""

    def io_spec(self) -> IoSpec:
        """Asked after ``datasets``: the data may decide how wide an input is."""

    def student(self, io: IoSpec) -> nn.Module:
        """The student of an io spec, freshly initialised from the config's seed; weights are loaded by the caller.

        No data is read: an export has the run's io spec, and no data.
        """

    def stages(self, data: Datasets, control: bool) -> Sequence[Stage]:
        """In training order, exactly one of them with role ``student``; ``control`` adds one with that role.

        Later stages may hold earlier stages' models as frozen teachers.
        """


@runtime_checkable
class SharedWork(Protocol):
    """A recipe whose ``datasets`` is slow in a way that several processes can share, e.g. labelling pictures.

    Where it is trained by several, each first makes its own part, then one makes the data sets from them, then all
    the others read the same cache.
    """

    def make_share(self, cache: Path, part: int, parts: int, progress: Callable[[str, float], None]) -> None:
        """Fills the cache with part ``part`` (0 ...) of ``parts``. Nothing is lost where it is not called."""


@runtime_checkable
class SeveralGraphs(Protocol):
    """A recipe whose bundles hold more than one graph of the same weights, for those who ask often with one half new.

    Try-on: a graph of the garment that runs once, and one of the frame that holds what the first one gave.
    """

    def graphs(self, student: nn.Module, io: IoSpec) -> Mapping[str, tuple[nn.Module, IoSpec]]:
        """Further graphs besides ``main``, which is the student itself, by name, in the order in which they run.

        Names are lower-case words. A graph takes inputs of ``main`` by their names and, where its ``held`` says so,
        outputs of earlier graphs that hold nothing themselves; one that holds something gives what ``main`` gives.
        The modules share the student's: what is lowered or folded in it is so in them.
        """
