import pytest
import torch

from edgekd.nn.lowering import lower
from edgekd.nn.warping import FEW_CHANNELS, Warp


def identity(height: int, width: int) -> torch.Tensor:
    ys, xs = torch.meshgrid(
        torch.linspace(-1, 1, height, dtype=torch.float64),
        torch.linspace(-1, 1, width, dtype=torch.float64),
        indexing="ij",
    )
    return torch.stack([xs, ys])[None]


@pytest.mark.parametrize("form", Warp.FORMS)
@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("channels", [1, FEW_CHANNELS])
def test_the_identity_flow_returns_its_input(form, padding, channels):
    x = torch.randn(1, channels, 6, 9, dtype=torch.float64)
    torch.testing.assert_close(lower(Warp(padding), {"warp": form})(x, identity(6, 9)), x)


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("size", [(6, 9), (2, 2), (1, 5)])
def test_rows_are_grid_sample_inside_at_and_outside_the_borders(padding, size):
    torch.manual_seed(0)
    x = torch.randn(2, FEW_CHANNELS, *size, dtype=torch.float64)
    grid = torch.rand(2, 2, 11, 13, dtype=torch.float64) * 3 - 1.5
    grid[:, :, :3, :3] = torch.tensor([-1.0, 0.0, 1.0])  # exactly on the outermost pixels
    plain = Warp(padding)
    torch.testing.assert_close(lower(plain, {"warp": "rows"})(x, grid), plain(x, grid), atol=1e-13, rtol=0)


def test_a_grid_that_looks_one_pixel_to_the_right_moves_the_map_to_the_left():
    x = torch.arange(12.0, dtype=torch.float64).reshape(1, 1, 3, 4)
    grid = identity(3, 4)
    grid[:, 0] += 2 / 3
    moved = Warp("zeros")(x, grid)
    torch.testing.assert_close(moved[..., :3], x[..., 1:])
    torch.testing.assert_close(moved[..., 3], torch.zeros_like(moved[..., 3]))
