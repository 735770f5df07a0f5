from __future__ import annotations

import numpy as np
import pytest

from edgekd.recipes.streaming.average_precision import overlaps
from edgekd.recipes.streaming.nms import BLOCK, suppressed


def one_by_one(boxes, kinds, threshold):
    stay = []
    for k in range(len(boxes)):
        same = [m for m in stay if kinds[m] == kinds[k]]
        if not same or overlaps(boxes[k : k + 1], boxes[same]).max() <= threshold:
            stay.append(k)
    return stay


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [0, 1, 50, 3 * BLOCK])
def test_it_is_the_greedy_loop_class_by_class(seed, size):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 120, (size, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 60, (size, 2))], axis=1).astype(np.float32)
    kinds = rng.integers(0, 3, size)
    assert suppressed(boxes, kinds, 0.5, 10_000).tolist() == one_by_one(boxes, kinds, 0.5)
    assert suppressed(boxes, kinds, 0.5, 7).tolist() == one_by_one(boxes, kinds, 0.5)[:7]


def test_a_box_that_was_dropped_drops_no_other():
    boxes = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], np.float32)
    assert suppressed(boxes, np.zeros(3, int), 0.5, 10).tolist() == [0, 2]
    assert suppressed(boxes, np.array([0, 1, 0]), 0.5, 10).tolist() == [0, 1, 2]
