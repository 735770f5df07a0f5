"""The ``hypergraph`` recipe: which stages there are, in which order, and what each minimises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.contracts import Array, IoSpec, RowSpec, TensorSpec
from edgekd.distillers.ensembles import mean_logits
from edgekd.errors import InputError
from edgekd.nn.sparse import SparseRows
from edgekd.recipes.contract import Batch, Datasets, Progress, SampleSet, Stage
from edgekd.recipes.hypergraph import data as vertex_data
from edgekd.recipes.hypergraph.config import Config
from edgekd.recipes.hypergraph.data import DistilledSet, VertexSet, View
from edgekd.recipes.hypergraph.losses import hyperedge_loss, reliability, vertex_loss
from edgekd.recipes.hypergraph.models import HypergraphNetwork, StudentMLP
from edgekd.recipes.hypergraph.sources import NONE, Labelled, load
from edgekd.storage import whole_file


class Teacher(nn.Module):
    """A hypergraph network that is asked about vertices of a view, not about rows: ``contract.SetTeacher``."""

    def __init__(self, network: HypergraphNetwork, model: str) -> None:
        super().__init__()
        self.network, self.model = network, model

    def forward(self, view: View) -> torch.Tensor:
        """(V, C) logits of every vertex of ``view``."""
        return self.network(view.inputs, view.propagation(self.model))

    def judged(self, samples: SampleSet) -> dict[str, Array]:
        """Logits (n, C) of the set's vertices, each part in its own view."""
        assert isinstance(samples, VertexSet)
        seen: dict[int, Array] = {}
        was_training = self.training
        self.eval()
        with torch.no_grad():
            for part in samples.parts:
                if id(part.view) not in seen:
                    seen[id(part.view)] = self(part.view).numpy()
        self.train(was_training)
        return {"logits": np.concatenate([seen[id(part.view)][part.places] for part in samples.parts])}


class Recipe:
    """An MLP from one or several hypergraph networks (LightHGNN, LightHGNN+)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._data: Labelled | None = None

    def datasets(self, cache: Path, progress: Progress) -> Datasets:
        progress("hypergraph", 0.0)
        self._data = load(self.config)
        return vertex_data.datasets(self._data, self.config)

    def io_spec(self) -> IoSpec:
        if self._data is None:
            raise ValueError("the number of features and classes is the data's: call datasets first")
        normalization = self.config.data.normalization
        rows = TensorSpec(
            name="x",
            shape=("rows", self._data.features.width),
            layout="NC",
            meaning="a row of features per vertex" + (", each divided by its sum" if normalization == "l1" else ""),
            rows=RowSpec(normalization=normalization, columns=self._data.columns),
        )
        logits = TensorSpec(
            name="logits",
            shape=("rows", len(self._data.classes)),
            layout="NC",
            meaning="a number per class; their softmax is the probability",
            classes=self._data.classes,
        )
        return IoSpec(inputs=(rows,), outputs=(logits,))

    def student(self, io: IoSpec) -> StudentMLP:
        (_, features), (_, classes) = io.inputs[0].shape, io.outputs[0].shape
        student = self.config.student
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            sizes = int(features), int(classes), student.hidden
            return StudentMLP(*sizes, student.dropout, student.feature_dropout)

    def stages(self, data: Datasets, control: bool) -> Sequence[Stage]:
        if control and not self.config.teacher.count:
            raise InputError(
                "--control compares with teachers, and there are none",
                "teacher.count is 0, so the student already trains on labels alone",
                "--set teacher.count=1",
            )
        assert isinstance(data.train, VertexSet)
        labelled = data.train.labelled()
        teachers = [self.teacher_stage(k, labelled) for k in range(self.config.teacher.count)]
        # In one batch, the control sees what the student sees: all vertices, of which a few have labels.
        shown = labelled if self.config.train.batch_size else data.train
        if not teachers:
            return [self.labels_stage("student", "student", shown)]
        stages = [*teachers, self.student_stage(teachers, data.train)]
        return [*stages, self.labels_stage("control", "control", shown)] if control else stages

    def teacher_stage(self, number: int, labelled: VertexSet) -> Stage:
        teacher, io = self.config.teacher, self.io_spec()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed + 1000 * (number + 1))
            sizes = int(io.inputs[0].shape[1]), int(io.outputs[0].shape[1])
            network = HypergraphNetwork(*sizes, teacher.hidden, teacher.dropout)
        kinds = ("hgnn", "hgnn+") if teacher.model == "both" else (teacher.model,)
        model = Teacher(network, kinds[number % len(kinds)])
        (part,) = labelled.parts

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            """The whole view goes through, whatever the batch; the loss is over the batch's vertices."""
            places = part.places[batch["index"].cpu().numpy()]
            return {"labels": F.cross_entropy(model(part.view)[places], batch["label"])}

        name = "teacher" if teacher.count == 1 else f"teacher-{number + 1}"
        return self._stage(name, "teacher", model, step, labelled, epochs=teacher.epochs, batch_size=len(labelled))

    def student_stage(self, teachers: Sequence[Stage], train: VertexSet) -> Stage:
        student, config = self.student(self.io_spec()), self.config.loss
        distilled = DistilledSet(train.parts)
        frozen = {stage.name: stage.model for stage in teachers}
        hyperedges = vertex_data.Hyperedges(train.parts[0].view) if config.hyperedges else None

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            logits, label = student(batch["x"]), batch["label"]
            soft = mean_logits(batch["soft"], config.temperature)
            share = 1 - config.labels
            terms = {"soft": share * vertex_loss(logits, soft, config.form, config.temperature)}
            if hyperedges is not None:
                members, chosen = hyperedges.drawn(batch["index"])
                loss = hyperedge_loss(logits, soft, members, chosen, config.form, config.temperature)
                terms["hyperedges"] = share * loss
            if config.labels and bool((label != NONE).any()):
                terms["labels"] = config.labels * F.cross_entropy(logits, label, ignore_index=NONE)
            return terms

        def prepare(folder: Path, tell: Progress) -> None:
            """Teachers speak once, about every vertex; the student reads what they said from a mapped file."""
            models = [model for model in frozen.values() if isinstance(model, Teacher)]
            tell("soft targets", 0.0)
            if not (folder / "soft.npy").is_file():
                answers = [model.judged(train)["logits"] for model in models]
                _save(folder / "soft.npy", np.stack(answers, axis=1))
            distilled.open(folder / "soft.npy")
            if hyperedges is not None:
                if not (folder / "reliability.npy").is_file():
                    view = train.parts[0].view
                    _save(folder / "reliability.npy", _reliability(models, view, config.noise, self.config.seed))
                hyperedges.reliability = torch.from_numpy(np.load(folder / "reliability.npy", allow_pickle=False))

        return self._stage("student", "student", student, step, distilled, frozen=frozen, prepare=prepare)

    def labels_stage(self, name: str, role: str, samples: VertexSet) -> Stage:
        """The same MLP on the labels alone. Vertices without one still count for the batch's statistics, as in the
        paper's MLP.
        """
        student = self.student(self.io_spec())

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            return {"labels": F.cross_entropy(student(batch["x"]), batch["label"], ignore_index=NONE)}

        return self._stage(name, role, student, step, samples)

    def _stage(
        self,
        name: str,
        role: str,
        model: nn.Module,
        step: Callable[[Batch], dict[str, torch.Tensor]],
        samples: VertexSet,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        frozen: Mapping[str, nn.Module] | None = None,
        prepare: Callable[[Path, Progress], None] | None = None,
    ) -> Stage:
        train = self.config.train

        def optimizer(parameters: Iterable[Any]) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)

        return Stage(
            name=name,
            role=role,
            model=model,
            step=step,
            optimizer=optimizer,
            schedule=None,
            epochs=epochs or train.epochs,
            batch_size=batch_size or train.batch_size or len(samples),
            frozen=frozen or {},
            samples=samples,
            prepare=prepare,
            keeps="last" if self.config.data.split == "published" else "best",
        )


def _reliability(teachers: Sequence[Teacher], view: View, noise: float, seed: int) -> Array:
    """(E,) of the view's hyperedges. Noise multiplies a feature: x · (1 + noise · eps), eps normal.

    (The authors' code multiplies the whole input by its noise level, 1 by default, so that 0 is no input at all.)
    """
    generator = torch.Generator().manual_seed(seed)
    x = view.inputs
    values = x.values if isinstance(x, SparseRows) else x
    assert values is not None
    shaken = values * (1 + noise * torch.randn(values.shape, generator=generator))
    noisy = x.with_values(shaken) if isinstance(x, SparseRows) else shaken

    def said(inputs: torch.Tensor | SparseRows) -> torch.Tensor:
        answers = [teacher.network(inputs, view.propagation(teacher.model)) for teacher in teachers]
        return F.softmax(mean_logits(torch.stack(answers, dim=1)), dim=-1)

    with torch.no_grad():
        return reliability(said(x), said(noisy), view.propagation(teachers[0].model).to_edges).numpy()


def _save(file: Path, array: Array) -> None:
    with whole_file(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, array, allow_pickle=False)
