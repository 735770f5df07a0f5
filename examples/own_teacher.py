"""A black-box teacher of your own: anything that takes a picture and a face's box and gives points.

    PYTHONPATH=examples edgekd distill landmarks --preset pictures --data images:faces \\
        --teacher own_teacher:average_face --out runs/own

This one knows nothing: it puts an average face into every box. Put your model's call in its place.
"""

from __future__ import annotations

import numpy as np

from edgekd.recipes.landmarks.faces import mean_face


def average_face(image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Points for one face.

    Args:
        image: uint8 (height, width, 3), RGB.
        box: float32 (4,), x0, y0, x1, y1 of the face's crop in pixels.

    Returns:
        (68, 2) pixels of ``image``, or None where there is no face to be labelled.
    """
    points = mean_face()
    points = (points - points.min(0)) / np.ptp(points, axis=0).max()  # 0..1, in its own proportions
    low, side = box[:2], box[2:] - box[:2]
    return (low + side * (0.15 + 0.7 * points)).astype(np.float32)
