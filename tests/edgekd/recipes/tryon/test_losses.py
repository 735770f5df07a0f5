import pytest
import torch
from torch.nn import functional as F

from edgekd.errors import InputError
from edgekd.nn.vgg import VGG19, Vgg
from edgekd.recipes.tryon.flow import Flows, sampling_grid
from edgekd.recipes.tryon.losses import (
    EPSILON,
    better_teacher,
    curvature,
    distillation_terms,
    rendering_terms,
    total_variation,
    true_warp_term,
    warp_terms,
)
from edgekd.recipes.tryon.models import Rendering
from edgekd.recipes.tryon.perceptual import PerceptualDistance, load_vgg19

SIZES = [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)]
FLAT = 2 * (EPSILON**2) ** 0.45  # of a flow without any curvature


def identity_flows(channels=4, batch=2, shift=0.0):
    grids = [sampling_grid(torch.full((batch, 2, *size), 0.0)) + shift for size in SIZES]
    maps = [torch.zeros(batch, channels, size[0] // 2, size[1] // 2) for size in SIZES]
    return Flows(maps, maps, grids, [torch.zeros(batch, 2, 2, 2)] * 10)


def warp(x, grid):
    return F.grid_sample(x, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=True)


def l1(a, b):
    return F.l1_loss(a, b)


def test_a_perfect_warp_costs_nothing_but_the_floor_of_the_curvature():
    clothes, edge = torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64)
    terms = warp_terms(identity_flows(), clothes, edge, clothes, edge, l1, (warp, warp))
    assert terms["curvature"] == pytest.approx(6 * 15 * FLAT, rel=1e-2)
    assert {name for name, value in terms.items() if value > 1e-5} == {"curvature"}


def test_levels_weigh_more_the_finer_they_are_and_each_term_as_published():
    clothes, edge = torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    terms = warp_terms(identity_flows(), clothes, edge, clothes + 0.5, edge + 0.25, l1, (warp, warp))
    assert float(terms["l1"]) == pytest.approx(15 * 0.5)  # 1 + 2 + 3 + 4 + 5 levels
    assert float(terms["perceptual"]) == pytest.approx(15 * 0.2 * 0.5)
    assert float(terms["edge"]) == pytest.approx(15 * 2 * 0.25)


def test_the_true_warp_is_0_away_from_itself_and_counts_only_what_is_seen():
    flows = identity_flows(batch=1)
    truth, seen = sampling_grid(torch.zeros(1, 2, 64, 64)), torch.ones(1, 1, 64, 64)
    assert float(true_warp_term(identity_flows(batch=1, shift=0.3), truth, seen)) == pytest.approx(
        15 * 0.3 * 2**0.5, rel=0.1
    )  # the coarse identities are off by up to half of their pixels
    elsewhere = truth.clone()
    elsewhere[..., 32:] = 5.0
    seen[..., 32:] = 0
    assert float(true_warp_term(flows, elsewhere, seen)) == pytest.approx(
        float(true_warp_term(flows, truth, seen)), rel=0.05
    )
    assert float(true_warp_term(flows, truth, 0 * seen)) == 0


def test_a_garment_may_be_moved_turned_scaled_and_sheared_for_nothing():
    grid = sampling_grid(torch.zeros(1, 2, 16, 12, dtype=torch.float64))
    affine = torch.tensor([[0.7, 0.3], [-0.4, 1.2]], dtype=torch.float64)
    moved = torch.einsum("ij,bjhw->bihw", affine, grid) + 0.3
    assert float(curvature(moved)) == pytest.approx(FLAT)
    assert float(curvature(moved + 0.1 * moved.square())) > 2 * FLAT


def test_curvature_is_the_mean_over_four_second_differences_of_x_and_of_y():
    grid = torch.randn(1, 2, 6, 5, dtype=torch.float64)
    kernels = torch.zeros(4, 1, 3, 3, dtype=torch.float64)
    kernels[:, 0, 1, 1] = -2
    for kernel, ends in zip(
        kernels, [((1, 0), (1, 2)), ((0, 1), (2, 1)), ((0, 0), (2, 2)), ((0, 2), (2, 0))], strict=True
    ):
        for row, column in ends:
            kernel[0, row, column] = 1
    wanted = sum((F.conv2d(grid[:, k : k + 1], kernels) ** 2 + EPSILON**2).pow(0.45).mean() for k in (0, 1))
    torch.testing.assert_close(curvature(grid), wanted)


def test_total_variation_adds_the_mean_steps_down_and_across():
    ramp = torch.arange(12.0).view(1, 1, 3, 4)
    assert float(total_variation(ramp)) == 4 + 1


def test_a_teacher_that_does_worse_on_a_sample_teaches_nothing_there():
    truth = torch.zeros(3, 3, 4, 4)
    teacher, student = truth + torch.tensor([0.1, 0.3, 0.2])[:, None, None, None], truth + 0.2
    factor = better_teacher(teacher, student, truth)
    assert factor.tolist() == [1, 0, 0]
    near, far = identity_flows(batch=3), identity_flows(batch=3, shift=0.5)
    terms = distillation_terms(near, far, factor)
    # The one sample's distance counts whole: 3 + 4 + 5, times the length of (0.5, 0.5).
    assert float(terms["flows"]) == pytest.approx(12 * 0.5 * 2**0.5, rel=1e-4)
    assert all(float(value) == 0 for value in distillation_terms(near, far, torch.zeros(3)).values())


def test_features_weigh_more_the_coarser_they_are_and_no_level_needs_all_channels():
    own, theirs = identity_flows(), identity_flows()
    apart = Flows([maps + 1 for maps in own.person], own.clothes, own.grids, own.offsets)
    terms = distillation_terms(apart, theirs, torch.ones(2))
    assert float(terms["features"]) == pytest.approx(0.04 * (5 + 4 + 3 + 2 + 1))


@pytest.mark.parametrize(("narrow", "wide"), [(4, 16), (16, 4)])
def test_maps_of_other_widths_are_compared_and_the_teacher_gets_no_gradient(narrow, wide):
    own, theirs = identity_flows(narrow), identity_flows(wide)
    for maps in (own.person, theirs.person):
        for value in maps:
            value.normal_().requires_grad_()
    distillation_terms(own, theirs, torch.ones(2))["features"].backward()
    assert all(value.grad is not None and bool(value.grad.any()) for value in own.person)
    assert all(value.grad is None for value in theirs.person)


def test_a_student_without_the_finest_levels_is_compared_where_it_has_maps():
    own, theirs = identity_flows(), identity_flows()
    fewer = Flows([maps + 1 for maps in own.person[:3]], own.clothes[:3], own.grids, own.offsets)
    assert float(distillation_terms(fewer, theirs, torch.ones(2))["features"]) == pytest.approx(0.04 * (5 + 4 + 3))


def test_skin_counts_twice_when_the_learning_rate_decays_and_only_where_it_is():
    photo = torch.zeros(1, 3, 4, 4)
    rendering = Rendering(photo, photo + 1, torch.ones(1, 1, 4, 4))
    skin = torch.zeros(1, 1, 4, 4)
    skin[..., :2] = 1
    early, late = (rendering_terms(rendering, photo, l1, skin, when) for when in (False, True))
    assert float(early["skin"]) == pytest.approx(30 * 0.5)
    assert float(early["skin_perceptual"]) == pytest.approx(2 * 0.5)
    assert float(late["skin"]) == 2 * float(early["skin"])
    assert float(late["tryon"]) == float(early["tryon"]) == 0
    assert float(early["rendered"]) == 5
    assert "skin" not in rendering_terms(rendering, photo, l1)


class Scaled(torch.nn.Module):
    """Sees the picture itself, five times, in a unit of its own."""

    def __init__(self, unit):
        super().__init__()
        self.unit = unit

    def forward(self, picture):
        return [self.unit * picture] * 5


@pytest.mark.parametrize(("relative", "factor"), [(False, 10.0), (True, 1.0)])
def test_a_relative_perceptual_distance_has_no_unit(relative, factor):
    a, b = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8) + 1
    assert float(PerceptualDistance(Scaled(1.0), relative)(a, a)) == 0
    small, large = (float(PerceptualDistance(Scaled(unit), relative)(a, b)) for unit in (1.0, 10.0))
    assert large == pytest.approx(factor * small)
    weights = 1 / 32 + 1 / 16 + 1 / 8 + 1 / 4 + 1
    assert small == pytest.approx(weights * float((a - b).abs().mean() / (b.mean() if relative else 1)), rel=1e-5)


@pytest.fixture(scope="module")
def vgg19():
    return Vgg(VGG19, taps=0, ceil_mode=True).state_dict()


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_vgg19_is_read_from_either_kind_of_file_and_its_origin_said(vgg19, tmp_path, suffix):
    from safetensors.torch import save_file

    whole = {**vgg19, "classifier.0.weight": torch.zeros(2, 2)}
    path = tmp_path / f"vgg.{suffix}"
    save_file(whole, path) if suffix == "safetensors" else torch.save(whole, path)
    network, origin = load_vgg19(path)
    assert all(torch.equal(value, vgg19[name]) for name, value in network.state_dict().items())
    assert not any(p.requires_grad for p in network.parameters())
    assert len(origin["sha256"]) == 64


@pytest.mark.parametrize("spoiled", ["missing", "empty", "another", "nan", "no dict"])
def test_weights_that_are_no_vgg19_are_one_clear_error(vgg19, tmp_path, spoiled):
    path = tmp_path / "vgg.pt"
    content = dict(vgg19)
    if spoiled == "another":
        content["features.0.weight"] = torch.zeros(8, 3, 3, 3)
    elif spoiled == "nan":
        content["features.2.bias"] = torch.full_like(content["features.2.bias"], float("nan"))
    elif spoiled == "empty":
        content = {}
    if spoiled != "missing":
        torch.save([1] if spoiled == "no dict" else content, path)
    with pytest.raises(InputError, match="vgg"):
        load_vgg19(path)
