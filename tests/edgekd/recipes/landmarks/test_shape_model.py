from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from edgekd.errors import InputError
from edgekd.recipes.landmarks.shape_model import ShapeModel


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def faces(count: int = 400, size: int = 24, seed: int = 0) -> np.ndarray:
    """A mean shape, six modes of falling strength, a little noise; in the unit of the labels."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(-0.4, 0.4, size)
    modes = np.linalg.qr(rng.normal(size=(size, 6)))[0].T
    strength = np.array([0.3, 0.2, 0.12, 0.08, 0.04, 0.02])
    return mean + rng.normal(size=(count, 6)) * strength @ modes + rng.normal(size=(count, size)) * 0.005


@pytest.mark.parametrize("variance", [0.80, 0.90, 0.95, 0.99])
def test_agrees_with_scikit_learns_pca(variance: float) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is the reference here")
    points = faces()
    pca = decomposition.PCA(n_components=variance, svd_solver="full").fit(points)
    model = ShapeModel.fit(points, variance)
    assert len(model.variances) == pca.n_components_
    assert np.allclose(model.mean, pca.mean_, atol=1e-7)
    assert np.allclose(model.variances, pca.explained_variance_, rtol=1e-5)  # sample variance: M - 1
    points[:20] = points.mean(0) + 3 * (points[:20] - points.mean(0))  # so that some are clipped
    limit = 3 * np.sqrt(pca.explained_variance_)
    b = pca.transform(points).clip(-limit, limit)
    assert np.abs(b - pca.transform(points)).max() > 0.01
    got = model.smooth(torch.tensor(points, dtype=torch.float32))
    assert np.allclose(got, pca.inverse_transform(b), atol=1e-6)


@pytest.mark.parametrize("variance", [0.5, 0.80, 0.95, 0.99])
def test_keeps_the_fewest_modes_that_reach_the_variance(variance: float) -> None:
    points = faces()
    spectrum = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    k = len(ShapeModel.fit(points, variance).variances)
    assert spectrum[:k].sum() / spectrum.sum() >= variance
    assert spectrum[: k - 1].sum() / spectrum.sum() < variance


def test_modes_are_orthonormal_and_variances_fall() -> None:
    model = ShapeModel.fit(faces(), 0.99)
    assert torch.allclose(model.modes @ model.modes.T, torch.eye(len(model.modes)), atol=1e-6)
    assert (model.variances.diff() < 0).all()


def test_mean_shape_is_a_fixed_point() -> None:
    model = ShapeModel.fit(faces())
    assert torch.equal(model.smooth(model.mean), model.mean)


def test_smoothing_twice_is_smoothing_once() -> None:
    model = ShapeModel.fit(faces())
    wild = torch.tensor(faces(seed=0)[:50] * 2, dtype=torch.float32)
    once = model.smooth(wild)
    assert (once - wild).abs().max() > 0.05
    assert torch.allclose(model.smooth(once), once, atol=1e-6)


@pytest.mark.parametrize(("deviations", "kept"), [(2.0, 2.0), (-2.9, -2.9), (5.0, 3.0), (-50.0, -3.0)])
def test_each_mode_is_held_within_three_standard_deviations(deviations: float, kept: float) -> None:
    model = ShapeModel.fit(faces(), 0.99)
    step = model.variances[1].sqrt() * model.modes[1]
    got = model.smooth(model.mean + deviations * step)
    assert torch.allclose(got, model.mean + kept * step, atol=1e-5)


def test_what_no_mode_explains_is_removed() -> None:
    points = faces()
    model = ShapeModel.fit(points, 0.95)
    noise = torch.tensor(np.random.default_rng(1).normal(size=24), dtype=torch.float32)
    noise -= (noise @ model.modes.T) @ model.modes
    face = model.smooth(torch.tensor(points[0], dtype=torch.float32))
    assert torch.allclose(model.smooth(face + 0.1 * noise), face, atol=1e-5)


def test_smooths_batches_of_any_leading_shape_and_keeps_the_dtype() -> None:
    model = ShapeModel.fit(faces())
    points = torch.tensor(faces(12), dtype=torch.float64).reshape(3, 4, 24)
    got = model(points)
    assert got.shape == (3, 4, 24)
    assert got.dtype == torch.float64
    assert torch.allclose(got[1, 2], model.smooth(points[1, 2]), atol=1e-6)


def test_autocast_does_not_coarsen_the_smoothing() -> None:
    model = ShapeModel.fit(faces())
    points = torch.tensor(faces(8), dtype=torch.float32)
    want = model.smooth(points)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.smooth(points), want)


def test_no_gradient_flows_through_the_model() -> None:
    points = torch.rand(2, 24, requires_grad=True)
    assert not ShapeModel.fit(faces()).smooth(points).requires_grad


def test_state_dict_restores_the_same_smoothing() -> None:
    model, other = ShapeModel.fit(faces()), ShapeModel.fit(faces() * 0.5 + 0.1)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    points = torch.rand(3, 24)
    assert not torch.equal(other.smooth(points), model.smooth(points))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.smooth(points), model.smooth(points))


def test_fit_takes_tensors_and_fewer_faces_than_coordinates() -> None:
    points = torch.tensor(faces(5), dtype=torch.float32)
    model = ShapeModel.fit(points, 0.999)
    assert len(model.variances) <= 4
    assert torch.allclose(model.smooth(points), points, atol=0.02)


@pytest.mark.parametrize(
    ("points", "variance", "message"),
    [
        (np.zeros((5, 4)), 0.95, "all the same"),
        (np.full((5, 4), 0.37), 0.95, "all the same"),
        (np.zeros((1, 4)), 0.95, "two or more"),
        (np.zeros((5, 2, 2)), 0.95, r"\(M, 2N\)"),
        (np.array([[0.0, np.nan], [1.0, 2.0]]), 0.95, "not finite"),
        (np.eye(4), 1.0, r"\(0, 1\)"),
        (np.eye(4), 0.0, r"\(0, 1\)"),
    ],
)
def test_what_cannot_be_fitted_is_refused(points: np.ndarray, variance: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ShapeModel.fit(points, variance)
