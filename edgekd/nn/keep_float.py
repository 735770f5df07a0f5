"""The mark of what must stay in fp32, whatever the rest of a model is built in."""

from __future__ import annotations

from torch import nn


class KeepFloat(nn.Module):
    """A module whose arithmetic is fp32 in every build; a block is marked by being a subclass of it.

    Sampling grids, offsets and boxes are positions: rounded to eight bits of mantissa they are off by pixels, while
    what is sampled there is not. The exporter names the nodes that lie in it (``edgekd.nn.onnx_graph.KEEP_FLOAT``);
    builders leave them out of int8, bf16 and fp16, and export and ``verify`` read back that it came to be.

    What is marked is what is computed in here: rounding that happened to an input before is not undone, so the layer
    that first says a position belongs inside.
    """
