import numpy as np
import pytest

from edgekd.recipes.simple import classification, regression


def test_accuracy_and_cross_entropy_of_known_logits():
    predictions = [{"logits": np.log([0.7, 0.2, 0.1])}, {"logits": np.log([0.25, 0.25, 0.5]) + 9}]
    found = classification.METRICS.compute(predictions, [{"label": 0}, {"label": 1}])
    assert found["accuracy"] == 50
    assert found["cross_entropy"] == pytest.approx(-(np.log(0.7) + np.log(0.25)) / 2)


def test_r2_is_one_for_the_truth_zero_for_its_mean_and_rmse_is_in_the_truths_unit():
    truths = [{"y": np.array([value, -value])} for value in (1.0, 2.0, 6.0)]
    exact = regression.METRICS.compute(truths, truths)
    assert exact == {"r2": 1, "rmse": 0}
    mean = regression.METRICS.compute([{"y": np.array([3.0, -3.0])}] * 3, truths)
    assert mean["r2"] == pytest.approx(0)
    assert mean["rmse"] == pytest.approx(np.sqrt((4 + 1 + 9) / 3))
