"""What the students are made of beyond plain layers, on the two targets that build for a device elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.bundle.distance import distance
from edgekd.bundle.session import carried
from edgekd.contracts import IoSpec, Precision, Source, TensorSpec
from edgekd.conversion.to_onnx import export_onnx
from edgekd.nn.correlation import Correlation
from edgekd.nn.deformable import DeformableConv
from edgekd.nn.warping import Warp
from edgekd.recipes.streaming.neck import enlarged
from edgekd.registry import builder, profile

HEIGHT, WIDTH = 9, 13  # maps of which none is twice the next
CASES = [
    ("tensorrt/rtx", "fp32"), ("tensorrt/rtx", "fp16"), ("tensorrt/rtx", "mixed"), ("tensorrt/rtx-turing", "fp16"),
    ("coreml/iphone", "fp32"), ("coreml/iphone", "fp16"), ("coreml/iphone", "int8"),
]  # fmt: skip
LEAST_DB = {"fp32": 80, "fp16": 45, "mixed": 18, "int8": 18}


class Around(nn.Module):
    """A convolution, the operation, a convolution: what stands between two layers that multiply."""

    def __init__(self, operation: nn.Module, given: int = 8) -> None:
        super().__init__()
        self.first, self.operation, self.last = nn.Conv2d(3, 8, 3, padding=1), operation, nn.Conv2d(given, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.operation(self.first(x)))


class Sampled(nn.Module):
    """GridSample at places that lie around every pixel, some of them outside of the map."""

    def __init__(self, padding: str, align: bool) -> None:
        super().__init__()
        self.padding, self.align, self.move = padding, align, nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, HEIGHT), torch.linspace(-1, 1, WIDTH), indexing="ij")
        grid = torch.stack([xs, ys], -1)[None] + 0.4 * torch.tanh(self.move(x)).permute(0, 2, 3, 1)
        return F.grid_sample(x, grid, padding_mode=self.padding, align_corners=self.align)


class Correlated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.correlation = Correlation(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.correlation(x, x.flip(1))


class Warped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.warp, self.move = Warp(), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.warp(x, torch.tanh(self.move(x)))


class Enlarged(nn.Module):
    """Down by strided convolutions, and up again to sizes that are no multiples: 3x4 -> 5x7 -> 9x13."""

    def __init__(self) -> None:
        super().__init__()
        self.halved, self.quartered = (nn.Conv2d(8, 8, 3, 2, 1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = self.halved(x)
        return enlarged(enlarged(self.quartered(half), half), x)


OPERATIONS: dict[str, Any] = {
    "grid_sample border aligned": lambda: Around(Sampled("border", True)),
    "grid_sample zeros": lambda: Around(Sampled("zeros", False)),
    "deformable convolution": lambda: Around(awake(DeformableConv(8, 8))),
    "correlation": lambda: Around(Correlated(), given=9),
    "warp": lambda: Around(Warped()),
    "nearest to explicit sizes": lambda: Around(Enlarged()),
    "hard-swish": lambda: Around(nn.Hardswish()),
    "silu": lambda: Around(nn.SiLU()),
}


def awake(layer: DeformableConv) -> DeformableConv:
    """A fresh one has offsets of zero."""
    nn.init.normal_(layer.offsets.weight, std=0.2)
    return layer


class Samples(list[dict[str, Any]]):
    sha256 = ""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """``source(name)``: the operation as a builder gets it, with the calibration samples."""
    made: dict[str, tuple[Source, Samples]] = {}

    def make(name):
        if name not in made:
            torch.manual_seed(1)
            module = OPERATIONS[name]().eval().requires_grad_(False)
            io = IoSpec(
                inputs=(TensorSpec(name="x", shape=(1, 3, HEIGHT, WIDTH)),),
                outputs=(TensorSpec(name="y", shape=(1, 4, HEIGHT, WIDTH)),),
            )
            path = tmp_path_factory.mktemp("source") / "canonical.onnx"
            export_onnx(module, io, path)
            feeds = [{"x": torch.randn(1, 3, HEIGHT, WIDTH).numpy()} for _ in range(4)]
            made[name] = Source(path, io, module), Samples(feeds)
        return made[name]

    return make


def _build(source, calibration, target, precision, out):
    name = target.partition("/")[0]
    pytest.importorskip({"tensorrt": "tensorrt_rtx", "coreml": "coremltools"}[name])
    make = builder(name)
    built = make.build(source, profile(target), Precision(precision), calibration, out)
    return built, make.reference(built, source.io)


@pytest.mark.parametrize(("target", "precision"), CASES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_it_is_built_and_says_what_torch_says(name, target, precision, source, tmp_path):
    made, samples = source(name)
    built, session = _build(made, samples, target, precision, tmp_path)
    assert built.engine is None or built.engine.version
    with torch.no_grad():
        wanted = np.stack([made.module(torch.from_numpy(feed["x"])).numpy() for feed in samples])
    found = distance(np.stack([session.run(feed)["y"] for feed in samples]), wanted).sqnr_db
    assert found is None or found > LEAST_DB[precision]


class Remembering(nn.Module):
    """A map that is mixed with the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(6, 3, 1)

    def forward(self, x: torch.Tensor, past: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        now = torch.tanh(self.mix(torch.cat([x, past], 1)))
        return now * 2, now


@pytest.mark.parametrize(("target", "precision"), [case for case in CASES if "turing" not in case[0]])
def test_state_is_carried_from_call_to_call(target, precision, tmp_path):
    torch.manual_seed(0)
    module, shape = Remembering().eval().requires_grad_(False), (1, 3, HEIGHT, WIDTH)
    io = IoSpec(
        inputs=(TensorSpec(name="x", shape=shape), TensorSpec(name="past", shape=shape)),
        outputs=(TensorSpec(name="y", shape=shape), TensorSpec(name="now", shape=shape)),
        state={"now": "past"},
    )
    export_onnx(module, io, tmp_path / "canonical.onnx")
    frames = [torch.randn(shape) for _ in range(4)]
    said, past, feeds = [], torch.zeros(shape), Samples()
    for frame in frames:
        feeds.append({"x": frame.numpy(), "past": past.numpy()})
        y, past = module(frame, past)
        said.append(y.numpy())
    _, session = _build(Source(tmp_path / "canonical.onnx", io, module), feeds, target, precision, tmp_path)
    session = carried(session)
    found = np.stack([session.run({"x": frame.numpy()})["y"] for frame in frames])
    sqnr = distance(found, np.stack(said)).sqnr_db
    assert sqnr is None or sqnr > LEAST_DB[precision]
    session.reset()
    np.testing.assert_array_equal(session.run({"x": frames[0].numpy()})["y"], found[0])
