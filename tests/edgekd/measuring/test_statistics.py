from __future__ import annotations

import numpy as np
import pytest

from edgekd.measuring.statistics import (
    coefficient_of_variation,
    paired_ratio,
    percentile,
    required_runs,
    spread,
    unpaired_ratio,
)


@pytest.mark.parametrize(
    ("quantile", "runs"),
    # The counts that MLPerf's early stopping asks for at 99 % confidence.
    [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)],
)
def test_percentile_support_counts(quantile, runs):
    assert required_runs(quantile) == runs


def test_second_largest_of_the_required_runs_bounds_the_quantile_with_the_stated_confidence():
    uniform = np.random.default_rng(0).random((40_000, required_runs(0.9)))
    second = np.sort(uniform, axis=1)[:, -2]
    assert 0.990 <= (second > 0.9).mean() <= 0.992  # 0.9904 exactly; one run fewer gives 0.9895


def test_percentile_is_withheld_below_its_support_and_is_a_real_sample_above():
    assert percentile(range(63), 0.9) is None
    assert percentile(range(1, 65), 0.9) == 58  # nearest rank: ceil(57.6)
    assert percentile([1] * 99 + [1000] * 11, 0.9) == 1  # rank 99 of 110, no interpolation towards 1000


def test_a_quantile_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        required_runs(1.0)


def test_spread_is_reproduced_only_when_every_process_is_within_5_percent():
    assert spread([96, 100, 104]).reproduced
    assert not spread([94, 100, 104]).reproduced
    assert not spread([100]).reproduced
    assert (spread([7, 3, 5]).median, spread([7, 3, 5]).low, spread([7, 3, 5]).high) == (5, 3, 7)


def test_coefficient_of_variation_counts_every_sample():
    assert coefficient_of_variation([10, 10, 10]) == 0
    assert coefficient_of_variation([10] * 99 + [1000]) > 1
    assert coefficient_of_variation([10]) is None


def _noisy_blocks(rng, ratio, blocks=12, runs=40):
    """Two contenders in turns on a machine whose speed changes by a factor from block to block."""
    weather = np.exp(rng.normal(0, 0.4, blocks))
    slow = [rng.lognormal(np.log(1000 * ratio * w), 0.1, runs).astype(np.int64) for w in weather]
    fast = [rng.lognormal(np.log(1000 * w), 0.1, runs).astype(np.int64) for w in weather]
    return slow, fast


def test_paired_ratio_interval_covers_a_known_ratio_at_its_confidence():
    rng = np.random.default_rng(1)
    covered, widths = 0, []
    for seed in range(100):
        slow, fast = _noisy_blocks(rng, 1.7)
        ratio = paired_ratio(slow, fast, seed, resamples=500)
        covered += ratio.low <= 1.7 <= ratio.high
        widths.append(ratio.high / ratio.low - 1)
    assert covered >= 92
    # The machine's speed varies by 40 %, and the pairing takes that out.
    assert np.median(widths) < 0.08


def test_paired_ratio_interval_excludes_a_wrong_ratio():
    slow, fast = _noisy_blocks(np.random.default_rng(2), 1.7)
    ratio = paired_ratio(slow, fast, 0)
    assert ratio.low > 1.5
    assert ratio.high < 1.9


def test_resampled_medians_vary_as_a_plain_bootstrap_does():
    rng = np.random.default_rng(3)
    block = rng.lognormal(7, 0.3, 41)
    plain = np.median(rng.choice(block, (4000, 41)), axis=1)
    one = np.ones(1)
    ratio = paired_ratio([block], [one], 0, confidence=0.90, resamples=4000)
    assert [ratio.low, ratio.high] == pytest.approx(np.quantile(plain, [0.05, 0.95]), rel=0.02)


def test_paired_ratio_is_a_function_of_its_seed():
    slow, fast = _noisy_blocks(np.random.default_rng(4), 2)
    assert paired_ratio(slow, fast, 5) == paired_ratio(slow, fast, 5)
    assert paired_ratio(slow, fast, 5).low != paired_ratio(slow, fast, 6).low


def test_blocks_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="must pair"):
        paired_ratio([np.ones(3)], [], 0)


def test_an_unpaired_ratio_does_not_need_as_many_blocks_and_is_less_certain_when_both_drift():
    rng = np.random.default_rng(0)
    drift = (1.0, 1.3, 1.1, 1.6, 1.2)
    old = [(rng.normal(1000, 10, 200) * d).astype(np.int64) for d in drift]
    new = [(rng.normal(1100, 10, 200) * d).astype(np.int64) for d in drift]
    apart, together = unpaired_ratio(new, old, seed=1), paired_ratio(new, old, seed=1)
    assert apart.value == pytest.approx(1.1, rel=0.01)
    assert apart == unpaired_ratio(new, old, seed=1)
    assert apart.low <= apart.value <= apart.high
    assert apart.high - apart.low > 3 * (together.high - together.low)
    assert unpaired_ratio(new[:3], old, seed=1).blocks == 3
    with pytest.raises(ValueError, match="no blocks"):
        unpaired_ratio([], old, seed=1)
