from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from edgekd.recipes.streaming.average_precision import average_precision, evidence, overlaps


def picture(rng):
    """True boxes, some of them found (well, badly or twice), some not, and boxes where there is nothing."""
    count = int(rng.integers(0, 12))
    corner, side = rng.integers(0, 300, (count, 2)), rng.integers(2, rng.choice([12, 60, 200]), (count, 2))
    truth = np.concatenate([rng.integers(0, 5, (count, 1)), corner, corner + side], axis=1).astype(float)
    found = np.repeat(truth, rng.integers(0, 3, count), axis=0)
    shaken = rng.random((len(found), 1)) < 0.7  # the others overlap by exactly 1
    found[:, 1:] += rng.normal(0, 4, (len(found), 4)) * shaken
    wrong = int(rng.integers(0, 150))
    corner, side = rng.integers(0, 300, (wrong, 2)), rng.integers(2, 100, (wrong, 2))
    found = np.concatenate([found, np.concatenate([rng.integers(0, 6, (wrong, 1)), corner, corner + side], axis=1)])
    found[:, 3:] = np.maximum(found[:, 3:], found[:, 1:3] + 1)
    return found, np.round(rng.random(len(found)), rng.choice([1, 2, 8])), truth  # scores that are equal, too


def by_pycocotools(pictures):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed: it judges our figures")
    from pycocotools.cocoeval import COCOeval

    def listed(rows, number):
        sides = [(k, x0, y0, x1 - x0, y1 - y0) for k, x0, y0, x1, y1 in rows.tolist()]
        return [
            {"image_id": number, "category_id": int(k), "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            for k, x, y, w, h in sides
        ]

    true = [row for number, (_, _, truth) in enumerate(pictures, 1) for row in listed(truth, number)]
    said = [
        {**row, "score": float(score)}
        for number, (found, scores, _) in enumerate(pictures, 1)
        for row, score in zip(listed(found, number), scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        whole = coco.COCO()
        whole.dataset = {
            "images": [{"id": k + 1} for k in range(len(pictures))],
            "annotations": [{**row, "id": k + 1} for k, row in enumerate(true)],
            "categories": [{"id": k, "name": str(k)} for k in range(8)],
        }
        whole.createIndex()
        judge = COCOeval(whole, whole.loadRes(said), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[:6]


@pytest.mark.parametrize("seed", range(6))
def test_every_figure_is_that_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    pictures = [picture(rng) for _ in range(8)]
    ours = average_precision([evidence(*own) for own in pictures])
    values = np.nan_to_num(list(ours.values()), nan=-1.0)
    assert values == pytest.approx(by_pycocotools(pictures), abs=1e-12)


def test_what_was_found_exactly_is_one_and_what_was_not_is_nothing():
    truth = np.array([[2, 0, 0, 10, 10], [2, 50, 50, 90, 90.0]])
    assert average_precision([evidence(truth, np.ones(2), truth)])["AP"] == 1
    assert average_precision([evidence(truth[:0], np.ones(0), truth)])["AP"] == 0
    assert average_precision([evidence(truth + np.eye(5)[0], np.ones(2), truth)])["AP"] == 0  # of another class
    half = average_precision([evidence(truth[:1], np.ones(1), truth)])
    assert half["AP"] == pytest.approx(51 / 101)
    assert (half["AP_small"], half["AP_medium"]) == pytest.approx((1, 0))


def test_no_true_box_is_no_figure():
    assert np.isnan(average_precision([evidence(np.zeros((0, 5)), np.zeros(0), np.full((3, 5), -1.0))])["AP"])


def test_overlaps_of_touching_and_empty_boxes_are_nothing():
    boxes = np.array([[0, 0, 4, 4], [4, 0, 8, 4], [2, 2, 2, 2], [0, 0, 2, 4.0]])
    assert overlaps(boxes[:1], boxes).tolist() == [[1, 0, 0, 0.5]]
