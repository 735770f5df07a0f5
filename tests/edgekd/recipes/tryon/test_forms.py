"""The student's fast forms are the student: equal in fp64, whatever its width and levels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd import registry
from edgekd.nn.lowering import Lowerable, known_ops, lower
from edgekd.recipes.tryon.config import StudentConfig
from edgekd.recipes.tryon.models import MobilePyramid, TryOn

FAST = {op: known_ops()[op][-1] for op in ("correlation", "warp", "pyramid", "joined_convolution")}
SMALL = {"width": 0.5, "pyramid": 32, "head": 16, "generator": 0.5}
VARIANTS = (
    {}, {"levels": 4}, {"levels": 3}, {"finest": 16}, {"separable": "finest"}, {"separable": "all"},
    {"finest": 16, "separable": "finest"},
)  # fmt: skip


def woken(**values) -> TryOn:
    """Fresh weights move nothing by a pixel and leave residual branches at zero."""
    torch.manual_seed(0)
    student = TryOn(StudentConfig(**SMALL, **values)).double().eval()
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.uniform_(-0.1, 0.1)
        for head in (*student.warping.flow.main, *student.warping.flow.refine):
            head.last.weight.normal_(std=1)
    return student


@pytest.fixture(scope="module")
def feeds():
    generator = torch.Generator().manual_seed(1)
    person, clothes, edge = (torch.rand(1, c, 64, 96, generator=generator).double() for c in (3, 3, 1))
    return person * 2 - 1, clothes * 2 - 1, (edge > 0.3).double()


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_the_lowered_student_is_the_student(values, feeds):
    student = woken(**values)
    with torch.inference_mode():
        assert student.warping.flows(*feeds[:2]).offsets[-1].abs().max() > 0.2
        for plain, fast in zip(student(*feeds), lower(student, FAST)(*feeds), strict=True):
            torch.testing.assert_close(fast, plain, atol=1e-9, rtol=0)


def test_a_pyramid_whose_convolution_is_separable_keeps_its_plain_form():
    pyramid = lower(woken(separable="all"), FAST).warping.person
    assert isinstance(pyramid, MobilePyramid)
    assert len(pyramid.ahead) == 0


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_the_default_profile_differs_from_the_plain_one_by_lowerings_that_the_student_has(target):
    default, plain = registry.profile(target), registry.profile(f"{target}/plain")
    ops = {block.op for block in woken().modules() if isinstance(block, Lowerable)}
    assert not plain.lowerings
    assert set(default.lowerings) >= ops
    assert all(form != known_ops()[op][0] for op, form in default.lowerings.items())
