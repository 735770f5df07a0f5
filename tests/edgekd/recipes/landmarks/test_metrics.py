import numpy as np
import pytest

from edgekd.recipes.landmarks.metrics import CORNERS, EYE_PAIRS, METRICS, authors_auc, eye_pair


def truth(points=68, distance=40.0):
    own = np.zeros((points, 2), np.float32)
    one, other = EYE_PAIRS[points][CORNERS]
    own[one], own[other] = (10, 20), (10 + distance, 20)
    if points == 98:
        own[96], own[97] = (20, 20), (30, 20)
    return {"landmarks": own}


def off_by(sample, pixels):
    return {"landmarks": sample["landmarks"] + np.array([0.6, 0.8], np.float32) * np.float32(pixels)}


@pytest.mark.parametrize("points", [68, 98, 29])
def test_nme_is_the_mean_distance_in_percent_of_the_outer_eye_corners(points):
    want = truth(points, distance=40)
    assert METRICS.compute([off_by(want, 2.0)], [want])["nme"] == pytest.approx(5.0, abs=1e-4)


def test_only_the_points_that_are_off_count_and_each_once():
    want = truth()
    have = {"landmarks": want["landmarks"].copy()}
    have["landmarks"][5] += (3.0, 4.0)  # one of 68 points by 5 px of 40
    assert METRICS.compute([have], [want])["nme"] == pytest.approx(100 * 5 / 40 / 68, rel=1e-5)


def test_all_figures_of_a_case_computed_by_hand():
    want = truth(distance=100)
    # errors 0.02, 0.05 and 0.20 of the eye distance
    result = METRICS.compute([off_by(want, e) for e in (2.0, 5.0, 20.0)], [want] * 3)
    assert result["nme"] == pytest.approx(9.0, abs=1e-4)
    assert result["failure_rate@0.1"] == pytest.approx(100 / 3)
    # area of the steps: (0.08 + 0.05 + 0) / 3 / 0.1
    assert result["auc@0.1"] == pytest.approx(13 / 30, abs=1e-5)
    # thresholds k/190: 0.02 is reached from k = 4, 0.05 from k = 10; (2k - 1) sums to 19² - 3², 19² - 9²
    assert result["authors_auc"] == pytest.approx(((361 - 9) + (361 - 81)) / 3 * 0.1 / 38, abs=1e-5)
    assert set(result) <= set(METRICS.units)


def test_the_area_agrees_with_a_fine_trapezoid_of_the_error_curve():
    rng = np.random.default_rng(3)
    want = truth(distance=100)
    predictions = [off_by(want, e) for e in rng.gamma(4, 1.5, 60)]
    errors = METRICS.per_sample(predictions, [want] * 60) / 100
    t = np.linspace(0, 0.1, 200_001)
    curve = np.searchsorted(np.sort(errors), t, side="right") / 60
    area = np.sum((curve[1:] + curve[:-1]) / 2) * (t[1] - t[0]) / 0.1
    assert METRICS.compute(predictions, [want] * 60)["auc@0.1"] == pytest.approx(area, abs=1e-4)


def test_the_authors_auc_ends_at_095_and_falls_with_the_error():
    perfect, bad = np.zeros(7), np.full(7, 0.3)
    assert authors_auc(perfect) == pytest.approx(0.95)
    values = [authors_auc(np.full(5, e)) for e in (0.0, 0.03, 0.06, 0.09)]
    assert values == sorted(values, reverse=True)
    assert authors_auc(bad) == 0.0


def test_the_curve_starts_at_zero_error_ends_at_the_failure_threshold_and_never_falls():
    want = truth(distance=100)
    thresholds, shares = METRICS.ced([off_by(want, e) for e in (0.0, 4.0, 30.0)], [want] * 3)
    assert thresholds[0] == 0
    assert thresholds[-1] == pytest.approx(0.1)
    assert np.all(np.diff(shares) >= 0)
    assert shares[0] == pytest.approx(1 / 3)
    assert shares[-1] == pytest.approx(2 / 3)


def test_the_mean_over_samples_is_the_primary_metric():
    want = truth()
    predictions = [off_by(want, e) for e in (1.0, 2.0, 6.0)]
    mean = METRICS.per_sample(predictions, [want] * 3).mean()
    assert METRICS.compute(predictions, [want] * 3)[METRICS.primary] == pytest.approx(mean)
    assert METRICS.higher_is_better is False


def test_a_prediction_without_numbers_is_a_failure_and_its_nme_no_number():
    want = truth()
    result = METRICS.compute([{"landmarks": np.full((68, 2), np.nan)}, want], [want, want])
    assert np.isnan(result["nme"])
    assert result["failure_rate@0.1"] == 50
    assert result["auc@0.1"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("predictions", "truths"),
    [([], []), ([truth()], [truth()] * 2), ([truth(29)], [truth()]), ([truth()], [truth(distance=0)])],
)
def test_what_cannot_be_compared_is_refused(predictions, truths):
    with pytest.raises(ValueError, match=r"predictions|sample 0"):
        METRICS.compute(predictions, truths)


def test_an_unknown_layout_has_no_known_eyes():
    with pytest.raises(ValueError, match="21 points"):
        eye_pair(21)


# --- what truths of published sets have besides


def wflw(distance=40.0, pupils=20.0, box=(0, 0, 50, 100), **subsets):
    own = truth(98, distance)["landmarks"]
    own[96], own[97] = (20, 20), (20 + pupils, 20)
    return {"landmarks": own, "box": np.float32(box), **{f"subset/{k}": np.bool_(v) for k, v in subsets.items()}}


def test_wflw_is_judged_by_eye_corners_and_by_pupils():
    want = wflw(distance=40, pupils=20)
    scores = METRICS.compute([{"landmarks": want["landmarks"] + np.float32([2, 0])}], [want])
    assert scores["nme"] == pytest.approx(5, abs=1e-4)
    assert scores["nme_pupils"] == pytest.approx(10, abs=1e-4)


@pytest.mark.parametrize("points", [68, 29])
def test_layouts_without_pupils_of_their_own_have_no_figure_by_them(points):
    want = truth(points)
    assert "nme_pupils" not in METRICS.compute([want], [want])


def test_the_authors_nme_is_taken_in_the_crop_stretched_to_a_square():
    # 2 px across and 3 down in a crop of 50 x 100 stretched to 1 x 1; pupils are 20 px apart
    want = wflw()
    scores = METRICS.compute([{"landmarks": want["landmarks"] + np.float32([2, 3])}], [want])
    assert scores["authors_nme"] == pytest.approx(100 * np.hypot(2 / 50, 3 / 100) / (20 / 50), rel=1e-5)
    assert scores["nme_pupils"] == pytest.approx(100 * np.hypot(2, 3) / 20, rel=1e-5)


def test_the_authors_nme_is_the_nme_by_their_pair_where_the_crop_is_square():
    want = wflw(box=(3, 4, 60, 61))
    scores = METRICS.compute([off_by(want, 3.0)], [want])
    assert scores["authors_nme"] == pytest.approx(scores["nme_pupils"])
    want = {**truth(68), "box": np.float32([0, 0, 70, 70])}
    scores = METRICS.compute([off_by(want, 3.0)], [want])
    assert scores["authors_nme"] == pytest.approx(scores["nme"])


def test_the_authors_auc_follows_the_authors_error():
    want = wflw()
    scores = METRICS.compute([off_by(want, 1.5)], [want])
    assert scores["auc@0.1"] == pytest.approx(1 - 1.5 / 40 / 0.1, abs=1e-4)
    assert scores["authors_auc"] == pytest.approx(authors_auc(np.array([scores["authors_nme"] / 100])))


def test_subsets_have_figures_of_their_own_and_empty_ones_none():
    wants = [wflw(pose=True, blur=False), wflw(pose=True, blur=False), wflw(pose=False, blur=False)]
    scores = METRICS.compute([off_by(w, e) for w, e in zip(wants, (1, 3, 8), strict=True)], wants)
    assert scores["nme/pose"] == pytest.approx(100 * 2 / 40, abs=1e-4)
    assert scores["nme_pupils/pose"] == pytest.approx(100 * 2 / 20, abs=1e-4)
    assert scores["nme"] == pytest.approx(100 * 4 / 40, abs=1e-4)
    assert {"authors_nme/pose", "nme/pose"} <= set(scores)
    assert not any(name.endswith("/blur") for name in scores)
    assert set(scores) <= set(METRICS.units)


@pytest.mark.parametrize("what", ["pupil centres", "outer eye corners"])
def test_points_that_errors_are_divided_by_must_be_apart(what):
    want = wflw(pupils=0) if what == "pupil centres" else wflw(distance=0)
    with pytest.raises(ValueError, match=f"sample 1: the truth's {what} coincide"):
        METRICS.compute([wflw(), want], [wflw(), want])
