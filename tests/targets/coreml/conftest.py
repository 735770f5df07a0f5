"""A small student that has what quantizers and placements must tell apart, as a source of the Core ML builder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.contracts import Built, ImageSpec, IoSpec, Precision, Source, TensorSpec
from edgekd.storage import sha256_arrays


class Small(nn.Module):
    """A convolution, a depthwise one, a residual, a pool and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 144, 1)
        self.depth, self.back = nn.Conv2d(144, 144, 3, 1, 1, groups=144), nn.Conv2d(144, 16, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu6(self.first(image))
        x = x + self.back(F.relu6(self.depth(F.relu6(self.wide(x)))))
        return self.head(x.mean((2, 3)))


class Samples:
    """Calibration feeds."""

    def __init__(self, feeds: list[dict[str, Any]]) -> None:
        self.feeds = feeds
        self.sha256 = sha256_arrays({f"{i}/{k}": v for i, feed in enumerate(feeds) for k, v in feed.items()})

    def __len__(self) -> int:
        return len(self.feeds)

    def __iter__(self) -> Any:
        return iter(self.feeds)


@pytest.fixture(scope="session")
def small() -> Source:
    torch.manual_seed(0)
    picture = TensorSpec(name="image", shape=(1, 3, 32, 32), layout="NCHW", range=(0, 1), image=ImageSpec())
    io = IoSpec(inputs=(picture,), outputs=(TensorSpec(name="said", shape=(1, 10)),))
    return Source(Path("none.onnx"), io, Small().eval().requires_grad_(False))


@pytest.fixture(scope="session")
def calibration() -> Samples:
    """Pictures of 8 bits, of different brightness."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (1, 3, 32, 32)) * rng.uniform(0.3, 1) // 1 / 255 for _ in range(8)]
    return Samples([{"image": picture.astype(np.float32)} for picture in pictures])


@pytest.fixture(scope="session")
def built(small: Source, calibration: Samples, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Built]:
    """``built(precision, profile="iphone")``, made once."""
    from edgekd.registry import builder, profile

    made: dict[tuple[str, str], Built] = {}

    def build(precision: str, name: str = "iphone") -> Built:
        if (precision, name) not in made:
            out = tmp_path_factory.mktemp(f"{name}-{precision}")
            chosen = profile(f"coreml/{name}")
            made[precision, name] = builder("coreml").build(small, chosen, Precision(precision), calibration, out)
        return made[precision, name]

    return build
