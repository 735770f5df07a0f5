"""Fusion of a frame's maps with those of the frames before it, and what of these is carried from call to call.

LongShortNet's late fusion (arXiv 2210.15518), which DAMO-StreamNet keeps: per level, half of the channels come from
this frame (the short path), half from the last N (the long path), and this frame's map is added. A past frame speaks
through a 1x1 convolution to a third of that half, so its projection is all that need be carried: a sixth of the map.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from edgekd.nn.convolution import ConvNormAct
from edgekd.recipes.streaming.backbone import Activation


class StillFusion(nn.Module):
    """StreamYOLO's dual flow of a frame with itself (CVPR 2022): the halves are the same projection. No past."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.short = ConvNormAct(channels, channels // 2, activation=activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = self.short(x)
        return torch.cat((half, half), dim=1) + x


class LongShortFusion(nn.Module):
    """Of one level: its map and the projections of the last ``past`` frames.

    ``own_last``: the oldest frame is projected by a convolution of its own, which takes what the division by ``past``
    leaves over. So this projection of a frame is carried, too, until the frame is the oldest.

    A state is (B, ``carried``, H, W): the first projections of the frames it is about, newest first, then the others.
    """

    def __init__(self, channels: int, past: int, own_last: bool, activation: Activation) -> None:
        super().__init__()
        conv, half = partial(ConvNormAct, activation=activation), channels // 2
        each = half // past
        widths, frames = [each], [past]
        if own_last:
            widths, frames = [each, half - (past - 1) * each], [past - 1, past]
        self.frames, self.widths = frames, widths  # of each projection: past frames that it is carried of, channels
        self.carried = sum(width * count for width, count in zip(widths, frames, strict=True))
        self.short = conv(channels, half)
        self.long = nn.ModuleList(conv(channels, width) for width in widths)
        self.join = conv(half if own_last else past * each, half)

    def projected(self, x: torch.Tensor) -> list[torch.Tensor]:
        """All that a frame's map (B, C, H, W) says to later frames: one (B, width, H, W) per projection."""
        return [projection(x) for projection in self.long]

    def repeated(self, projected: list[torch.Tensor]) -> torch.Tensor:
        """The state as if every past frame had been this one."""
        return torch.cat([p for p, count in zip(projected, self.frames, strict=True) for _ in range(count)], dim=1)

    def shifted(self, projected: list[torch.Tensor], state: torch.Tensor) -> torch.Tensor:
        """The state for the next frame: this one comes in front, the oldest drops out."""
        parts, start = [], 0
        for p, count in zip(projected, self.frames, strict=True):
            width = int(p.shape[1])
            parts += [p, state[:, start : start + (count - 1) * width]]
            start += count * width
        return torch.cat(parts, dim=1)

    def state(self, maps: torch.Tensor) -> torch.Tensor:
        """The state that past frames leave: their maps (B, past, C, H, W), newest first -> (B, carried, H, W)."""
        projected = [p.unflatten(0, maps.shape[:2]) for p in self.projected(maps.flatten(0, 1))]
        return torch.cat([p[:, :n].flatten(1, 2) for p, n in zip(projected, self.frames, strict=True)], dim=1)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """This frame's map (B, C, H, W) with the past's state -> (B, C, H, W)."""
        if len(self.frames) > 1:  # of the oldest frame its own projection, of the others the shared one
            recent, last = self.frames[0] * self.widths[0], self.widths[1]
            state = torch.cat((state[:, :recent], state[:, -last:]), dim=1)
        return torch.cat((self.short(x), self.join(state)), dim=1) + x
