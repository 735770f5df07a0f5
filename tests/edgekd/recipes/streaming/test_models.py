from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.nn.cost import macs
from edgekd.nn.deformable import DeformableConv
from edgekd.nn.folding import fold_batchnorm
from edgekd.nn.lowering import lower
from edgekd.nn.reparameterized import RepConv
from edgekd.recipes.streaming.config import StudentConfig, TeacherConfig
from edgekd.recipes.streaming.head import boxes
from edgekd.recipes.streaming.models import StillDetector, StreamDetector, map_sizes

CLASSES = 8
# depth, width, neck_ratio, own_last; millions of parameters in training and with RepConv folded; those of the folded
# backbone, neck, fusion, head; GMAC of the encoder and of the rest at 600x960 (papers/streaming A4).
PUBLISHED = {
    "S": ((0.33, 0.50, 0.75, False), (18.62, 18.24), (4.21, 11.82, 0.32, 1.89), (20.7, 7.8)),
    "M": ((0.67, 0.75, 1.00, False), (50.07, 48.93), (12.35, 31.61, 0.71, 4.25), (58.3, 17.6)),
    "L": ((1.00, 1.00, 1.00, True), (94.07, 92.04), (27.08, 55.91, 1.50, 7.55), (114.7, 31.3)),
}
TINY = {"depth": 0.33, "width": 0.125, "input_height": 40, "input_width": 72}


def published(name: str) -> StudentConfig:
    depth, width, ratio, own_last = PUBLISHED[name][0]
    return StudentConfig(depth=depth, width=width, neck_ratio=ratio, own_last=own_last)


def settled(network: nn.Module) -> nn.Module:
    """As after training: statistics, offsets and biases that are not at their start values."""
    generator = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.running_mean, -0.2, 0.2), (layer.running_var, 0.3, 0.8), (layer.weight, 0.8, 1.2),
                (layer.bias, -0.2, 0.2),
            ):  # fmt: skip
                tensor.data.uniform_(low, high, generator=generator)
        if isinstance(layer, DeformableConv):
            layer.offsets.weight.data.normal_(0, 0.02, generator=generator)
            layer.offsets.bias.data.uniform_(-0.4, 0.4, generator=generator)
    return network.eval()


def start(network: StreamDetector, height: int, width: int) -> list[torch.Tensor]:
    dtype = next(network.parameters()).dtype
    state = [
        torch.full((1, fuse.carried, h, w), torch.nan, dtype=dtype)
        for fuse, (h, w) in zip(network.fusion, map_sizes(height, width), strict=True)
    ]
    return [*state, torch.zeros(1, dtype=dtype)]


@pytest.fixture(scope="module")
def tiny() -> StreamDetector:
    torch.manual_seed(0)
    return settled(StreamDetector(StudentConfig(**TINY), CLASSES).double())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_papers_in_training_and_with_repconv_folded(name):
    _, (in_training, folded), parts, _ = PUBLISHED[name]
    with torch.device("meta"):
        network = StreamDetector(published(name), CLASSES)
    saved = {
        part: sum(
            sum(p.numel() for p in block.parameters()) - block.wide[0].weight.numel() - block.wide[0].out_channels
            for block in getattr(network, part).modules()
            if isinstance(block, RepConv)
        )
        for part in ("backbone", "neck", "fusion", "head")
    }
    count = {part: sum(p.numel() for p in getattr(network, part).parameters()) for part in saved}
    assert round(sum(count.values()) / 1e6, 2) == in_training
    assert round((sum(count.values()) - sum(saved.values())) / 1e6, 2) == folded
    assert [round((count[part] - saved[part]) / 1e6, 2) for part in count] == list(parts)


def test_folding_all_norms_saves_one_number_per_channel_more():
    network = StreamDetector(published("S"), CLASSES)
    folded = sum(p.numel() for p in fold_batchnorm(network).parameters())
    assert folded == 18_227_225  # what remains of 18.24 M: a BatchNorm's two numbers per channel become one bias


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiplications_are_the_papers_and_a_step_projects_its_own_frame_alone(name):
    _, _, _, (encoder, rest) = PUBLISHED[name]
    with torch.device("meta"):
        network = fold_batchnorm(StreamDetector(published(name), CLASSES))
        image = torch.zeros(1, 3, 600, 960)
        step = macs(network, image, *start(network, 600, 960))
        encode = macs(_Encoder(network), image)
        all_frames = macs(_AllFrames(network), image.expand(4, -1, -1, -1)[None])
    once_more = sum(  # the projections of t-1 and t-2, which the published network computes again for every frame
        c * h * w * network.fusion[level].long[0][0].out_channels * (1 if name == "L" else 2)
        for level, (c, (h, w)) in enumerate(zip(network.backbone.channels, map_sizes(600, 960), strict=True))
    )
    assert encode / 1e9 == pytest.approx(encoder, abs=0.06)
    assert (step - encode + once_more) / 1e9 == pytest.approx(rest, abs=0.06)
    assert step < all_frames / 3


class _AllFrames(nn.Module):
    def __init__(self, network: StreamDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.network.raw(frames)[0]


class _Encoder(nn.Module):
    def __init__(self, network: StreamDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network.encode(image)


@pytest.mark.parametrize(("past", "own_last"), [(3, False), (3, True), (2, True), (1, False)])
def test_frame_by_frame_with_state_equals_the_network_on_all_frames(past, own_last):
    torch.manual_seed(0)
    config = StudentConfig(**TINY, past=past, own_last=own_last)
    network = settled(StreamDetector(config, CLASSES).double())
    with torch.no_grad():
        for length in (1, 2, 6):  # three sequences, each begins with no state
            frames = 255 * torch.rand(length, 3, 40, 72, dtype=torch.float64)
            state = start(network, 40, 72)
            for now in range(length):
                window = torch.stack([frames[max(now - back, 0)] for back in range(1 + past)])
                raw, sizes = network.raw(window[None])
                got, *state = network(frames[now : now + 1], *state)
                assert torch.allclose(got[..., :4], boxes(raw, sizes), rtol=0, atol=1e-9)
                assert torch.allclose(got[..., 4:], raw[..., 4:].sigmoid(), rtol=0, atol=1e-12)
                assert state[-1].item() == 1


def test_the_past_matters(tiny):
    torch.manual_seed(0)
    frames = 255 * torch.rand(1, 4, 3, 40, 72, dtype=torch.float64)
    others = frames.clone()
    others[:, 3] = frames[:, 0]
    with torch.no_grad():
        assert (tiny.raw(frames)[0] - tiny.raw(others)[0]).abs().max() > 1e-5


def test_without_gradients_of_the_past_the_numbers_are_the_same_and_the_long_path_still_learns(tiny):
    frames = 255 * torch.rand(2, 4, 3, 40, 72, dtype=torch.float64)
    raw, _ = tiny.raw(frames, past_gradient=False)
    assert torch.allclose(raw, tiny.raw(frames)[0], rtol=0, atol=1e-9)
    raw.sum().backward()
    assert all(float(fuse.long[0][0].weight.grad.abs().max()) > 0 for fuse in tiny.fusion)
    tiny.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"activation": "relu", "neck_kind": "plain", "stem": "conv"},
        {"activation": "hardswish", "neck": "pafpn"},
    ],
)
def test_a_folded_student_of_any_shape_computes_the_same(shape):
    torch.manual_seed(0)
    network = settled(StreamDetector(StudentConfig(**TINY, **shape), CLASSES))
    folded = fold_batchnorm(network)
    image, state = torch.rand(1, 3, 40, 72), start(network, 40, 72)
    with torch.no_grad():
        want, got = network(image, *state)[0], folded(image, *state)[0]
    assert not any(isinstance(m, (nn.BatchNorm2d, RepConv)) for m in folded.modules())
    assert ((want - got).abs() / want.abs().clamp(min=1)).max() < 1e-5


def test_every_lowering_of_the_network_gives_the_same(tiny):
    image, state = 255 * torch.rand(1, 3, 40, 72, dtype=torch.float64), start(tiny, 40, 72)
    with torch.no_grad():
        want = tiny(image, *state)
        got = lower(tiny, {"deform": "native", "focus": "space_to_depth"})(image, *state)
    for a, b in zip(want, got, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9)


def test_a_frame_of_600_rows_has_maps_of_75_38_and_19():
    assert map_sizes(600, 960) == [(75, 120), (38, 60), (19, 30)]


def test_boxes_are_offsets_from_their_place_and_logarithms_of_sizes_in_strides():
    raw = torch.zeros(1, 3, 13)
    raw[0, 1, :4] = torch.tensor([0.5, -0.25, 1.0, 0.0])
    got = boxes(raw, [(1, 1), (1, 1), (1, 1)])  # places of strides 8, 16, 32
    assert got[0, 1].tolist() == pytest.approx([8, -4, 16 * 2.718281828, 16])
    big = torch.full((1, 3, 13), 11.5, dtype=torch.float16)  # exp of it times a stride is beyond fp16
    assert boxes(big, [(1, 1), (1, 1), (1, 1)]).isfinite().all()


def test_the_still_teacher_has_streamyolos_size():
    with torch.device("meta"):
        teacher = StillDetector(TeacherConfig(), CLASSES)
    backbone = sum(p.numel() for p in teacher.backbone.parameters())
    assert round(backbone / 1e6, 2) == 27.08
    assert sum(p.numel() for p in teacher.parameters()) == 54_843_303  # our own count: nobody prints it
