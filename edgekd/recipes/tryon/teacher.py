"""The teacher: FS-VTON with a human representation (parsing, pose, body parts) in place of the photo (B2).

It sees what the student must do without, so it can be trained on pairs of a garment and a photo of somebody in it.
With width 1 it has the paper's 33.31 M and 43.90 M parameters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.convolution import round_channels
from edgekd.nn.warping import Warp
from edgekd.recipes.contract import Batch, SampleSet
from edgekd.recipes.tryon.flow import LEVELS, AppearanceFlow, Flows
from edgekd.recipes.tryon.models import Outputs, Rendering, composed

CONDITION = 45  # channels: 2 preserve masks, 25 body parts, 18 key points
_ENCODER = (64, 128, 256, 256, 256)
_GENERATOR = (64, 128, 256, 512, 512)
JUDGED_AT_ONCE = 8


class NormFirstBlock(nn.Module):
    """BatchNorm, ReLU, 3x3 convolution, twice, and the skip connection; (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_norm_first(channels, channels, 1), *_norm_first(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def _norm_first(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, after, 3, stride, 1, bias=False)


class Encoder(nn.Module):
    """(B, in_channels, H, W) -> five maps of 1/2 to 1/32 of it, finest first."""

    def __init__(self, in_channels: int, sizes: Sequence[int]) -> None:
        super().__init__()
        before = (in_channels, *sizes[:-1])
        self.steps = nn.ModuleList(
            [
                nn.Sequential(*_norm_first(first, last, 2), NormFirstBlock(last), NormFirstBlock(last))
                for first, last in zip(before, sizes, strict=True)
            ]
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for step in self.steps:
            x = step(x)
            maps.append(x)
        return maps


class Pyramid(nn.Module):
    """An encoder's maps from the coarsest on, each with what the coarser ones saw; each level is smoothed by itself
    before it is handed down.
    """

    def __init__(self, in_channels: int, sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, sizes)
        self.lateral = nn.ModuleList([nn.Conv2d(size, channels, 1) for size in reversed(sizes)])
        self.smooth = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in sizes])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = []
        for lateral, smooth, seen in zip(self.lateral, self.smooth, reversed(self.encoder(x)), strict=True):
            own = lateral(seen)
            if maps:
                own = own + F.interpolate(maps[-1], scale_factor=2.0, mode="nearest")
            maps.append(smooth(own))
        return maps


class ModulatedConv(nn.Module):
    """A 3x3 convolution whose input channels a style scales, and whose outputs keep their variance (StyleGAN2).

    The scaling is done to the input and the outputs instead of the weights: the same numbers, without a convolution
    per sample.
    """

    def __init__(self, in_channels: int, out_channels: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.to_scales = nn.Linear(style, in_channels)
        nn.init.normal_(self.to_scales.weight)
        nn.init.zeros_(self.to_scales.bias)
        # Weights keep a variance of 1 and are scaled when used, so that all of them learn at one rate.
        self._gain, self._style_gain = math.sqrt(2 / (9 * in_channels)), math.sqrt(2 / style)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        scales = F.linear(style, self.to_scales.weight * self._style_gain, self.to_scales.bias)
        weight = self.weight * self._gain
        power = scales.square() @ weight.square().sum((2, 3)).T
        out = F.conv2d(x * scales[:, :, None, None], weight, padding=1)
        return out * torch.rsqrt(power + 1e-5)[:, :, None, None] + self.bias[:, None, None]


class StyledHead(nn.Module):
    """Four modulated convolutions, to 49, 49, 128 channels and the offsets; LeakyReLU 0.2 times sqrt(2) between."""

    def __init__(self, channels: int, width: int, style: int) -> None:
        super().__init__()
        sizes = (channels, 49, 49, width, 2)
        self.layers = nn.ModuleList([ModulatedConv(a, b, style) for a, b in pairwise(sizes)])

    def forward(self, maps: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        *body, last = self.layers
        for layer in body:
            maps = F.leaky_relu(layer(maps, style), 0.2) * math.sqrt(2)
        return last(maps, style).float()


class StyledFlow(AppearanceFlow):
    """Proposes offsets from the garment's map and a style vector of the whole pair.

    Args:
        channels: of the pyramids' maps.
        size: (height, width) of the pictures; the style sees all of the coarsest map.
    """

    def __init__(self, channels: int, width: int, size: tuple[int, int]) -> None:
        super().__init__([channels] * LEVELS, [width] * LEVELS, [False] * LEVELS)
        kernel, style = (size[0] // 32, size[1] // 32), channels // 2
        self.person_style = nn.Sequential(nn.Conv2d(channels, style, kernel), nn.LeakyReLU(0.1))
        self.clothes_style = nn.Sequential(nn.Conv2d(channels, style, kernel), nn.LeakyReLU(0.1))
        self.main = nn.ModuleList([StyledHead(channels, width, 2 * style) for _ in range(LEVELS)])

    def style(self, person: torch.Tensor, clothes: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.person_style(person), self.clothes_style(clothes)], 1).flatten(1)

    def propose(
        self, level: int, clothes: torch.Tensor, person: torch.Tensor, style: torch.Tensor | None
    ) -> torch.Tensor:
        return self.main[level](clothes, style)


class NormAfterBlock(nn.Module):
    """3x3 convolution, BatchNorm, ReLU, convolution, BatchNorm; ReLU of the sum with the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, channels, channels, 3, padding=1, bias=False)
        self.layers = nn.Sequential(conv(), nn.BatchNorm2d(channels), nn.ReLU(), conv(), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.layers(x))


class ResidualUNet(nn.Module):
    """(B, 8, H, W) -> (B, 4, H, W): five halvings and five doublings, with two residual blocks after each but the
    last.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        down, up = [], []
        before = 8
        for index, size in enumerate(sizes):
            inner = 0 < index < len(sizes) - 1  # the outermost and the innermost halving have no norm
            layers: list[nn.Module] = [nn.Conv2d(before, size, 3, 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(size)] if inner else []
            down.append(nn.Sequential(*layers, nn.ReLU(), NormAfterBlock(size), NormAfterBlock(size)))
            before = size
        for index in range(len(sizes) - 1, 0, -1):
            size, after = sizes[index] * (1 if index == len(sizes) - 1 else 2), sizes[index - 1]
            convolution = nn.Conv2d(size, after, 3, padding=1, bias=False)
            blocks = NormAfterBlock(after), NormAfterBlock(after)
            up.append(
                nn.Sequential(nn.Upsample(scale_factor=2.0), convolution, nn.BatchNorm2d(after), nn.ReLU(), *blocks)
            )
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.last = nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(2 * sizes[0], 4, 3, padding=1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips: list[torch.Tensor] = []
        for step in self.down:
            x = step(x)
            skips.append(x)
        skips.pop()
        for step in self.up:
            x = torch.cat([skips.pop(), step(x)], 1)
        return self.last(x)


class _Judged(nn.Module, ABC):
    """A teacher needs parsing and pose, so it is asked about a set, not about a picture (``contract.SetTeacher``)."""

    @abstractmethod
    def outputs(self, batch: Batch) -> Outputs:
        """What the teacher says of a batch, as the io spec has it."""

    def judged(self, samples: SampleSet) -> dict[str, Any]:
        """(n, ...) arrays of the io spec's outputs for each sample's own garment and pose."""
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        found: list[Outputs] = []
        with torch.inference_mode():
            for start in range(0, len(samples), JUDGED_AT_ONCE):
                keys = [(0, index) for index in range(start, min(start + JUDGED_AT_ONCE, len(samples)))]
                batch = {name: value.to(device) for name, value in samples.batch(keys).items()}
                found.append(self.outputs(batch))
        self.train(was_training)
        return {
            name: torch.cat([getattr(outputs, name) for outputs in found]).float().cpu().numpy()
            for name in Outputs._fields
        }


class TeacherWarping(_Judged):
    """The teacher's first half: (B, 45, H, W) representation and garment to flows."""

    def __init__(self, width: float, size: tuple[int, int]) -> None:
        super().__init__()
        channels, sizes = _wide(256, width), [_wide(size, width) for size in _ENCODER]
        self.person, self.clothes = Pyramid(CONDITION, sizes, channels), Pyramid(3, sizes, channels)
        self.flow = StyledFlow(channels, _wide(128, width), size)
        self.cloth_warp, self.edge_warp = Warp("border"), Warp("zeros")

    def flows(self, condition: torch.Tensor, clothes: torch.Tensor) -> Flows:
        return self.flow(self.person(condition), self.clothes(clothes))

    def outputs(self, batch: Batch) -> Outputs:
        """The warped garment pasted onto the photo of the pair itself: no score of a try-on, only of the warp."""
        grid = self.flows(batch["condition"], batch["clothes"]).grid
        warped, edge = self.cloth_warp(batch["clothes"], grid), self.edge_warp(batch["clothes_edge"], grid)
        return Outputs(edge * warped + (1 - edge) * batch["person"], warped, grid)


class Teacher(_Judged):
    """Both halves."""

    def __init__(self, width: float, size: tuple[int, int]) -> None:
        super().__init__()
        self.warping = TeacherWarping(width, size)
        self.generator = ResidualUNet([_wide(size, width) for size in _GENERATOR])

    def outputs(self, batch: Batch) -> Outputs:
        grid = self.warping.flows(batch["condition"], batch["clothes"]).grid
        warped, edge = (
            self.warping.cloth_warp(batch["clothes"], grid),
            self.warping.edge_warp(batch["clothes_edge"], grid),
        )
        tryon = self.render(batch["preserve"], batch["dense_preserve"], warped, edge).tryon
        return Outputs(tryon, warped, grid)

    def render(
        self, preserve: torch.Tensor, dense_preserve: torch.Tensor, warped: torch.Tensor, warped_edge: torch.Tensor
    ) -> Rendering:
        """``preserve`` (B, 3, H, W) is what stays of the photo, ``dense_preserve`` (B, 1, H, W) the arms."""
        seen = torch.cat([preserve, warped, warped_edge, dense_preserve * (1 - warped_edge)], 1)
        return composed(self.generator(seen), warped, warped_edge)


def _wide(channels: int, width: float) -> int:
    return channels if width == 1 else round_channels(channels * width)
