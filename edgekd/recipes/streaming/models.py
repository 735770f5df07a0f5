"""The detector: DAMO-StreamNet (IJCAI 2023), which says where things will be in the next frame, and shaped students.

A frame is encoded once. What later frames need of it is a projection per level, which the caller carries; so the
module is one step of a stream. The same weights on several frames at once, as in training, give the same numbers.
"""

from __future__ import annotations

import torch
from torch import nn

from edgekd.recipes.streaming.backbone import Activation, CSPDarknet, Maps
from edgekd.recipes.streaming.config import DetectorConfig, StudentConfig
from edgekd.recipes.streaming.fusion import LongShortFusion, StillFusion
from edgekd.recipes.streaming.head import STRIDES, Decode, Head, Sizes
from edgekd.recipes.streaming.neck import DRFPN, PAFPN

ACTIVATIONS: dict[str, Activation] = {"silu": nn.SiLU, "relu": nn.ReLU, "hardswish": nn.Hardswish}
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.03  # YOLOX's


class Detector(nn.Module):
    """Backbone and neck (``encode``), and a head: what the still and the streaming detector share."""

    def __init__(self, config: DetectorConfig, classes: int) -> None:
        super().__init__()
        activation = ACTIVATIONS[config.activation]
        self.backbone = CSPDarknet(config.depth, config.width, config.stem, activation)
        channels = self.backbone.channels
        self.neck: nn.Module = (
            DRFPN(channels, config.neck_blocks, config.neck_ratio, config.neck_kind, activation)
            if config.neck == "drfpn"
            else PAFPN(channels, config.depth, activation)
        )
        self.fusion: nn.ModuleList
        self.head = Head(channels, int(256 * config.width), classes, activation)
        self.decode = Decode()

    def encode(self, image: torch.Tensor) -> Maps:
        """(B, 3, H, W) BGR 0..255, even sides -> maps (B, C, h, w) of strides 8, 16, 32."""
        maps: Maps = self.neck(self.backbone(image))
        return maps


class StillDetector(Detector):
    """Sees one frame and finds what is in it; a step of the stream without any state.

    Its fusion is that of a frame with itself. As a teacher it is shown the next frame, which the student forecasts.
    """

    def __init__(self, config: DetectorConfig, classes: int) -> None:
        super().__init__(config, classes)
        activation = ACTIVATIONS[config.activation]
        self.fusion = nn.ModuleList(StillFusion(c, activation) for c in self.backbone.channels)
        _settle_norms(self)

    def raw(self, image: torch.Tensor) -> tuple[torch.Tensor, Sizes]:
        """(B, A, 5 + classes) before decoding, and the sizes of the maps."""
        maps = [fuse(x) for fuse, x in zip(self.fusion, self.encode(image), strict=True)]
        return self.head(maps), sizes(maps)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> predictions (B, A, 5 + classes) of the same frame."""
        return self.decode(*self.raw(image))


class StreamDetector(Detector):
    """One step of the stream: a frame and the state that the frames before it left."""

    def __init__(self, config: StudentConfig, classes: int) -> None:
        super().__init__(config, classes)
        activation = ACTIVATIONS[config.activation]
        self.past = config.past
        self.fusion = nn.ModuleList(
            LongShortFusion(c, config.past, config.own_last, activation) for c in self.backbone.channels
        )
        _settle_norms(self)

    @property
    def levels(self) -> list[LongShortFusion]:
        return [fuse for fuse in self.fusion if isinstance(fuse, LongShortFusion)]

    def forward(
        self,
        image: torch.Tensor,
        past_8: torch.Tensor,
        past_16: torch.Tensor,
        past_32: torch.Tensor,
        started: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """One frame (1, 3, H, W); the state per level (1, carried, h, w); ``started`` (1): 0 in a sequence's first.

        In the first frame the past is this frame, repeated, whatever the state holds.

        Returns:
            predictions (1, A, 5 + classes) of the next frame, the next state per level, and 1.
        """
        maps, fused, carried = self.encode(image), [], []
        for fuse, x, state in zip(self.levels, maps, (past_8, past_16, past_32), strict=True):
            projected = fuse.projected(x)
            state = torch.where(started > 0, state, fuse.repeated(projected))
            fused.append(fuse(x, state))
            carried.append(fuse.shifted(projected, state))
        running = (started + 1).clamp(max=1)
        return self.decode(self.head(fused), sizes(maps)), *carried, running

    def raw(self, frames: torch.Tensor, past_gradient: bool = True) -> tuple[torch.Tensor, Sizes]:
        """(B, 1 + past, 3, H, W), newest first -> (B, A, 5 + classes) before decoding, and the sizes of the maps.

        Without ``past_gradient`` the encoder learns from the newest frame alone, at two fifths of the cost.
        """
        newest, older = frames[:, 0], frames[:, 1 : 1 + self.past]
        if past_gradient:
            together = [
                m.unflatten(0, (len(frames), -1)) for m in self.encode(frames[:, : 1 + self.past].flatten(0, 1))
            ]
            maps, past = [m[:, 0] for m in together], [m[:, 1:] for m in together]
        else:
            with torch.no_grad():
                past = [m.unflatten(0, older.shape[:2]) for m in self.encode(older.flatten(0, 1))]
            maps = list(self.encode(newest))
        fused = [fuse(x, fuse.state(p)) for fuse, x, p in zip(self.levels, maps, past, strict=True)]
        return self.head(fused), sizes(maps)


def sizes(maps: Maps | list[torch.Tensor]) -> Sizes:
    return [(int(m.shape[2]), int(m.shape[3])) for m in maps]


def map_sizes(height: int, width: int) -> Sizes:
    """(rows, columns) of the maps of a picture; every halving rounds up, but the first, whose sides are even."""
    return [(-(-height // stride), -(-width // stride)) for stride in STRIDES]


def _settle_norms(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps, layer.momentum = NORM_EPS, NORM_MOMENTUM
