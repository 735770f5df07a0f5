import pytest
import torch
from torch import nn

from edgekd.nn.cost import macs
from edgekd.nn.inverted_residual import InvertedResidual
from edgekd.recipes.tryon.config import StudentConfig
from edgekd.recipes.tryon.flow import sampling_grid
from edgekd.recipes.tryon.models import Frame, Garment, MobilePyramid, TryOn, Warping, composed
from edgekd.recipes.tryon.teacher import ModulatedConv, Teacher

SIZE = (64, 64)
TINY = {"width": 0.25, "generator": 0.25, "pyramid": 16, "head": 8}


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def pictures(size=SIZE, batch=1):
    generator = torch.Generator().manual_seed(0)
    person, clothes = (torch.rand(batch, 3, *size, generator=generator) * 2 - 1 for _ in range(2))
    edge = (torch.rand(batch, 1, *size, generator=generator) > 0.3).float()
    return person, clothes * edge, edge


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return TryOn(StudentConfig()).eval()


def test_the_default_student_has_the_papers_parameters_part_by_part(student):
    warping = student.warping
    parts = (warping.person, warping.clothes, warping.flow.main, warping.flow.refine, student.generator)
    # Counted in the authors' modules (papers/tryon.md, B3).
    assert [parameters(part) for part in parts] == [1_504_704, 1_504_704, 747_050, 3_413_930, 2_179_736]
    assert parameters(student) == 9_350_124
    assert sum(t.numel() * t.element_size() for t in (*student.parameters(), *student.buffers())) == 37_570_848


def test_one_convolution_smooths_all_levels_of_a_pyramid(student):
    wide = [layer for layer in student.warping.person.modules() if isinstance(layer, nn.Conv2d)]
    assert sum(layer.weight.shape == (256, 256, 3, 3) for layer in wide) == 1


def test_the_default_student_takes_the_papers_macs(student):
    assert macs(student, *pictures((256, 192))) == pytest.approx(34.5e9, rel=0.002)


def test_the_teacher_has_the_papers_parameters():
    with torch.device("meta"):
        teacher = Teacher(1.0, (256, 192))
    assert round(parameters(teacher.warping) / 1e6, 2) == 33.31
    assert round(parameters(teacher.generator) / 1e6, 2) == 43.90


# Multiplications as a share of the default student's, rounded up: what each setting is for.
@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({"levels": 4}, 0.29),
        ({"levels": 3}, 0.11),
        ({"finest": 64}, 0.46),
        ({"finest": 64, "finest_head": 64}, 0.37),
        ({"pyramid": 128}, 0.45),
        ({"separable": "finest"}, 0.39),
        ({"separable": "all"}, 0.18),
        ({"head": 64, "pyramid": 64, "width": 0.5}, 0.14),
    ],
)
def test_settings_of_a_smaller_student_cut_its_multiplications(student, settings, share):
    example = pictures()
    found = macs(TryOn(StudentConfig(**settings)), *example) / macs(student, *example)
    assert share - 0.03 < found < share


@pytest.mark.parametrize(
    "settings",
    [{}, {"levels": 4}, {"levels": 3}, {"finest": 8, "finest_head": 4}, {"separable": "finest"}, {"separable": "all"}],
)
@pytest.mark.parametrize("activation", ["relu6", "hardswish"])
def test_every_student_gives_a_picture_a_garment_and_a_grid_of_the_pictures_size(settings, activation):
    outputs = TryOn(StudentConfig(**TINY, **settings, activation=activation)).eval()(*pictures())
    assert [tuple(value.shape) for value in outputs] == [(1, 3, 64, 64), (1, 3, 64, 64), (1, 2, 64, 64)]
    assert all(bool(value.isfinite().all()) for value in outputs)


def test_the_activation_is_the_one_that_was_asked_for():
    pyramid = MobilePyramid(StudentConfig(**TINY, activation="hardswish"))
    kinds = {
        type(layer) for block in pyramid.modules() if isinstance(block, InvertedResidual) for layer in block.layers[0]
    }
    assert nn.Hardswish in kinds
    assert nn.ReLU6 not in kinds


def test_no_offset_is_the_identity():
    """Looking where nothing moved gives the picture back, whatever its size."""
    x = torch.rand(2, 3, 6, 9, dtype=torch.float64)
    warping = Warping(StudentConfig(**TINY))
    grid = sampling_grid(torch.zeros(2, 2, 6, 9, dtype=torch.float64))
    for warp in (warping.cloth_warp, warping.edge_warp, warping.flow.warp):
        torch.testing.assert_close(warp(x, grid), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(warping.flow.warp(grid, grid), grid, rtol=0, atol=1e-12)


def test_an_offset_of_a_pixel_moves_by_a_pixel():
    x = torch.rand(1, 1, 5, 7, dtype=torch.float64)
    offset = torch.zeros(1, 2, 5, 7, dtype=torch.float64)
    offset[:, 0] = 1  # look one to the right
    moved = Warping(StudentConfig(**TINY)).cloth_warp(x, sampling_grid(offset))
    torch.testing.assert_close(moved[..., :-1], x[..., 1:], rtol=0, atol=1e-12)


def test_a_network_that_finds_nothing_to_move_gives_the_garment_back():
    warping = Warping(StudentConfig(**TINY)).eval()
    for head in (*warping.flow.main, *warping.flow.refine):
        nn.init.zeros_(head.last.weight)
    flows = warping.flows(*pictures()[:2])
    assert all(bool((offset == 0).all()) for offset in flows.offsets)
    identity = sampling_grid(torch.zeros(1, 2, 2, 2))
    for level, grid in enumerate(flows.grids):
        identity = warping.flow.move(torch.zeros_like(grid), warping.flow.enlarge(identity))
        torch.testing.assert_close(grid, identity, rtol=0, atol=1e-5, msg=f"level {level}")


def test_the_tryon_is_mask_times_garment_plus_the_rest_times_the_render():
    raw, warped, edge = torch.randn(1, 4, 5, 5), torch.randn(1, 3, 5, 5), torch.rand(1, 1, 5, 5)
    found = composed(raw, warped, edge)
    mask = torch.sigmoid(raw[:, 3:]) * edge
    torch.testing.assert_close(found.tryon, mask * warped + (1 - mask) * torch.tanh(raw[:, :3]))
    assert bool((composed(raw, warped, torch.zeros_like(edge)).tryon == torch.tanh(raw[:, :3])).all())


def test_the_live_mirrors_two_graphs_give_the_students_own_bits():
    student = TryOn(StudentConfig(**TINY)).eval()
    person, clothes, edge = pictures()
    with torch.inference_mode():
        whole = student(person, clothes, edge)
        split = Frame(student)(person, *Garment(student)(clothes, edge))
    assert all(torch.equal(a, b) for a, b in zip(whole, split, strict=True))


def test_the_grid_stays_float32_under_bf16():
    student = TryOn(StudentConfig(**TINY)).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        flows = student.warping.flows(*pictures()[:2])
    assert {value.dtype for value in (*flows.grids, *flows.offsets)} == {torch.float32}


def test_a_modulated_convolution_is_the_one_with_scaled_and_normalised_weights():
    """Against the definition of StyleGAN2: a convolution of each sample's own weights."""
    torch.manual_seed(0)
    layer = ModulatedConv(5, 4, 3).double()
    x, style = torch.randn(2, 5, 6, 6, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    found = layer(x, style)
    for own, vector, got in zip(x, style, found, strict=True):
        scales = (2 / 3) ** 0.5 * layer.to_scales.weight @ vector + layer.to_scales.bias
        weight = layer.weight * (2 / 45) ** 0.5 * scales[None, :, None, None]
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-5)
        wanted = torch.nn.functional.conv2d(own[None], weight, padding=1)[0] + layer.bias[:, None, None]
        torch.testing.assert_close(got, wanted)
