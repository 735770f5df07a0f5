"""bf16 where it is faster here: measured on the stage's own first batch."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch

from edgekd.recipes.contract import Batch, Stage

WORTH = 0.9  # bf16 must save a tenth of the time; below that fp32's exactness is worth more


def faster_precision(stage: Stage, batch: Batch, steps: int = 4) -> str:
    """``bf16-mixed`` or ``32-true`` for Lightning, from interleaved forward-backward steps."""
    saved = copy.deepcopy(stage.model.state_dict())
    times: dict[bool, list[float]] = {False: [], True: []}
    was_training = stage.model.training
    stage.model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        for index in range(steps):
            for bf16 in (False, True):
                start = time.perf_counter()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                    sum_terms(stage.step(batch)).backward()
                if index:  # the first one compiles kernels
                    times[bf16].append(time.perf_counter() - start)
                stage.model.zero_grad(set_to_none=True)
    finally:
        stage.model.load_state_dict(saved)
        stage.model.train(was_training)
    return "bf16-mixed" if min(times[True]) < WORTH * min(times[False]) else "32-true"


def sum_terms(terms: dict[str, Any]) -> torch.Tensor:
    return torch.stack([value for name, value in terms.items() if not name.startswith("_")]).sum()
