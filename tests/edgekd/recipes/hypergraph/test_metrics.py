import numpy as np
import pytest

from edgekd.recipes.hypergraph.metrics import METRICS


def pairs(found, wanted, settings=None):
    settings = settings or [0] * len(found)
    predictions = [{"class": np.array(c)} for c in found]
    truths = [{"class": np.array(c), "setting": np.array(s)} for c, s in zip(wanted, settings, strict=True)]
    return predictions, truths


def test_accuracy_and_f1_by_hand():
    scores = METRICS.compute(*pairs([0, 0, 1, 2], [0, 1, 1, 1]))
    assert scores["accuracy"] == scores["micro_f1"] == 50
    assert scores["macro_f1"] == pytest.approx(100 * (2 / 3 + 2 * 1 * (1 / 3) / (1 + 1 / 3) + 0) / 3)
    assert "trans" not in scores


def test_they_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    found, wanted = rng.integers(0, 5, (2, 200))
    scores = METRICS.compute(*pairs(found, wanted))
    assert scores["macro_f1"] == pytest.approx(100 * sklearn.f1_score(wanted, found, average="macro"))
    assert scores["micro_f1"] == pytest.approx(100 * sklearn.f1_score(wanted, found, average="micro"))
    assert scores["accuracy"] == pytest.approx(100 * sklearn.accuracy_score(wanted, found))


def test_in_production_the_score_is_that_of_all_test_vertices_and_its_parts_stand_beside_it():
    scores = METRICS.compute(*pairs([0, 1, 1, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1, 2, 2]))
    assert (scores["trans"], scores["ind"]) == (50, 100)
    assert scores["accuracy"] == pytest.approx(100 * 2 / 3)


def test_nothing_to_judge_is_an_error():
    with pytest.raises(ValueError, match="0 predictions for 0 truths"):
        METRICS.compute([], [])
