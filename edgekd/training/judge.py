"""Scoring a torch model through the pipeline. Knows no Lightning, so that ``export`` need not import it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekd.contracts import Array, Arrays, IoSpec
from edgekd.recipes.contract import Metrics, Pipeline, SampleSet, SetTeacher

ROWS = 4096  # at most so many samples at once, where the io spec lets them go together


class Judge:
    """Scores a torch model on a sample set through the pipeline, in fp32 and eval mode."""

    def __init__(self, io: IoSpec, pipeline: Pipeline, metrics: Metrics) -> None:
        self.io, self.pipeline, self.metrics = io, pipeline, metrics
        # An axis of any size that every tensor begins with is the batch: samples may go through together.
        first = {str(t.shape[0]) if t.shape and isinstance(t.shape[0], str) else "" for t in (*io.inputs, *io.outputs)}
        self._together = ROWS if len(first) == 1 and "" not in first else 1

    def predict(self, model: nn.Module, samples: SampleSet) -> list[dict[str, Any]]:
        raws = [samples.sample(i).raw for i in range(len(samples))]
        outputs = _rows(model.judged(samples)) if isinstance(model, SetTeacher) else self._outputs(model, raws)
        return [self.pipeline.postprocess(o, raw) for o, raw in zip(outputs, raws, strict=True)]

    def score(self, model: nn.Module, samples: SampleSet) -> dict[str, float]:
        truths = [samples.sample(i).truth for i in range(len(samples))]
        return self.metrics.compute(self.predict(model, samples), truths)

    def caller(self, model: nn.Module) -> Any:
        """The model as the pipeline calls any session: named arrays in, named arrays out."""

        def call(feeds: Arrays) -> Mapping[str, Array]:
            device = next((p.device for p in model.parameters()), torch.device("cpu"))
            was_training = model.training
            model.eval()
            try:
                with torch.inference_mode():
                    outputs = model(*(torch.from_numpy(feeds[t.name]).to(device) for t in self.io.inputs))
            finally:
                model.train(was_training)
            values = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
            return {t.name: v.float().cpu().numpy() for t, v in zip(self.io.outputs, values, strict=True)}

        return call

    def _outputs(self, model: nn.Module, raws: Sequence[Arrays]) -> Iterator[Arrays]:
        """Of each sample, with a batch axis of 1."""
        call = self.caller(model)
        for start in range(0, len(raws), self._together):
            feeds = [self.pipeline.preprocess(raw) for raw in raws[start : start + self._together]]
            if self._together == 1:
                yield call(feeds[0])
            else:
                yield from _rows(call({name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]}))


def _rows(outputs: Arrays) -> Iterator[Arrays]:
    for k in range(len(next(iter(outputs.values())))):
        yield {name: value[k : k + 1] for name, value in outputs.items()}
