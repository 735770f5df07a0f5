"""Scoring a torch model through the pipeline. Knows no Lightning, so that ``export`` need not import it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from edgekd.contracts import Array, Arrays, IoSpec
from edgekd.measuring.quality import predictions
from edgekd.recipes.contract import Metrics, Pipeline, SampleSet


class Judge:
    """Scores a torch model on a sample set through the pipeline, in fp32 and eval mode."""

    def __init__(self, io: IoSpec, pipeline: Pipeline, metrics: Metrics) -> None:
        self.io, self.pipeline, self.metrics = io, pipeline, metrics

    def predict(self, model: nn.Module, samples: SampleSet) -> list[dict[str, Any]]:
        raws = [samples.sample(i).raw for i in range(len(samples))]
        return predictions(self.caller(model), self.pipeline, raws)

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
