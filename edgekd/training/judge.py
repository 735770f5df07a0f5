"""Scoring a torch model through the pipeline. Knows no Lightning, so that ``export`` need not import it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekd.bundle.sequences import InOrder
from edgekd.bundle.session import carried
from edgekd.contracts import Array, Arrays, IoSpec, Session
from edgekd.recipes.contract import Metrics, Pipeline, SampleSet, SetTeacher

ROWS = 4096  # at most so many samples at once, where the io spec lets them go together


class Judge:
    """Scores a torch model on a sample set through the pipeline, in fp32 and eval mode."""

    def __init__(self, io: IoSpec, pipeline: Pipeline, metrics: Metrics) -> None:
        self.io, self.pipeline, self.metrics = io, pipeline, metrics
        # An axis of any size that every tensor begins with is the batch: samples may go through together.
        first = {str(t.shape[0]) if t.shape and isinstance(t.shape[0], str) else "" for t in (*io.inputs, *io.outputs)}
        self._together = ROWS if len(first) == 1 and "" not in first and not io.state else 1

    def predict(self, model: nn.Module, samples: SampleSet) -> list[dict[str, Any]]:
        return list(self._predictions(model, samples, (samples.sample(i).raw for i in range(len(samples)))))

    def score(self, model: nn.Module, samples: SampleSet) -> dict[str, float]:
        truths: list[Arrays] = []

        def raws() -> Iterator[Arrays]:
            for index in range(len(samples)):
                sample = samples.sample(index)
                truths.append(sample.truth)
                yield sample.raw

        return self.metrics.compute(list(self._predictions(model, samples, raws())), truths)

    def session(self, model: nn.Module) -> Session:
        """The model as the pipeline asks any session; state is carried from call to call."""
        return carried(_ModuleSession(model, self.io))

    def _predictions(self, model: nn.Module, samples: SampleSet, raws: Iterable[Arrays]) -> Iterator[dict[str, Any]]:
        """Each raw sample is held for as long as it is needed: those of a video do not fit into memory together."""
        if isinstance(model, SetTeacher):
            for outputs, raw in zip(_rows(model.judged(samples)), raws, strict=True):
                yield self.pipeline.postprocess(outputs, raw)
            return
        session = self.session(model)
        if self._together == 1:
            yield from map(InOrder(session, self.pipeline).predict, raws)
            return
        waiting = iter(raws)
        while chunk := list(islice(waiting, self._together)):
            feeds = [self.pipeline.preprocess(raw) for raw in chunk]
            outputs = session.run({name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]})
            for row, raw in zip(_rows(outputs), chunk, strict=True):
                yield self.pipeline.postprocess(row, raw)


class _ModuleSession:
    """A module in evaluation, on the device that its parameters are on."""

    def __init__(self, model: nn.Module, io: IoSpec) -> None:
        self.model, self.io = model, io

    def run(self, feeds: Arrays) -> dict[str, Array]:
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                outputs = self.model(*(torch.from_numpy(feeds[t.name]).to(device) for t in self.io.inputs))
        finally:
            self.model.train(was_training)
        values = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        return {t.name: v.float().cpu().numpy() for t, v in zip(self.io.outputs, values, strict=True)}

    def reset(self) -> None:
        pass  # state is carried by edgekd.bundle.session


def _rows(outputs: Arrays) -> Iterator[Arrays]:
    for k in range(len(next(iter(outputs.values())))):
        yield {name: value[k : k + 1] for name, value in outputs.items()}
