"""The student (DM-VTON, B3): person and garment in, the person in the garment out; no parsing, no pose.

All pictures are float32 (B, 3, H, W) RGB in [-1, 1], sides a multiple of 32. With the defaults it is the paper's:
9,350,124 parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.nn.convolution import ConvNormAct, initialize_convolutions, round_channels
from edgekd.nn.correlation import Correlation
from edgekd.nn.enlarged_convolution import CoarseTaps, EnlargedConvolution, TopDownPyramid, enlarged
from edgekd.nn.inverted_residual import InvertedResidual
from edgekd.nn.warping import Warp
from edgekd.recipes.tryon.config import StudentConfig
from edgekd.recipes.tryon.flow import LEVELS, AppearanceFlow, Flows, OffsetHead, convolutions

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu6": nn.ReLU6,
    "relu": nn.ReLU,
    "leaky": partial(nn.LeakyReLU, 0.1),
    "hardswish": nn.Hardswish,
}
# (expansion, channels, stride): one inverted residual each
_PYRAMID = ((6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 2), (6, 160, 2), (6, 320, 1))
_ENCODER = ((1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 1), (6, 160, 2), (6, 320, 1))
_DECODER = (96, 32, 24, 16)
_SKIPS = (4, 2, 1, 0)  # which of the encoder's blocks each step of the decoder also sees


class Outputs(NamedTuple):
    """What every graph of the io spec gives: (B, 3, H, W) try-on, (B, 3, H, W) warped garment, (B, 2, H, W) grid."""

    tryon: torch.Tensor
    warped_cloth: torch.Tensor
    grid: torch.Tensor


class Rendering(NamedTuple):
    """``tryon = mask * warped + (1 - mask) * rendered``; mask (B, 1, H, W) is 0 where the warped garment is not."""

    tryon: torch.Tensor
    rendered: torch.Tensor
    mask: torch.Tensor


class MobilePyramid(TopDownPyramid):
    """MobileNetV2's blocks, and top-down maps of 1/32 to 1/2 of the picture, coarsest first.

    One 3x3 convolution smooths all levels: five would be 2.4 M parameters more. Only a finest level with channels of
    its own has its own.

    ``coarse_first`` is the form of the two finest levels, where the convolution is a 3x3 one.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        act = ACTIVATIONS[config.activation]
        wide = partial(_scaled, width=config.width)
        stem, first = wide(32), wide(16)
        # The paper's first block keeps its expanding convolution although it expands nothing.
        layers: list[nn.Module] = [
            nn.Sequential(
                ConvNormAct(3, stem, 3, activation=act),
                ConvNormAct(stem, stem, activation=act),
                InvertedResidual(stem, first, 1, 1, activation=act),
            )
        ]
        channels, laterals = first, []
        for expansion, base, stride in _PYRAMID:
            layers.append(InvertedResidual(channels, wide(base), stride, expansion, activation=act))
            channels = wide(base)
            if stride == 2:
                laterals.append(channels)
        self.blocks = nn.ModuleList(layers)
        self.channels = level_channels(config)
        self.top = nn.Conv2d(channels, config.pyramid, 1)
        self.lateral = nn.ModuleList(
            [nn.Conv2d(c, own, 1) for c, own in zip(reversed(laterals), self.channels, strict=False)]
        )
        self.smooth = nn.Sequential(*convolutions(config.pyramid, config.pyramid, config.separable == "all"))
        narrowed = self.channels[-1] != config.pyramid
        self.reduce = nn.Conv2d(config.pyramid, self.channels[-1], 1) if narrowed else None
        self.finest = None
        if narrowed or (config.separable == "finest" and config.levels == LEVELS):
            finest = convolutions(self.channels[-1], self.channels[-1], config.separable != "none")
            self.finest = nn.Sequential(*finest)
        initialize_convolutions(self)
        self.take(self.form)

    def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
        taps: list[torch.Tensor] = []
        x = self.blocks[0](picture)
        for block, (_, _, stride) in zip(self.blocks[1:], _PYRAMID, strict=True):
            x = block(x)
            if stride == 2:
                taps.append(x)
        # The top is one pixel: enlarging it is broadcasting it.
        sums = [self.top(x.mean((2, 3), keepdim=True)) + self.lateral[0](taps[-1])]
        for level in range(1, len(self.lateral)):
            above = self.reduce(sums[-1]) if self.reduce is not None and level == LEVELS - 1 else sums[-1]
            sums.append(enlarged(above) + self.lateral[level](taps[-1 - level]))
        return self._smoothed(sums, list(reversed(taps)))

    def take(self, form: str) -> None:
        super().take(form)
        self.shared = self.owned = None
        self.ahead = nn.ModuleDict()
        if form != "coarse_first":
            return
        last = len(self.lateral) - 1
        for level in (last - 1, last):
            smooth = self._smooth(level)[0]
            assert isinstance(smooth, nn.Conv2d)
            if len(self._smooth(level)) > 1:
                continue
            laterals = [_affine(own) for own in self.lateral[last - 1 : level + 1]]
            if self.reduce is not None and level == LEVELS - 1:
                weight, bias = _affine(self.reduce)
                laterals[0] = weight @ laterals[0][0], weight @ laterals[0][1] + bias
                self.owned = CoarseTaps(smooth, weight)
            else:
                self.shared = self.shared or CoarseTaps(smooth)
            self.ahead[str(level)] = EnlargedConvolution(smooth, laterals)

    def _smooth(self, level: int) -> nn.Sequential:
        return self.finest if level == LEVELS - 1 and self.finest is not None else self.smooth

    def _smoothed(self, sums: Sequence[torch.Tensor], taps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """``sums`` and the taps in them, coarsest first; what a fast form does not need is not computed in a graph."""
        base = len(sums) - 3
        shared = self.shared(sums[base]) if self.shared is not None else None
        owned = self.owned(sums[base]) if self.owned is not None else shared
        maps: list[torch.Tensor] = []
        for level, above in enumerate(sums):
            if str(level) in self.ahead:
                coarse = owned if level == len(sums) - 1 else shared
                maps.append(self.ahead[str(level)](taps[base + 1 : level + 1], coarse))
            else:
                maps.append(self._smooth(level)(above))
        return maps


class CorrelationFlow(AppearanceFlow):
    """Proposes offsets from how well the pixels of the warped garment match those of the person around them."""

    def __init__(self, config: StudentConfig) -> None:
        channels = level_channels(config)
        finest = [level == LEVELS - 1 for level in range(config.levels)]
        widths = [config.finest_head or config.head if own else config.head for own in finest]
        thin = [config.separable == "all" or (own and config.separable == "finest") for own in finest]
        super().__init__(channels, widths, thin)
        self.correlation = Correlation(radius=3)
        heads = zip(widths, thin, strict=True)
        self.main = nn.ModuleList([OffsetHead((49,), width, separable) for width, separable in heads])

    def propose(
        self, level: int, clothes: torch.Tensor, person: torch.Tensor, style: torch.Tensor | None
    ) -> torch.Tensor:
        return self.main[level](F.leaky_relu(self.correlation(clothes, person), 0.1))


class MobileUNet(nn.Module):
    """MobileNetV2-UNet, (B, 7, H, W) person, warped garment and its mask -> (B, 4, H, W): picture and mask, raw."""

    def __init__(self, width: float = 1.0, activation: str = "relu6") -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        wide = partial(_scaled, width=width)
        channels = wide(32)
        self.stem = ConvNormAct(7, channels, 3, 2, activation=act)
        sizes, blocks = [], []
        for expansion, base, stride in _ENCODER:
            blocks.append(InvertedResidual(channels, wide(base), stride, expansion, activation=act))
            channels = wide(base)
            sizes.append(channels)
        self.encoder = nn.ModuleList(blocks)
        self.neck = ConvNormAct(channels, wide(512), activation=act)
        channels = wide(512)
        raises, decoder = [], []
        for base, skip in zip(_DECODER, _SKIPS, strict=True):
            own = wide(base)
            raises.append(nn.ConvTranspose2d(channels, own, 4, stride=2, padding=1))
            decoder.append(InvertedResidual(sizes[skip] + own, own, 1, 6, activation=act))
            channels = own
        self.enlarge, self.decoder = nn.ModuleList(raises), nn.ModuleList(decoder)
        self.last = nn.Conv2d(channels, 4, 3, padding=1, bias=False)
        initialize_convolutions(self)
        nn.init.normal_(self.last.weight, std=1e-2)  # a fresh picture is grey, a fresh mask one half

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        skips: list[torch.Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x = self.neck(x)
        for enlarge, block, skip in zip(self.enlarge, self.decoder, _SKIPS, strict=True):
            x = block(torch.cat([skips[skip], enlarge(x)], 1))
        return self.last(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Warping(nn.Module):
    """The student's first half: where on the garment each pixel of the person looks."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.person, self.clothes = MobilePyramid(config), MobilePyramid(config)
        self.flow = CorrelationFlow(config)
        self.cloth_warp, self.edge_warp = Warp("border"), Warp("zeros")

    def flows(self, person: torch.Tensor, clothes: torch.Tensor) -> Flows:
        return self.flow(self.person(person), self.clothes(clothes))

    def forward(self, person: torch.Tensor, clothes: torch.Tensor, clothes_edge: torch.Tensor) -> Outputs:
        """The warped garment pasted onto the person as it is: what this half can show without a generator."""
        grid = self.flows(person, clothes).grid
        warped, edge = self.cloth_warp(clothes, grid), self.edge_warp(clothes_edge, grid)
        return Outputs(edge * warped + (1 - edge) * person, warped, grid)


class TryOn(nn.Module):
    """The student, in one graph: person, garment and its mask -> try-on, warped garment, grid."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.warping = Warping(config)
        self.generator = MobileUNet(config.generator, config.activation)

    def forward(self, person: torch.Tensor, clothes: torch.Tensor, clothes_edge: torch.Tensor) -> Outputs:
        return self.dressed(person, self.warping.clothes(clothes), clothes, clothes_edge)

    def dressed(
        self, person: torch.Tensor, maps: Sequence[torch.Tensor], clothes: torch.Tensor, edge: torch.Tensor
    ) -> Outputs:
        """``forward`` of a garment whose maps are known."""
        warping = self.warping
        grid = warping.flow(warping.person(person), maps).grid
        warped, warped_edge = warping.cloth_warp(clothes, grid), warping.edge_warp(edge, grid)
        return Outputs(self.render(person, warped, warped_edge).tryon, warped, grid)

    def render(self, person: torch.Tensor, warped: torch.Tensor, warped_edge: torch.Tensor) -> Rendering:
        return composed(self.generator(torch.cat([person, warped, warped_edge], 1)), warped, warped_edge)


class Garment(nn.Module):
    """The live mirror's first graph, run once per garment: (clothes, clothes_edge) -> its maps, and both as one."""

    def __init__(self, student: TryOn) -> None:
        super().__init__()
        self.pyramid = student.warping.clothes

    def forward(self, clothes: torch.Tensor, clothes_edge: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (*self.pyramid(clothes), torch.cat([clothes, clothes_edge], 1))


class Frame(nn.Module):
    """The live mirror's second graph, run per frame: (person, what ``Garment`` gave) -> as the student."""

    def __init__(self, student: TryOn) -> None:
        super().__init__()
        self.student = student

    def forward(self, person: torch.Tensor, *held: torch.Tensor) -> Outputs:
        *maps, garment = held
        return self.student.dressed(person, maps, garment[:, :3], garment[:, 3:])


def composed(raw: torch.Tensor, warped: torch.Tensor, warped_edge: torch.Tensor) -> Rendering:
    """A generator's (B, 4, H, W) as a picture: three channels through tanh, the mask through the logistic function."""
    raw = raw.float()
    rendered, mask = torch.tanh(raw[:, :3]), torch.sigmoid(raw[:, 3:]) * warped_edge
    return Rendering(mask * warped + (1 - mask) * rendered, rendered, mask)


def level_channels(config: StudentConfig) -> list[int]:
    """Channels of the pyramid's maps, coarsest first."""
    channels = [config.pyramid] * config.levels
    if config.levels == LEVELS:
        channels[-1] = config.finest or config.pyramid
    return channels


def _scaled(channels: int, width: float) -> int:
    return channels if width == 1 else round_channels(channels * width)


def _affine(convolution: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, c) weight and (C,) bias of a 1x1 convolution."""
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    return convolution.weight[:, :, 0, 0], convolution.bias
