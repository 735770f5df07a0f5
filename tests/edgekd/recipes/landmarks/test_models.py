from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.errors import InputError
from edgekd.nn.cost import macs, weight_count
from edgekd.recipes.landmarks.models import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LandmarkRegressor,
    efficientnet,
    load_trunk,
    mobilenet_v2,
)


@pytest.fixture(autouse=True)
def _seeded_on_one_thread() -> Iterator[None]:
    """Threads of such small tensors wait for each other longer than they work, the more so on busy cores."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("points", "count"), [(68, 2_432_200), (98, 2_509_060), (29, 2_332_282)])
def test_student_is_exactly_the_papers_size(points: int, count: int) -> None:
    assert weight_count(mobilenet_v2(points)) == count  # papers/landmarks A6, Keras' count


@pytest.mark.parametrize(("points", "count"), [(68, 10_992_560), (98, 11_084_780), (29, 10_872_674)])
def test_teacher_is_exactly_the_papers_size(points: int, count: int) -> None:
    assert weight_count(efficientnet(points)) == count  # papers/landmarks A6


@pytest.mark.parametrize(("build", "giga"), [(mobilenet_v2, 0.300), (efficientnet, 0.961)])
def test_multiply_accumulates_at_224_are_the_papers(build, giga: float) -> None:
    assert macs(build(68), torch.zeros(1, 3, 224, 224)) == pytest.approx(giga * 1e9, rel=0.01)


@pytest.mark.parametrize(("width", "features"), [(0.35, 1280), (0.5, 1280), (1.0, 1280), (1.4, 1792)])
def test_features_grow_and_never_shrink_with_the_width(width: float, features: int) -> None:
    assert mobilenet_v2(68, width).head.in_features == features


@pytest.mark.parametrize("size", [32, 64, 96])
@pytest.mark.parametrize("build", [lambda: mobilenet_v2(29, 0.5), lambda: efficientnet(29, width=0.35, depth=0.4)])
def test_output_is_two_numbers_a_point_at_any_input_size(build, size: int) -> None:
    y = build().eval()(torch.rand(2, 3, size, size))
    assert y.shape == (2, 58)
    assert y.dtype == torch.float32


@pytest.mark.parametrize("build", [mobilenet_v2, efficientnet])
def test_fresh_network_starts_near_zero_and_depends_on_its_input(build) -> None:
    y = build(68)(torch.rand(4, 3, 32, 32))
    assert y.abs().max() < 0.2
    assert y.std(0).mean() > 1e-4


def test_fresh_student_learns_within_twenty_steps_where_a_bright_square_is() -> None:
    student = mobilenet_v2(1, width=0.35)
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    corners = torch.randint(0, 48, (8, 2))
    images = torch.rand(8, 3, 64, 64) * 0.2
    for image, (x, y) in zip(images, corners.tolist(), strict=True):
        image[:, y : y + 16, x : x + 16] += 0.7
    truth = (corners + 8) / 64 - 0.5
    losses = []
    for _ in range(20):
        loss = (student(images) - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(truth.square().mean().item(), rel=0.2)  # it starts by saying 0
    assert losses[-1] < 0.1 * losses[0]


def test_dropout_and_stochastic_depth_act_in_training_alone() -> None:
    x = torch.rand(2, 3, 32, 32)
    for kwargs in ({"dropout": 0.5}, {"dropout": 0.0, "stochastic_depth": 0.5}):
        teacher = efficientnet(29, width=0.35, depth=1.0, **kwargs)
        for layer in teacher.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
                nn.init.ones_(layer.weight)
        assert not torch.equal(teacher(x), teacher(x))
        teacher.eval()
        assert torch.equal(teacher(x), teacher(x))


def test_stochastic_depth_grows_with_the_depth() -> None:
    rates = [m.rate for m in efficientnet(29, stochastic_depth=0.2).modules() if hasattr(m, "rate")]
    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1] < 0.2
    assert not any(hasattr(m, "rate") for m in efficientnet(29).modules())


def test_head_keeps_full_precision_under_bf16_autocast() -> None:
    student = mobilenet_v2(68, 0.35).eval()
    nn.init.normal_(student.head.weight, std=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        y = student(torch.rand(2, 3, 32, 32))
    assert y.dtype == torch.float32
    assert not torch.equal(y, y.bfloat16().float())


def trunk_file(path: Path, width: float = 1.0) -> LandmarkRegressor:
    """Writes a classifier's state dict in torchvision's order, and returns the network it was taken from."""
    torch.manual_seed(5)
    source = mobilenet_v2(29, width).train()
    with torch.no_grad():
        source(torch.randn(8, 3, 64, 64))  # statistics of normalised pictures
    tensors = OrderedDict(
        (f"features.{index}", tensor) for index, tensor in enumerate(source.trunk.state_dict().values())
    )
    tensors["classifier.1.weight"], tensors["classifier.1.bias"] = torch.rand(7, 1280), torch.rand(7)
    torch.save(tensors, path)
    return source.eval()


def features(model: LandmarkRegressor, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.trunk.eval()(x)


def test_trunk_on_plain_pictures_computes_what_it_did_on_normalised_ones(tmp_path: Path) -> None:
    source = trunk_file(tmp_path / "trunk.pt")
    student = mobilenet_v2(68)
    head = student.head.weight.clone()
    provenance = load_trunk(student, tmp_path / "trunk.pt")
    assert torch.equal(student.head.weight, head)
    assert provenance["tensors"] == 260  # 52 convolutions with BatchNorm: 52 * 5, without their batch counters
    assert "folded" in provenance["normalization"]

    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        want, got = source.trunk[0]((x - mean) / std), student.eval().trunk[0](x)
    assert torch.allclose(want[..., 1:, 1:], got[..., 1:, 1:], atol=1e-5)
    assert want.std() > 0.1


def test_trunk_that_saw_plain_pictures_is_loaded_as_it_is(tmp_path: Path) -> None:
    source = trunk_file(tmp_path / "trunk.pt")
    student = mobilenet_v2(68)
    provenance = load_trunk(student, tmp_path / "trunk.pt", imagenet_normalized=False)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(features(student, x), features(source, x))
    assert provenance["normalization"] == "none"


def test_trunk_of_another_width_is_refused(tmp_path: Path) -> None:
    trunk_file(tmp_path / "half.pt", width=0.5)
    with pytest.raises(InputError, match="does not fit"):
        load_trunk(mobilenet_v2(68), tmp_path / "half.pt")


def test_student_exports_to_onnx_as_convolutions_clips_and_one_gemm(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    from edgekd.nn.folding import fold_batchnorm

    student = mobilenet_v2(68, 0.35)
    with torch.no_grad():
        for layer in student.modules():  # a bias of zero would be left out of the graph
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.weight.fill_(0.9)
        student.head.bias.uniform_(-0.1, 0.1)
    student = fold_batchnorm(student)
    x = torch.rand(1, 3, 64, 64)
    path = tmp_path / "student.onnx"
    torch.onnx.export(
        student,
        (x,),
        path,
        input_names=["image"],
        output_names=["landmarks"],
        opset_version=20,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    graph = onnx.load(path).graph
    assert [i.name for i in graph.input] == ["image"]
    assert [o.name for o in graph.output] == ["landmarks"]
    ops = Counter(node.op_type for node in graph.node)
    assert ops == {"Conv": 52, "Clip": 35, "Add": 10, "ReduceMean": 1, "Gemm": 1}
    assert all(len(node.input) == 3 for node in graph.node if node.op_type in ("Conv", "Gemm"))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (got,) = session.run(["landmarks"], {"image": x.numpy()})
    assert abs(got - student(x).detach().numpy()).max() < 1e-5
