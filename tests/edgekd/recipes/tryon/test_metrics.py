import numpy as np
import pytest

from edgekd.recipes.tryon.metrics import METRICS, masked_l1, ssim, warp_error

RNG = np.random.default_rng(0)
ONE = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)


def scikit_ssim(one, other):
    metrics = pytest.importorskip("skimage.metrics")
    return metrics.structural_similarity(
        one, other, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


@pytest.mark.parametrize("noise", [0, 3, 30, 200])
def test_ssim_is_scikit_images(noise):
    smooth = np.linspace(0, 255, 40 * 30 * 3).reshape(40, 30, 3).astype(np.uint8)
    other = np.clip(smooth + RNG.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)
    assert ssim(smooth, other) == pytest.approx(scikit_ssim(smooth, other), abs=2e-6)
    assert ssim(ONE, other) == pytest.approx(scikit_ssim(ONE, other), abs=2e-6)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_ssim_keeps_its_digits_where_a_picture_is_flat(level):
    flat = np.full((32, 32, 3), level, np.uint8)
    close = flat.copy()
    close[::2] = np.clip(level + 1, 0, 255) if level < 255 else 254
    assert ssim(flat, flat) == pytest.approx(1, abs=1e-6)
    assert ssim(flat, close) == pytest.approx(scikit_ssim(flat, close), abs=1e-5)


def test_ssim_is_symmetric_and_one_for_equal_pictures():
    other = np.roll(ONE, 1, 0)
    assert ssim(ONE, ONE) == pytest.approx(1)
    assert ssim(ONE, other) == pytest.approx(ssim(other, ONE))
    assert ssim(ONE, other) < 0.9


@pytest.mark.parametrize("other", [np.zeros((40, 31, 3), np.uint8), np.zeros((40, 30), np.uint8)])
def test_pictures_of_two_sizes_have_no_ssim(other):
    with pytest.raises(ValueError, match="no SSIM"):
        ssim(ONE, other)


def test_masked_l1_is_the_difference_under_the_mask_alone():
    other, mask = ONE.copy(), np.zeros((40, 30), np.uint8)
    mask[:10] = 255
    other[10:] = 255 - other[10:]
    assert masked_l1(ONE, other, mask) == 0
    black, grey = np.zeros_like(ONE), np.full_like(ONE, 51)
    assert masked_l1(black, grey, mask) == pytest.approx(20)
    assert np.isnan(masked_l1(black, grey, np.zeros_like(mask)))


def test_a_warp_error_is_in_pixels_of_the_papers_picture_whatever_the_size():
    for height, width in ((256, 192), (64, 48)):
        grid = np.stack(np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height)), -1).astype(np.float32)
        moved = grid + np.float32([3 * 2 / 191, 4 * 2 / 255])
        seen = np.ones((height, width), np.uint8)
        assert warp_error(moved, grid, seen) == pytest.approx(5, rel=1e-4)


def test_a_warp_error_counts_where_the_truth_is_known():
    grid, seen = np.zeros((8, 8, 2), np.float32), np.zeros((8, 8), np.uint8)
    far = grid.copy()
    far[4:] = 9
    seen[:4] = 255
    assert warp_error(far, grid, seen) == 0
    assert np.isnan(warp_error(far, grid, np.zeros_like(seen)))
    with pytest.raises(ValueError, match="a grid of"):
        warp_error(far[:4], grid, seen)


def sample(seed, known=True):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    grid = rng.uniform(-1, 1, (24, 24, 2)).astype(np.float32)
    mask = np.full((24, 24), 255 * known, np.uint8)
    return {"tryon": picture, "grid": grid, "worn": mask, "seen": mask}


def test_a_perfect_prediction_scores_best():
    truths = [sample(k) for k in range(3)]
    assert METRICS.compute(truths, truths) == pytest.approx({"ssim": 1, "masked_l1": 0, "warp_error_px": 0})


def test_what_no_truth_tells_is_left_out():
    truths = [sample(k, known=False) for k in range(3)]
    assert set(METRICS.compute(truths, truths)) == {"ssim"}
    mixed = [sample(0), sample(1, known=False)]
    assert METRICS.compute(mixed, mixed)["warp_error_px"] == 0


def test_the_primary_metric_is_the_mean_of_the_samples():
    truths = [sample(k) for k in range(4)]
    found = METRICS.per_sample(truths[::-1], truths)
    assert found.shape == (4,)
    assert METRICS.compute(truths[::-1], truths)[METRICS.primary] == pytest.approx(found.mean())


def test_figures_of_some_samples_are_what_would_be_computed_of_them():
    truths = [sample(k, known=k != 1) for k in range(4)]
    evidence, picked = METRICS.evidence(truths[::-1], truths), [3, 1, 1, 0]
    found = METRICS.figures([evidence[k] for k in picked])
    assert found == METRICS.compute([truths[::-1][k] for k in picked], [truths[k] for k in picked])


def test_no_samples_or_unequal_numbers_are_an_error():
    for predictions, truths in (([], []), ([sample(0)], [sample(0), sample(1)])):
        with pytest.raises(ValueError, match="predictions for"):
            METRICS.compute(predictions, truths)
